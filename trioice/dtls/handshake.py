"""What the DTLS 1.2 client and server share: the steps of a handshake and what they are made of (RFC 6347, 4.2; RFC 5246, 7).

Theory of operation. Each message is looked up in a table of `State` × `HandshakeType` that client and server bring. A row is a
step, which returns the next state; no row is unexpected_message. Steps raise `Malformed` or `RemoteProtocolError`,
both caught at one place and nowhere seen outside. What was negotiated becomes public when both Finished are verified.
"""

import abc
from collections.abc import Sequence

import attrs
from cryptography.hazmat.primitives.constant_time import bytes_eq

from trioice.dtls import certificate
from trioice.dtls.alerts import Alert
from trioice.dtls.association import Association, State
from trioice.dtls.certificate import Certificate, Fingerprint, PublicKey
from trioice.dtls.ciphers import SUITES, VERSION_1_2, CipherSuite
from trioice.dtls.drops import Drop
from trioice.dtls.flights import ChangeCipherSpec, Flight
from trioice.dtls.fragments import Message
from trioice.dtls.keys import GROUPS, KeyShare, Secrets
from trioice.dtls.messages import CertificateChain, HandshakeType
from trioice.errors import LocalProtocolError, Malformed, Misbehaviour, RemoteProtocolError
from trioice.sansio import Entropy, Event


@attrs.frozen
class Connected(Event):
    """Both Finished are verified, and the certificate is the announced one. `srtp_profile` is 0 where none was wanted."""

    version: int
    cipher_suite: int
    srtp_profile: int


@attrs.define(eq=False, repr=False, kw_only=True)
class Handshake(Association):
    """An association whose handshake is that of DTLS 1.2, with mutual authentication by fingerprints."""

    certificate: Certificate
    fingerprints: Sequence[Fingerprint]
    profiles: Sequence[int]
    entropy: Entropy
    cipher_suites: Sequence[int] = tuple(SUITES)
    groups: Sequence[int] = tuple(GROUPS)

    # What was negotiated; nothing before `Connected`.
    version: int = attrs.field(init=False, default=0)
    cipher_suite: int = attrs.field(init=False, default=0)
    srtp_profile: int = attrs.field(init=False, default=0)
    peer_certificate: bytes = attrs.field(init=False, default=b"")

    _transcript: list[bytes] = attrs.field(init=False, factory=list)
    _next_message: int = attrs.field(init=False, default=0)
    _random: bytes = attrs.field(init=False)
    _peer_random: bytes = attrs.field(init=False, default=b"")
    _suite: CipherSuite | None = attrs.field(init=False, default=None)
    _share: KeyShare | None = attrs.field(init=False, default=None)
    _profile: int = attrs.field(init=False, default=0)
    _peer_der: bytes = attrs.field(init=False, default=b"")
    _peer_key: PublicKey | None = attrs.field(init=False, default=None)
    _secrets: Secrets | None = attrs.field(init=False, default=None)

    def __attrs_post_init__(self) -> None:
        super().__attrs_post_init__()
        if not set(self.cipher_suites) <= set(SUITES) or not set(self.groups) <= set(GROUPS):
            raise ValueError("a cipher suite or group that is not among SUITES and GROUPS")
        self._random = self.entropy(32)

    def export(self, label: bytes, length: int) -> bytes:
        """Export keying material without context (RFC 5705). Raises LocalProtocolError before `Connected`."""
        if self._secrets is None or self.state is not State.CONNECTED:
            raise LocalProtocolError(f"no keying material in {self.state.name}")
        return self._secrets.export(label, length)

    def key_log_line(self) -> str:
        """Tell the line of an NSS key log that opens a capture of this association; empty while there are no keys. For debugging."""
        return "" if self._secrets is None else self._secrets.key_log_line()

    def _step(self, message: Message, now: float) -> None:
        before = self.state
        try:
            if message.epoch != (1 if message.kind == HandshakeType.FINISHED or before is State.CONNECTED else 0):
                raise _unexpected(message.kind, before)
            if before is not State.CONNECTED:
                self._transcript.append(message.octets())
            state = self._take(message, now)
            if state is None:
                raise _unexpected(message.kind, before)
        except Malformed as malformed:
            error = RemoteProtocolError(Misbehaviour.MALFORMED_HANDSHAKE, str(malformed), Alert.DECODE_ERROR)
        except RemoteProtocolError as caught:
            error = caught.with_traceback(None)
        else:
            self.state = state
            if state is State.CONNECTED and before is not State.CONNECTED:
                self._connect()
            return
        self._fail(error)

    @abc.abstractmethod
    def _take(self, message: Message, now: float) -> State | None:
        """Do the step that the table has for a message in this state, and return the next state; None where there is none."""

    def _decline(self, message: Message, now: float) -> State:
        """Never renegotiate; silence is an answer (RFC 5246, 7.4.1.1)."""
        self.dropped[Drop.RENEGOTIATION] += 1
        return State.CONNECTED

    # What steps are made of

    def _message(self, kind: int, body: bytes, epoch: int = 0) -> Message:
        """Make our next handshake message, and add it to the transcript."""
        message = Message(kind=kind, sequence=self._next_message, body=body, epoch=epoch)
        self._next_message += 1
        self._transcript.append(message.octets())
        return message

    def _certificate(self) -> Message:
        return self._message(HandshakeType.CERTIFICATE, CertificateChain((self.certificate.der,)).octets())

    def _read_certificate(self, message: Message) -> None:
        """Believe the peer's certificate if the SDP announced it. That the peer holds its key, its signature must show."""
        chain = CertificateChain.read(message.body)
        if not chain.certificates:
            raise RemoteProtocolError(Misbehaviour.NO_CERTIFICATE, alert=Alert.HANDSHAKE_FAILURE)
        der = chain.certificates[0]
        if not certificate.is_announced(der, self.fingerprints):
            raise RemoteProtocolError(Misbehaviour.BAD_FINGERPRINT, alert=Alert.BAD_CERTIFICATE)
        try:
            self._peer_key = certificate.public_key(der)
        except ValueError as error:
            detail = str(error)
            raise RemoteProtocolError(Misbehaviour.BAD_CERTIFICATE, detail, Alert.UNSUPPORTED_CERTIFICATE) from None
        self._peer_der = der

    def _is_signed(self, scheme: int, signature: bytes, octets: bytes) -> bool:
        """Tell whether the holder of the peer's certificate signed `octets`."""
        return self._peer_key is not None and certificate.verify(self._peer_key, scheme, signature, octets)

    def _agree(self, peer_share: bytes) -> bytes:
        """Compute the premaster secret."""
        assert self._share is not None
        try:
            return self._share.shared(peer_share)
        except ValueError as error:
            raise RemoteProtocolError(Misbehaviour.BAD_KEY_SHARE, str(error), Alert.ILLEGAL_PARAMETER) from None

    def _finished(self, label: bytes) -> Message:
        """Make our Finished, in the epoch that it begins."""
        assert self._secrets is not None
        self._records.epoch = 1
        verify_data = self._secrets.verify_data(label, b"".join(self._transcript))
        return self._message(HandshakeType.FINISHED, verify_data, epoch=1)

    def _read_finished(self, message: Message, label: bytes) -> None:
        assert self._secrets is not None
        expected = self._secrets.verify_data(label, b"".join(self._transcript[:-1]))
        if not bytes_eq(expected, message.body):
            raise RemoteProtocolError(Misbehaviour.BAD_FINISHED, alert=Alert.DECRYPT_ERROR)

    # Beginning and end

    def _connect(self) -> None:
        """Make known what was negotiated, now that all of it is authentic, and forget what led to it."""
        assert self._suite is not None
        self.version, self.cipher_suite, self.srtp_profile = VERSION_1_2, self._suite.number, self._profile
        self.peer_certificate = self._peer_der
        self._transcript.clear()
        self._share = self._peer_key = None
        self.events.append(Connected(self.version, self.cipher_suite, self.srtp_profile))

    def _end(self, state: State) -> None:
        super()._end(state)
        self._transcript.clear()
        self._secrets = self._share = self._peer_key = None


def final_flight(finished: Message, *before: Message) -> Flight:
    """Put ChangeCipherSpec where it belongs: right before Finished (RFC 5246, 7.1)."""
    return (*before, ChangeCipherSpec(), finished)


def _unexpected(kind: int, state: State) -> RemoteProtocolError:
    return RemoteProtocolError(
        Misbehaviour.UNEXPECTED_MESSAGE, f"message {kind} in {state.name}", Alert.UNEXPECTED_MESSAGE
    )
