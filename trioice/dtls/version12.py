"""What both sides of DTLS 1.2 share, from the hellos on (RFC 6347, 4.2; RFC 5246, 7)."""

import abc
from typing import ClassVar

from cryptography.hazmat.primitives.constant_time import bytes_eq

from trioice.dtls import certificate
from trioice.dtls.alerts import Alert
from trioice.dtls.association import State
from trioice.dtls.ciphers import VERSION_1_2, CipherSuite
from trioice.dtls.drops import Drop
from trioice.dtls.flights import Flight
from trioice.dtls.fragments import Message
from trioice.dtls.handshake import Handshake, Version
from trioice.dtls.keys12 import Secrets
from trioice.dtls.messages import CertificateChain, HandshakeType
from trioice.dtls.packing import ChangeCipherSpec
from trioice.errors import Misbehaviour, RemoteProtocolError


class Version12(Version, abc.ABC):
    """One side's part in a handshake of DTLS 1.2."""

    NUMBER: ClassVar[int] = VERSION_1_2
    NO_CERTIFICATE: ClassVar[Alert] = Alert.HANDSHAKE_FAILURE

    def __init__(self, machine: Handshake, suite: CipherSuite) -> None:
        self.cipher_suite = suite.number
        self.group = 0
        self._machine = machine
        self._suite = suite
        self._secrets: Secrets | None = None
        machine._acknowledges = False
        machine._unacknowledged.clear()

    def octets(self, message: Message) -> bytes:
        """Write a message as the transcript has it (RFC 6347, 4.2.6)."""
        return message.octets()

    def epoch_of(self, message: Message) -> int:
        """Tell the epoch that a message must come in now."""
        return 1 if message.kind == HandshakeType.FINISHED or self._machine.state is State.CONNECTED else 0

    def must_be_protected(self, kind: int) -> bool:
        """Tell whether a message that is due or ahead counts under keys only."""
        return kind == HandshakeType.FINISHED or self._machine.state in (State.WAIT_FINISHED, State.CONNECTED)

    def export(self, label: bytes, length: int) -> bytes | None:
        """Export keying material, or None before both Finished are verified."""
        if self._secrets is None or self._machine.state is not State.CONNECTED:
            return None
        return self._secrets.export(label, length)

    def key_log_lines(self) -> list[str]:
        """Write the master secret as a line of an NSS key log."""
        return [] if self._secrets is None else [self._secrets.key_log_line()]

    def connected(self) -> None:
        """Forget nothing more than the machine does."""

    def flight_acknowledged(self, now: float) -> None:
        """Never happens: this version has no acknowledgements."""

    def renew(self, now: float) -> None:
        """Do nothing: new keys are for a new association."""

    def decline(self, message: Message, now: float) -> State:
        """Never renegotiate; silence is an answer (RFC 5246, 7.4.1.1)."""
        self._machine.dropped[Drop.RENEGOTIATION] += 1
        return State.CONNECTED

    # What steps are made of

    def _certificate(self) -> Message:
        chain = CertificateChain((self._machine.certificate.der,))
        return self._machine._message(HandshakeType.CERTIFICATE, chain.octets())

    def _is_signed(self, scheme: int, signature: bytes, octets: bytes) -> bool:
        """Tell whether the holder of the peer's certificate signed `octets`."""
        key = self._machine._peer_key
        return key is not None and certificate.verify(key, scheme, signature, octets)

    def _agree(self, peer_share: bytes) -> bytes:
        """Compute the premaster secret."""
        assert self._machine._share is not None
        try:
            return self._machine._share.shared(peer_share)
        except ValueError as error:
            raise RemoteProtocolError(Misbehaviour.BAD_KEY_SHARE, str(error), Alert.ILLEGAL_PARAMETER) from None

    def _finished(self, label: bytes) -> Message:
        """Make our Finished, in the epoch that it begins."""
        assert self._secrets is not None
        machine = self._machine
        machine._records.epoch = 1
        verify_data = self._secrets.verify_data(label, b"".join(machine._transcript))
        return machine._message(HandshakeType.FINISHED, verify_data, epoch=1)

    def _read_finished(self, message: Message, label: bytes) -> None:
        assert self._secrets is not None
        expected = self._secrets.verify_data(label, b"".join(self._machine._transcript[:-1]))
        if not bytes_eq(expected, message.body):
            raise RemoteProtocolError(Misbehaviour.BAD_FINISHED, alert=Alert.DECRYPT_ERROR)


def final_flight(finished: Message, *before: Message) -> Flight:
    """Put ChangeCipherSpec where it belongs: right before Finished (RFC 5246, 7.1)."""
    return (*before, ChangeCipherSpec(), finished)
