"""An agent in ten lines: the caller hears themselves.

Run it, open the address that it prints, and put headphones on:

    trioice serve --agent examples/echo.py:echo
"""

from trioice import Call, rtp


def echo(call: Call, packets: list[bytes]) -> None:
    for packet in packets:
        header = rtp.read(packet)
        if header is not None and header[0] == call.payload_type:
            _, marker, _, timestamp, _, start, end = header
            call.send(packet[start:end], timestamp, marker)
