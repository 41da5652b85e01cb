"""The voice-AI media edge: WebRTC from a browser or phone in, plain audio to an agent out."""
