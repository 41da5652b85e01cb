"""The routing token: an ICE ufrag that says, to those who have the key, which transceiver owns the call.

It is laid out as a connection ID of QUIC-LB is (draft-ietf-quic-load-balancers, single-pass encryption): one first octet, with
the rotation of the key in its upper three bits and the length of the rest, 16, in its lower five; then one AES-128 block of

    cluster (2)  |  shard (4)  |  nonce (6)  |  check (4, zero)

These 17 octets are 23 characters of base64 without padding, which is the alphabet of ICE (RFC 8839, 5.4). An outsider can neither
read the topology nor choose a target: what was not sealed with the key opens to a check of zeros once in 2^32 times, and then to
a route that most likely leads nowhere. The token authenticates nobody; MESSAGE-INTEGRITY does, at the transceiver.

Keys rotate through the three bits. One key file serves everybody: the first key seals, all of them open. So (1) add a new key at the
end and give the file to all relays and transceivers, (2) move it to the front, (3) take the old one out when its calls are over.
"""

import binascii
from collections.abc import Iterable
from struct import Struct
from typing import Final, NamedTuple, Self

import attrs
from cryptography.hazmat.primitives.ciphers import Cipher, CipherContext, algorithms, modes

from trioice.errors import LocalProtocolError
from trioice.sansio import Entropy

ROTATIONS: Final = 7
"""Keys in use at the same time: three bits, of which QUIC-LB keeps 0b111 for what cannot be routed."""

NONCE_LENGTH: Final = 6
"""Octets that make tokens of one shard differ. At random, 2^24 of them meet once on average; who seals compares with its live calls."""

CLUSTERS: Final = 1 << 16
SHARDS: Final = 1 << 32

UFRAG_LENGTH: Final = 23
"""Characters of a token."""

_BLOCK: Final = Struct("!HI6s4s")  # cluster, shard, nonce, check
_CHECK: Final = bytes(4)


class Route(NamedTuple):
    """Where a token leads: the shard that owns the call, in its cluster. A directory knows its address."""

    cluster: int
    shard: int


@attrs.frozen
class TokenKey:
    """One AES-128 key and the rotation, 0 to 6, by which tokens name it."""

    rotation: int
    key: bytes = attrs.field(repr=False)
    # ECB has no state between blocks, so one context of each direction serves all tokens.
    _encryptor: CipherContext = attrs.field(init=False, eq=False, repr=False)
    _decryptor: CipherContext = attrs.field(init=False, eq=False, repr=False)

    def __attrs_post_init__(self) -> None:
        if not 0 <= self.rotation < ROTATIONS:
            raise ValueError(f"a rotation is 0 to {ROTATIONS - 1}, not {self.rotation}")
        if len(self.key) != 16:
            raise ValueError(f"a key has 16 octets, not {len(self.key)}")
        cipher = Cipher(algorithms.AES128(self.key), modes.ECB())
        object.__setattr__(self, "_encryptor", cipher.encryptor())
        object.__setattr__(self, "_decryptor", cipher.decryptor())

    @classmethod
    def generate(cls, rotation: int, entropy: Entropy) -> Self:
        """Make a new key."""
        return cls(rotation, entropy(16))

    @classmethod
    def read(cls, line: str) -> Self:
        """Read the line of a key file; raises ValueError, whose message never shows the key."""
        words = line.split()
        if len(words) != 2 or not words[0].isdecimal():
            raise ValueError("a key is a rotation and 32 hexadecimal digits")
        try:
            key = bytes.fromhex(words[1])
        except ValueError:
            raise ValueError("a key is written in hexadecimal digits") from None
        return cls(int(words[0]), key)

    def line(self) -> str:
        """Write the key as a line of a key file. It is a secret."""
        return f"{self.rotation} {self.key.hex()}"

    def encrypt(self, block: bytes) -> bytes:
        """Encrypt one block of 16 octets."""
        return self._encryptor.update(block)

    def decrypt(self, block: bytes) -> bytes:
        """Decrypt one block of 16 octets."""
        return self._decryptor.update(block)


class TokenKeys:
    """The keys of a fleet. The first seals; each opens the tokens of its rotation."""

    def __init__(self, keys: Iterable[TokenKey]) -> None:
        self._keys: dict[int, TokenKey] = {}
        for key in keys:
            if key.rotation in self._keys:
                raise ValueError(f"rotation {key.rotation} has two keys")
            self._keys[key.rotation] = key
        if not self._keys:
            raise ValueError("there is no key")

    @classmethod
    def read(cls, text: str) -> Self:
        """Read a key file: a line each, ``rotation hex32``; ``#`` begins a comment. Raises ValueError, which names the line.

        # sealed with since May
        1 8f95f09245765f80256934e50c66207f
        0 fdf726a9893ec05c0632d3956680baf0   # goes in June
        """
        keys = []
        for number, line in enumerate(text.splitlines(), 1):
            words = line.partition("#")[0].strip()
            if words:
                try:
                    keys.append(TokenKey.read(words))
                except ValueError as error:
                    raise ValueError(f"line {number}: {error}") from None
        return cls(keys)

    def seal(self, route: Route, nonce: bytes) -> str:
        """Make the ufrag that leads to `route`. `nonce` is six octets that no living call of the shard has."""
        if not (0 <= route.cluster < CLUSTERS and 0 <= route.shard < SHARDS and len(nonce) == NONCE_LENGTH):
            raise LocalProtocolError(f"{route} and a nonce of {len(nonce)} octets do not fit a token")
        key = next(iter(self._keys.values()))
        block = key.encrypt(_BLOCK.pack(route.cluster, route.shard, nonce, _CHECK))
        return _base64(bytes((key.rotation << 5 | len(block),)) + block).decode()

    def open(self, ufrag: bytes) -> Route | None:
        """Tell where `ufrag` leads: None for all octets that were not sealed with one of the keys. Never raises."""
        if len(ufrag) != UFRAG_LENGTH:
            return None
        try:
            octets = binascii.a2b_base64(ufrag + b"=")
        except binascii.Error:
            return None
        # Base64 has several spellings (other characters are skipped, the last two bits are spare): only our own is a token.
        if _base64(octets) != ufrag or octets[0] & 0x1F != 16:
            return None
        key = self._keys.get(octets[0] >> 5)
        if key is None:
            return None
        cluster, shard, _, check = _BLOCK.unpack(key.decrypt(octets[1:]))
        return Route(cluster, shard) if check == _CHECK else None


def _base64(octets: bytes) -> bytes:
    return binascii.b2a_base64(octets, newline=False).rstrip(b"=")
