"""The key schedule of DTLS 1.2 (RFC 5246, 5, 6.3, 7.4.9; RFC 7627, 4; RFC 5705)."""

import hashlib
import hmac
from typing import Final

import attrs

from trioice.dtls.ciphers import CipherSuite, Protection

MASTER_SECRET_LENGTH: Final = 48
VERIFY_DATA_LENGTH: Final = 12


def prf(hash_name: str, secret: bytes, label: bytes, seed: bytes, length: int) -> bytes:
    """TLS 1.2's pseudorandom function with that hash (RFC 5246, 5)."""
    seed = label + seed
    output = b""
    step = seed
    while len(output) < length:
        step = hmac.digest(secret, step, hash_name)
        output += hmac.digest(secret, step + seed, hash_name)
    return output[:length]


@attrs.frozen(kw_only=True, repr=False)
class Secrets:
    """The master secret of an association and what is derived from it."""

    suite: CipherSuite
    client_random: bytes
    server_random: bytes
    master: bytes

    @classmethod
    def derive(
        cls, suite: CipherSuite, premaster: bytes, transcript: bytes, *, client_random: bytes, server_random: bytes
    ) -> "Secrets":
        """Bind the master secret to the handshake up to the ClientKeyExchange (extended master secret, RFC 7627, 4)."""
        session_hash = hashlib.new(suite.hash, transcript).digest()
        master = prf(suite.hash, premaster, b"extended master secret", session_hash, MASTER_SECRET_LENGTH)
        return cls(suite=suite, client_random=client_random, server_random=server_random, master=master)

    def protections(self) -> tuple[Protection, Protection]:
        """Derive what protects the client's records and the server's (RFC 5246, 6.3)."""
        suite = self.suite
        length = 2 * (suite.key_length + suite.iv_length)
        block = prf(suite.hash, self.master, b"key expansion", self.server_random + self.client_random, length)
        keys, ivs = block[: 2 * suite.key_length], block[2 * suite.key_length :]
        return (
            suite.protection(keys[: suite.key_length], ivs[: suite.iv_length]),
            suite.protection(keys[suite.key_length :], ivs[suite.iv_length :]),
        )

    def verify_data(self, label: bytes, transcript: bytes) -> bytes:
        """Compute a Finished: label is b"client finished" or b"server finished" (RFC 5246, 7.4.9)."""
        digest = hashlib.new(self.suite.hash, transcript).digest()
        return prf(self.suite.hash, self.master, label, digest, VERIFY_DATA_LENGTH)

    def export(self, label: bytes, length: int) -> bytes:
        """Export keying material without a context (RFC 5705, 4)."""
        return prf(self.suite.hash, self.master, label, self.client_random + self.server_random, length)

    def key_log_line(self) -> str:
        """Write the secret as a line of an NSS key log, which opens a capture of the association. For debugging alone."""
        return f"CLIENT_RANDOM {self.client_random.hex()} {self.master.hex()}"
