"""The transceiver: the owner of the calls of one port, and the seam to the agents."""
