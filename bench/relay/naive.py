"""A forwarder as it is first written with trio: a task for each side, two awaits and a few objects for each datagram.

    python -m bench.relay.naive PUBLIC-PORT TRANSCEIVER-PORT

It does for a datagram what forwarder.c does.
"""

import sys
from typing import Final

import trio

from trioice.relay.encapsulation import HEADER_LENGTH, client_address, header, is_encapsulated

HOST: Final = "127.0.0.1"
DATAGRAM: Final = 2048
BUFFER: Final = 4 << 20


async def main() -> None:
    public, transceiver = ((HOST, int(port)) for port in sys.argv[1:3])
    outer, inner = await _bind(public), await _bind((HOST, 0))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_from_clients, outer, inner, public, transceiver)
        nursery.start_soon(_from_transceiver, inner, outer, transceiver)
        print("relay on", *public, flush=True)


async def _from_clients(
    outer: trio.socket.SocketType, inner: trio.socket.SocketType, public: tuple[str, int], transceiver: tuple[str, int]
) -> None:
    headers: dict[tuple[str, int], bytes] = {}
    while True:
        datagram, client = await outer.recvfrom(DATAGRAM)
        if client not in headers:
            if datagram[:1] != b"\x00":
                continue
            headers[client] = header(client, public)
        await inner.sendto(headers[client] + datagram, transceiver)


async def _from_transceiver(
    inner: trio.socket.SocketType, outer: trio.socket.SocketType, transceiver: tuple[str, int]
) -> None:
    while True:
        datagram, source = await inner.recvfrom(DATAGRAM)
        if source == transceiver and is_encapsulated(datagram):
            client = client_address(datagram)
            assert client is not None
            await outer.sendto(datagram[HEADER_LENGTH:], client)


async def _bind(address: tuple[str, int]) -> trio.socket.SocketType:
    sock = trio.socket.socket(trio.socket.AF_INET, trio.socket.SOCK_DGRAM)
    sock.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_RCVBUF, BUFFER)
    sock.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_SNDBUF, BUFFER)
    await sock.bind(address)
    return sock


if __name__ == "__main__":
    trio.run(main)
