"""Relays compared: ours, and the same forwarding in C, in Go and in naive trio, under one load that checks every datagram."""
