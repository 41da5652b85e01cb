"""What the DTLS 1.2 client and server share: an association from its first record to its last (RFC 6347; RFC 5246, 7).

Theory of operation. Records come in; handshake fragments become messages in order; each message is looked up in a table of
`State` × `HandshakeType` that client and server bring. A row is a step, which returns the next state; no row is
unexpected_message. Steps raise `Malformed` or `RemoteProtocolError`, both caught at one place and nowhere seen outside.

Until both Finished are verified nothing that comes in plaintext proves anything, so whatever a stranger could send is dropped and
counted: alerts, application data, records of epochs without keys. (A forged handshake message that arrives before the true one
does end a handshake; DTLS 1.2 has no remedy, which is why these machines are given datagrams of proven sources.)

ChangeCipherSpec is ignored: the epoch in every record says the same, and says it under the record's authentication.
"""

import abc
import enum
from collections import Counter
from collections.abc import Sequence
from typing import Final

import attrs
from cryptography.hazmat.primitives.constant_time import bytes_eq

from trioice.dtls import alerts, certificate, record
from trioice.dtls.alerts import Alert
from trioice.dtls.certificate import Certificate, Fingerprint, PublicKey
from trioice.dtls.ciphers import SUITES, VERSION_1_2, CipherSuite
from trioice.dtls.drops import Drop
from trioice.dtls.flights import FIRST_TIMEOUT, ChangeCipherSpec, Flight, Flights
from trioice.dtls.fragments import Fragment, Message, Reassembler
from trioice.dtls.keys import GROUPS, KeyShare, Secrets
from trioice.dtls.messages import CertificateChain, HandshakeType
from trioice.dtls.record import Record, RecordLayer
from trioice.errors import LocalProtocolError, Malformed, Misbehaviour, RemoteProtocolError
from trioice.sansio import Address, Closed, Entropy, Event, Failed, Outbox
from trioice.wire import Reader

EARLY_RECORDS: Final = 16
"""Records kept that come before their time: a final flight and the first application data that overtake a flight."""

LEAST_MTU: Final = 256
"""Octets of a datagram: every path carries that much, and no record has to be smaller."""


class State(enum.Enum):
    """What an association waits for."""

    IDLE = enum.auto()
    WAIT_CLIENT_HELLO = enum.auto()
    WAIT_SERVER_HELLO = enum.auto()
    WAIT_CERTIFICATE = enum.auto()
    WAIT_SERVER_KEY_EXCHANGE = enum.auto()
    WAIT_CERTIFICATE_REQUEST = enum.auto()
    WAIT_SERVER_HELLO_DONE = enum.auto()
    WAIT_CLIENT_KEY_EXCHANGE = enum.auto()
    WAIT_CERTIFICATE_VERIFY = enum.auto()
    WAIT_FINISHED = enum.auto()
    CONNECTED = enum.auto()
    CLOSED = enum.auto()
    FAILED = enum.auto()


OVER: Final = frozenset({State.CLOSED, State.FAILED})


@attrs.frozen
class Connected(Event):
    """Both Finished are verified, and the certificate is the announced one. `srtp_profile` is 0 where none was wanted."""

    version: int
    cipher_suite: int
    srtp_profile: int


@attrs.define(eq=False, repr=False, kw_only=True)
class Association(abc.ABC):
    """A DTLS 1.2 association with one peer: a `Machine`. Datagrams go to `peer`, which the owner may move."""

    certificate: Certificate
    fingerprints: Sequence[Fingerprint]
    profiles: Sequence[int]
    entropy: Entropy
    peer: Address
    outbox: Outbox
    inbox: list[bytes]
    events: list[Event]
    first_timeout: float = FIRST_TIMEOUT
    mtu: int = 1200
    cipher_suites: Sequence[int] = tuple(SUITES)
    groups: Sequence[int] = tuple(GROUPS)

    dropped: Counter[Drop] = attrs.field(init=False, factory=Counter)
    version: int = attrs.field(init=False, default=0)
    cipher_suite: int = attrs.field(init=False, default=0)
    srtp_profile: int = attrs.field(init=False, default=0)
    peer_certificate: bytes = attrs.field(init=False, default=b"")

    state: State = attrs.field(init=False, default=State.IDLE)
    _records: RecordLayer = attrs.field(init=False, factory=RecordLayer)
    _early: list[Record] = attrs.field(init=False, factory=list)
    _incoming: Reassembler = attrs.field(init=False, factory=Reassembler)
    _flights: Flights = attrs.field(init=False)
    _answering: int = attrs.field(init=False, default=-1)  # message_seq that ended the flight which ours answers
    _next_message: int = attrs.field(init=False, default=0)
    _plaintext_alert: int | None = attrs.field(init=False, default=None)

    _transcript: list[bytes] = attrs.field(init=False, factory=list)
    _random: bytes = attrs.field(init=False)
    _peer_random: bytes = attrs.field(init=False, default=b"")
    _suite: CipherSuite | None = attrs.field(init=False, default=None)
    _share: KeyShare | None = attrs.field(init=False, default=None)
    _profile: int = attrs.field(init=False, default=0)
    _peer_der: bytes = attrs.field(init=False, default=b"")
    _peer_key: PublicKey | None = attrs.field(init=False, default=None)
    _secrets: Secrets | None = attrs.field(init=False, default=None)

    def __attrs_post_init__(self) -> None:
        if not set(self.cipher_suites) <= set(SUITES) or not set(self.groups) <= set(GROUPS):
            raise ValueError("a cipher suite or group that is not among SUITES and GROUPS")
        if self.mtu < LEAST_MTU:
            raise ValueError(f"an MTU of {self.mtu} is below {LEAST_MTU}")
        self._flights = Flights(self._records, self.first_timeout, self.mtu)
        self._random = self.entropy(32)

    @property
    def deadline(self) -> float:
        """When the flight on its way is due again, or `NEVER`."""
        return self._flights.deadline

    @property
    def rtt(self) -> float | None:
        """The round-trip time in seconds that the handshake showed, or None where every flight had to be repeated."""
        return self._flights.rtt

    def receive(self, datagram: bytes, source: Address, now: float) -> bytes | None:
        """Take a datagram from the peer. `source` is not looked at: who is the peer is the owner's knowledge."""
        if self.state is State.IDLE or self.state in OVER:
            return None
        records, rest = record.split(datagram)
        if rest or not records:
            self.dropped[Drop.MALFORMED] += 1
        for item in records:
            self._record(item, now)
        # Records that were early may be due now: a Finished once there are keys, application data once we are connected.
        early, self._early = self._early, []
        for item in early:
            self._record(item, now)
        return None

    def expire(self, now: float) -> None:
        """Repeat the flight that was not answered, or give up."""
        if now < self._flights.deadline:
            return
        if self._flights.is_exhausted:
            detail = f"in {self.state.name}"
            if self._plaintext_alert is not None:
                detail += f"; somebody sent an alert in plaintext: {alerts.name(self._plaintext_alert)}"
            self._fail(RemoteProtocolError(Misbehaviour.HANDSHAKE_TIMEOUT, detail))
        else:
            self._transmit(self._flights.expire(now))

    def close(self, now: float) -> None:
        """Say close_notify if there are keys to say it under, and be silent for ever."""
        if self.state in OVER:
            return
        if self._records.epoch > 0:
            self._alert(alerts.WARNING, Alert.CLOSE_NOTIFY)
        self._end(State.CLOSED)

    def send(self, octets: bytes, now: float) -> None:
        """Send application data, which has to fit one datagram. Raises LocalProtocolError before `Connected`."""
        if self.state is not State.CONNECTED:
            raise LocalProtocolError(f"no application data in {self.state.name}")
        if len(octets) + self._records.overhead(self._records.epoch) > self.mtu:
            raise LocalProtocolError(f"{len(octets)} octets do not fit a datagram of {self.mtu}")
        if not self._records.has_room:
            raise LocalProtocolError(
                "the sequence numbers are used up; DTLS 1.2 has new ones for a new association only"
            )
        self._transmit([self._records.seal(record.APPLICATION_DATA, self._records.epoch, octets)])

    def export(self, label: bytes, length: int) -> bytes:
        """Export keying material without context (RFC 5705). Raises LocalProtocolError before `Connected`."""
        if self._secrets is None or self.state is not State.CONNECTED:
            raise LocalProtocolError(f"no keying material in {self.state.name}")
        return self._secrets.export(label, length)

    # Records

    def _record(self, item: Record, now: float) -> None:
        if self.state in OVER:
            return
        is_early = not self._records.reads(item.epoch) or (
            item.kind == record.APPLICATION_DATA and self.state is not State.CONNECTED
        )
        if item.epoch == 1 and is_early:
            if len(self._early) < EARLY_RECORDS:
                self._early.append(item)
            else:
                self.dropped[Drop.TOO_EARLY] += 1
            return
        payload = self._records.open(item)
        if isinstance(payload, Drop):
            self.dropped[payload] += 1
        elif item.kind == record.HANDSHAKE:
            self._handshake(payload, item.epoch, now)
        elif item.kind == record.APPLICATION_DATA:
            if item.epoch == 0:
                self.dropped[Drop.PLAINTEXT_DATA] += 1
            else:
                self.inbox.append(payload)
        elif item.kind == record.ALERT:
            self._heed(payload, item.epoch)
        elif item.kind != record.CHANGE_CIPHER_SPEC:
            self.dropped[Drop.UNKNOWN_TYPE] += 1

    def _heed(self, payload: bytes, epoch: int) -> None:
        """Take an alert."""
        match alerts.read(payload), epoch:
            case None, _:
                self.dropped[Drop.MALFORMED] += 1
            case (_, description), 0:
                # Anybody can write it, so it ends nothing. It is told if the handshake then times out.
                self.dropped[Drop.PLAINTEXT_ALERT] += 1
                self._plaintext_alert = description
            case (_, Alert.CLOSE_NOTIFY), _:
                self._alert(alerts.WARNING, Alert.CLOSE_NOTIFY)
                self._end(State.CLOSED)
                self.events.append(Closed("close_notify"))
            case (alerts.FATAL, description), _:
                error = RemoteProtocolError(Misbehaviour.BAD_ALERT, alerts.name(description), description)
                self._end(State.FAILED)
                self.events.append(Failed(error))
            case _:
                self.dropped[Drop.WARNING] += 1

    # Handshake messages

    def _handshake(self, payload: bytes, epoch: int, now: float) -> None:
        reader = Reader(payload)
        while reader.left:
            try:
                fragment = Fragment.read(reader)
            except Malformed:
                self.dropped[Drop.MALFORMED] += 1
                break
            if fragment.sequence < self._incoming.next:
                self._repeated(fragment, epoch, now)
            elif drop := self._keep(fragment, epoch):
                self.dropped[drop] += 1
            else:
                self._flights.heard(now)
        for message in self._incoming.messages():
            self._step(message, now)
            if self.state in OVER:
                break

    def _keep(self, fragment: Fragment, epoch: int) -> Drop | None:
        """Keep a fragment of a message that is due or ahead; or say why not."""
        protected = self.state in (State.WAIT_FINISHED, State.CONNECTED)
        if epoch == 0 and (protected or fragment.kind == HandshakeType.FINISHED):
            return Drop.PLAINTEXT_HANDSHAKE
        return self._incoming.add(fragment, epoch)

    def _repeated(self, fragment: Fragment, epoch: int, now: float) -> None:
        """Repeat our flight when the last message of the flight that it answers comes again (RFC 6347, 4.2.4)."""
        self.dropped[Drop.REPEATED] += 1
        is_believed = epoch > 0 or self.state is not State.CONNECTED
        if is_believed and fragment.sequence == self._answering:
            self._transmit(self._flights.repeat(now))

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

    def _send_flight(self, flight: Flight, now: float, *, awaits_answer: bool = True) -> None:
        self._answering = self._incoming.next - 1
        self._transmit(self._flights.send(flight, now, awaits_answer=awaits_answer))

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

    # Endings and beginnings

    def _connect(self) -> None:
        """Make known what was negotiated, now that all of it is authentic, and forget what led to it."""
        assert self._suite is not None
        self.version, self.cipher_suite, self.srtp_profile = VERSION_1_2, self._suite.number, self._profile
        self.peer_certificate = self._peer_der
        self._transcript.clear()
        self._share = None
        self.events.append(Connected(self.version, self.cipher_suite, self.srtp_profile))

    def _fail(self, error: RemoteProtocolError) -> None:
        """End the association, and tell the peer once why if there is a word for it."""
        if error.alert is not None:
            self._alert(alerts.FATAL, error.alert)
        self._end(State.FAILED)
        self.events.append(Failed(error))

    def _end(self, state: State) -> None:
        self.state = state
        self._flights.end()
        self._early.clear()
        self._transcript.clear()
        self._secrets = self._share = None

    def _alert(self, level: int, description: int) -> None:
        self._transmit([self._records.seal(record.ALERT, self._records.epoch, alerts.alert(level, description))])

    def _transmit(self, datagrams: list[bytes]) -> None:
        self.outbox.extend((datagram, self.peer) for datagram in datagrams)


def final_flight(finished: Message, *before: Message) -> Flight:
    """Put ChangeCipherSpec where it belongs: right before Finished (RFC 5246, 7.1)."""
    return (*before, ChangeCipherSpec(), finished)


def _unexpected(kind: int, state: State) -> RemoteProtocolError:
    return RemoteProtocolError(
        Misbehaviour.UNEXPECTED_MESSAGE, f"message {kind} in {state.name}", Alert.UNEXPECTED_MESSAGE
    )
