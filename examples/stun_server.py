"""A STUN server (RFC 8489): tells whoever asks how its address looks from here.

It stands on `trioice.stun` and on a plain socket: a codec needs no event loop, no thread and no framework.

Run:   python examples/stun_server.py [host] [port]
       The first line it prints is its address; end it with Ctrl-C. Without arguments that is 127.0.0.1:3478.
Look:  at `answer`, which is all of the protocol; at a browser, given ``{iceServers: [{urls: "stun:127.0.0.1:3478"}]}``, whose
       ``srflx`` candidates come from here.

Anyone can ask in anyone's name, so a server on a public address is a reflector. This one answers with at most three times
the octets of the question; before you put it in public, limit the answers per source as well.
"""

import socket
import sys

from trioice import stun


def answer(datagram: bytes, source: tuple[str, int]) -> bytes | None:
    """Answer a Binding request; for everything else there is silence."""
    request = stun.decode(datagram)
    if request is None or request.kind != stun.BINDING_REQUEST:
        return None
    unknown = request.unknown_required()
    if unknown:
        kind = stun.BINDING_ERROR
        attributes = [
            (stun.ERROR_CODE, stun.error_code(420, "Unknown Attribute")),
            (stun.UNKNOWN_ATTRIBUTES, stun.unknown_attributes(unknown)),
        ]
    else:
        kind = stun.BINDING_SUCCESS
        attributes = [(stun.XOR_MAPPED_ADDRESS, stun.xor_address(source, request.transaction_id))]
    return stun.encode(kind, request.transaction_id, attributes, fingerprint=request.has_fingerprint)


def main(host: str = "127.0.0.1", port: str = "3478") -> None:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind((host, int(port)))
        print("{}:{}".format(*server.getsockname()[:2]), flush=True)
        try:
            while True:
                datagram, source = server.recvfrom(2048)
                response = answer(datagram, source[:2])
                if response is not None:
                    try:
                        server.sendto(response, source)
                    except OSError:
                        pass  # a forged source, such as port 0, to which nothing can be sent
        except KeyboardInterrupt:
            pass


if __name__ == "__main__":
    main(*sys.argv[1:])
