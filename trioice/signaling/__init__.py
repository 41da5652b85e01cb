"""Signaling: offers and answers over HTTP and WebSocket, and the demo page."""
