"""Echoes compared: ours, Pion's and aiortc's, under one load that makes real ICE and DTLS and authenticates every packet."""
