"""The default agents: the caller hears themselves."""

from trioice import rtp
from trioice.transceiver.call import Call


def echo(call: Call, packets: list[bytes]) -> None:
    """Send back each packet of the negotiated format, as it comes."""
    for packet in packets:
        header = rtp.read(packet)
        if header is not None and header[0] == call.payload_type:
            _, marker, _, timestamp, _, start, end = header
            call.send(packet[start:end], timestamp, marker)


async def repeat(call: Call) -> None:
    """Say again what is heard, as audio: whole and in order, whatever the network loses."""
    speaker = call.speaker(48000)
    async for frame in call.microphone(48000):
        await speaker.write(frame.pcm)
