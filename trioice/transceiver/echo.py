"""The default agent: the caller hears themselves."""

from trioice import rtp
from trioice.transceiver.call import Call


def echo(call: Call, packets: list[bytes]) -> None:
    """Send back each packet of the negotiated format."""
    for packet in packets:
        header = rtp.read(packet)
        if header is not None and header[0] == call.payload_type:
            _, marker, _, timestamp, _, start, end = header
            call.send(packet[start:end], timestamp, marker)
