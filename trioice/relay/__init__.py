"""The relay: a stateless UDP forwarder that routes by what stands in a client's first STUN packet."""
