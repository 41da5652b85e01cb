"""What can be seen of DTLS from outside (RFC 6347, 4.1 and 4.2.2; RFC 9147, 4 and 5.2): kinds of records, and hellos in the clear.

It reads without trioice's own DTLS: what is measured shall not be its own witness.
"""

from collections.abc import Hashable, Iterable, Iterator
from typing import Final

import attrs

HANDSHAKE: Final = 22
RECORDS: Final = {
    20: "ChangeCipherSpec",
    21: "alert",
    HANDSHAKE: "encrypted handshake",
    23: "application data",
    26: "ACK",
}
MESSAGES: Final = {
    1: "ClientHello",
    2: "ServerHello",
    3: "HelloVerifyRequest",
    11: "Certificate",
    12: "ServerKeyExchange",
    13: "CertificateRequest",
    14: "ServerHelloDone",
    15: "CertificateVerify",
    16: "ClientKeyExchange",
    20: "Finished",
}
SERVER_HELLO: Final = 2
SERVER_KEY_EXCHANGE: Final = 12

DTLS_1_2: Final = 0xFEFD
DTLS_1_3: Final = 0xFEFC
HANDSHAKE_EPOCH: Final = 2
"""The epoch of DTLS 1.3's handshake (RFC 9147, 6.1): ACKs after it, and all application data, have a later one."""

SUPPORTED_VERSIONS: Final = 43
KEY_SHARE: Final = 51
VERSIONS: Final = {DTLS_1_2: "1.2", DTLS_1_3: "1.3"}
GROUPS: Final = {0x0017: "P-256", 0x0018: "P-384", 0x001D: "X25519", 0x11EC: "X25519MLKEM768"}
SUITES: Final = {
    0x1301: "AES_128_GCM",
    0x1302: "AES_256_GCM",
    0x1303: "CHACHA20_POLY1305",
    0xC02B: "ECDHE_ECDSA_AES_128_GCM",
    0xC02C: "ECDHE_ECDSA_AES_256_GCM",
    0xCCA9: "ECDHE_ECDSA_CHACHA20_POLY1305",
}


@attrs.frozen
class Fragment:
    """A piece of a handshake message in the clear."""

    kind: int
    length: int
    sequence: int
    offset: int
    body: bytes


@attrs.frozen
class Piece:
    """A record, or one fragment of several in it: `text` for people, and the `step` of the handshake that it is, if it is one.

    A piece that is sent again is the same step. Encrypted ones are told apart by their epoch and length.
    """

    text: str
    step: Hashable | None = None
    fragment: Fragment | None = None


@attrs.frozen
class Agreed:
    """What the server's hello chose: the names of version, cipher suite and group; empty for what was not seen."""

    version: str = ""
    suite: str = ""
    group: str = ""


def pieces(datagram: bytes) -> Iterator[Piece]:
    """Take a datagram apart; at what cannot be read it ends."""
    at = 0
    while at < len(datagram):
        first = datagram[at]
        if first & 0xE0 == 0x20:  # the unified header of RFC 9147, 4: 001CSLEE
            start = at + (3 if first & 0x08 else 2)
            end = len(datagram)
            if first & 0x04:
                start, end = start + 2, start + 2 + int.from_bytes(datagram[start : start + 2], "big")
            at = end
            if first & 0x03 == HANDSHAKE_EPOCH:
                yield Piece(RECORDS[HANDSHAKE], (HANDSHAKE_EPOCH, end - start))
            else:
                yield Piece("ACK or application data")
            continue
        epoch, end = (
            int.from_bytes(datagram[at + 3 : at + 5], "big"),
            int.from_bytes(datagram[at + 11 : at + 13], "big"),
        )
        body = datagram[at + 13 : at + 13 + end]
        at += 13 + end
        if first == HANDSHAKE and epoch == 0:
            yield from _fragments(body)
        elif first in RECORDS:
            yield Piece(RECORDS[first], (epoch, len(body)) if first == HANDSHAKE else None)
        else:
            return


def _fragments(body: bytes) -> Iterator[Piece]:
    while len(body) >= 12:
        kind, length, sequence = body[0], int.from_bytes(body[1:4], "big"), int.from_bytes(body[4:6], "big")
        offset, size = int.from_bytes(body[6:9], "big"), int.from_bytes(body[9:12], "big")
        text = MESSAGES.get(kind, f"handshake message {kind}")
        if size < length:
            text += f" {offset}+{size} of {length}"
        yield Piece(text, (kind, sequence, offset), Fragment(kind, length, sequence, offset, body[12 : 12 + size]))
        body = body[12 + size :]


def agreed(fragments: Iterable[Fragment]) -> Agreed:
    """Read what a server chose, out of all fragments that it sent: from its last ServerHello, and its ServerKeyExchange in DTLS 1.2."""
    messages: dict[tuple[int, int], bytearray] = {}
    for each in fragments:
        message = messages.setdefault((each.sequence, each.kind), bytearray(each.length))
        message[each.offset : each.offset + len(each.body)] = each.body
    found = Agreed()
    for (_, kind), message in sorted(messages.items()):
        if kind == SERVER_HELLO:
            found = _server_hello(bytes(message))
        elif kind == SERVER_KEY_EXCHANGE and not found.group:
            found = attrs.evolve(
                found, group=_name(GROUPS, bytes(message[1:3]))
            )  # curve_type, then the group (RFC 8422, 5.4)
    return found


def _server_hello(message: bytes) -> Agreed:
    """Version, random, session ID, suite, compression, then extensions (RFC 8446, 4.1.3); a HelloRetryRequest looks the same."""
    at = 2 + 32
    at += 1 + message[at]
    suite = message[at : at + 2]
    at += 2 + 1 + 2
    version, group = message[:2], b""
    while at + 4 <= len(message):
        kind, length = int.from_bytes(message[at : at + 2], "big"), int.from_bytes(message[at + 2 : at + 4], "big")
        value = message[at + 4 : at + 4 + length]
        at += 4 + length
        if kind == SUPPORTED_VERSIONS:
            version = value
        elif kind == KEY_SHARE:
            group = value[:2]
    return Agreed(_name(VERSIONS, version), _name(SUITES, suite), _name(GROUPS, group) if group else "")


def _name(names: dict[int, str], octets: bytes) -> str:
    number = int.from_bytes(octets, "big")
    return names.get(number, f"0x{number:04x}")
