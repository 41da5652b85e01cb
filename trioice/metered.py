"""A stream with a meter: what is under a WebSocket, so that nobody sends fragments of a message without end."""

import trio


class Metered(trio.abc.Stream):
    """A stream that breaks when it brought more octets than are `left` to it, which its owner sets anew with each message."""

    def __init__(self, stream: trio.abc.Stream, left: int) -> None:
        self._stream = stream
        self.left = left

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        """Receive, within what is left."""
        octets = await self._stream.receive_some(max_bytes)
        self.left -= len(octets)
        if self.left < 0:
            raise trio.BrokenResourceError("too many octets without a message")
        return octets

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send."""
        await self._stream.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        """Wait for room."""
        await self._stream.wait_send_all_might_not_block()

    async def aclose(self) -> None:
        """Close."""
        await self._stream.aclose()
