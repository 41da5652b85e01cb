"""A DTLS association as the record layer sees it: records in, flights out, alerts, application data, the end (RFC 6347, 4; RFC 9147, 4-7).

Theory of operation. Records come in; handshake fragments become messages in order, which the handshake on top takes one by one.
Until it has verified the peer nothing that comes in plaintext proves anything, so whatever a stranger could send is dropped and
counted: alerts, application data, records of epochs without keys. (A forged handshake message that arrives before the true one
does end a handshake; DTLS 1.2 has no remedy, which is why these machines are given datagrams of proven sources.)

ChangeCipherSpec is ignored: the epoch in every record says the same, and says it under the record's authentication.

In DTLS 1.3 records are acknowledged where the next flight would not do it: the last flight of a handshake and what comes after it at
once, a flight of which something is missing when that shows, or when the rest has not come in a quarter of the timer.
"""

import abc
import enum
from collections import Counter
from typing import Final

import attrs

from trioice.dtls import acks, alerts, record
from trioice.dtls.alerts import Alert
from trioice.dtls.drops import Drop
from trioice.dtls.flights import FIRST_TIMEOUT, Flight, Flights
from trioice.dtls.fragments import HEADER_SIZE, Fragment, Message, Reassembler
from trioice.dtls.packing import RecordNumber
from trioice.dtls.record import AnyRecord, Record, RecordLayer
from trioice.errors import LocalProtocolError, Malformed, Misbehaviour, RemoteProtocolError
from trioice.sansio import NEVER, Address, Closed, Event, Failed, Outbox
from trioice.wire import Reader

EARLY_RECORDS: Final = 16
"""Records kept that come before their time: a final flight and the first application data that overtake a flight."""

RECORDS: Final = 16
"""Records of a datagram that are looked at: a flight has fewer, and each that is forged costs the work of an opening."""

EARLY_DATA: Final = 1
"""The epoch of 0-RTT data (RFC 9147, 6.1), which nobody may send us: no ticket was ever given."""

HANDSHAKE_EPOCH: Final = 2
"""The epoch of a handshake of DTLS 1.3 (RFC 9147, 6.1). What is in later ones waits for its end."""

ACKNOWLEDGED: Final = 32
"""Record numbers that we keep to acknowledge, the newest: a flight has fewer records (RFC 9147, 7.1)."""

LEAST_MTU: Final = 256
"""Octets of a datagram: every path carries that much, and no record has to be smaller."""


class State(enum.Enum):
    """What an association waits for."""

    IDLE = enum.auto()
    WAIT_CLIENT_HELLO = enum.auto()
    WAIT_SERVER_HELLO = enum.auto()
    WAIT_ENCRYPTED_EXTENSIONS = enum.auto()
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

    __hash__ = object.__hash__  # enum's own is written in Python, and every step looks states up


OVER: Final = frozenset({State.CLOSED, State.FAILED})


@attrs.define(eq=False, repr=False, kw_only=True)
class Association(abc.ABC):
    """One association with one peer: a `Machine`. Datagrams go to `peer`, which the owner may move."""

    peer: Address
    outbox: Outbox
    inbox: list[bytes]
    events: list[Event]
    first_timeout: float = FIRST_TIMEOUT
    mtu: int = 1200
    allowance: float = NEVER  # octets that may still be sent; the owner of a peer that may not hear us adds to it

    dropped: Counter[Drop] = attrs.field(init=False, factory=Counter)
    state: State = attrs.field(init=False, default=State.IDLE)
    _records: RecordLayer = attrs.field(init=False, factory=RecordLayer)
    _early: list[AnyRecord] = attrs.field(init=False, factory=list)
    _incoming: Reassembler = attrs.field(init=False, factory=Reassembler)
    _flights: Flights = attrs.field(init=False)
    _answering: int = attrs.field(init=False, default=-1)  # message_seq that ended the flight which ours answers
    _plaintext_alert: int | None = attrs.field(init=False, default=None)
    _acknowledges: bool | None = attrs.field(
        init=False, default=None
    )  # whether the version does; None until it is known
    _unacknowledged: list[RecordNumber] = attrs.field(init=False, factory=list)  # what came of the flight under way
    _acknowledge_at: float = attrs.field(init=False, default=NEVER)

    def __attrs_post_init__(self) -> None:
        if self.mtu < LEAST_MTU:
            raise ValueError(f"an MTU of {self.mtu} is below {LEAST_MTU}")
        self._flights = Flights(self._records, self.first_timeout, self.mtu)

    @property
    def deadline(self) -> float:
        """When the flight on its way, or an acknowledgement, is due; or `NEVER`."""
        return min(self._flights.deadline, self._acknowledge_at)

    @property
    def flight(self) -> int:
        """How many flights of ours were begun."""
        return self._flights.count

    @property
    def flight_size(self) -> int:
        """Octets that the latest transmission of a flight of ours took."""
        return self._flights.size

    @property
    def rtt(self) -> float | None:
        """The round-trip time in seconds that the handshake showed, or None where every flight had to be repeated."""
        return self._flights.rtt

    def receive(self, datagram: bytes, source: Address, now: float) -> bytes | None:
        """Take a datagram from the peer. `source` is not looked at: who is the peer is the owner's knowledge."""
        if self.state is State.IDLE or self.state in OVER:
            return None
        newest = self._unacknowledged[-1:]
        records, rest = record.split(datagram)
        if rest or not records:
            self.dropped[Drop.MALFORMED] += 1
        if len(records) > RECORDS:
            self.dropped[Drop.MALFORMED] += 1
        for item in records[:RECORDS]:
            self._record(item, now)
        # Records that were early may be due now: a Finished once there are keys, application data once we are connected.
        early, self._early = self._early, []
        for item in early:
            self._record(item, now)
        if self._unacknowledged and self._unacknowledged[-1:] != newest:
            self._acknowledge(now)
        return None

    def expire(self, now: float) -> None:
        """Repeat the flight that was not answered, or give up; acknowledge what came of one that is not complete."""
        if now >= self._acknowledge_at:
            self._send_acknowledgement()
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
        if self._records.is_worn and not self._flights.is_under_way:
            self._renew(now)

    # Records

    def _record(self, item: AnyRecord, now: float) -> None:
        if self.state in OVER:
            return
        if self._is_early(item):
            if len(self._early) < EARLY_RECORDS:
                self._early.append(item)
            else:
                self.dropped[Drop.TOO_EARLY] += 1
            return
        opened = self._records.open(item)
        if isinstance(opened, Drop):
            self.dropped[opened] += 1
        elif opened.kind == record.HANDSHAKE:
            self._handshake(opened, now)
        elif opened.kind == record.APPLICATION_DATA:
            self._data(opened)
        elif opened.kind == record.ALERT:
            self._heed(opened.payload, opened.epoch)
        elif opened.kind == record.ACK:
            self._acknowledged(opened, now)
        elif opened.kind != record.CHANGE_CIPHER_SPEC or (opened.epoch and self._acknowledges):
            self.dropped[Drop.UNKNOWN_TYPE] += 1

    def _is_early(self, item: AnyRecord) -> bool:
        """Tell whether a record belongs to a later moment of the handshake."""
        if self.state is State.CONNECTED:
            return False
        epoch = self._records.epoch_of(item)
        if isinstance(item, Record):
            is_data = item.kind == record.APPLICATION_DATA
            return item.epoch == 1 and self._acknowledges is not True and (is_data or not self._records.reads(1))
        return item.low_epoch != EARLY_DATA if epoch is None else epoch > HANDSHAKE_EPOCH

    def _data(self, opened: Record) -> None:
        """Take application data. The handshake's epoch is no place for it: there the peer has proven nothing yet."""
        if opened.epoch == 0:
            self.dropped[Drop.PLAINTEXT_DATA] += 1
        elif opened.epoch == HANDSHAKE_EPOCH:
            detail = f"application data in epoch {HANDSHAKE_EPOCH}"
            self._fail(RemoteProtocolError(Misbehaviour.UNEXPECTED_MESSAGE, detail, Alert.UNEXPECTED_MESSAGE))
        else:
            self.inbox.append(opened.payload)

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
            case (level, description), _ if level == alerts.FATAL or (
                self._acknowledges and description != Alert.USER_CANCELED
            ):
                # In 1.3 the level says nothing (RFC 8446, 6). What user_canceled announces is a close_notify.
                error = RemoteProtocolError(Misbehaviour.BAD_ALERT, alerts.name(description), description)
                self._end(State.FAILED)
                self.events.append(Failed(error))
            case _:
                self.dropped[Drop.WARNING] += 1

    # Handshake messages

    def _handshake(self, opened: Record, now: float) -> None:
        reader = Reader(opened.payload)
        is_taken = bool(reader.left)
        if not is_taken:
            self.dropped[Drop.MALFORMED] += 1
        while reader.left:
            try:
                fragment = Fragment.read(reader)
            except Malformed:
                self.dropped[Drop.MALFORMED] += 1
                is_taken = False
                break
            if fragment.sequence < self._incoming.next:
                self._repeated(fragment, opened.epoch, now)
            elif drop := self._keep(fragment, opened.epoch):
                self.dropped[drop] += 1
                is_taken = False
            else:
                self._flights.heard(now)
        if is_taken and self._acknowledges is not False and (opened.epoch or self._records.epoch == 0):
            # Before the messages are read: one that ends a flight brings ours, which acknowledges all of it.
            self._unacknowledged.append((opened.epoch, opened.sequence))
            del self._unacknowledged[:-ACKNOWLEDGED]
        for message in self._incoming.messages():
            self._step(message, now)
            if self.state in OVER:
                break

    def _keep(self, fragment: Fragment, epoch: int) -> Drop | None:
        """Keep a fragment of a message that is due or ahead; or say why not."""
        if epoch == 0 and self._must_be_protected(fragment.kind):
            return Drop.PLAINTEXT_HANDSHAKE
        return self._incoming.add(fragment, epoch)

    @abc.abstractmethod
    def _must_be_protected(self, kind: int) -> bool:
        """Tell whether a handshake message that is due or ahead counts under keys only."""

    def _repeated(self, fragment: Fragment, epoch: int, now: float) -> None:
        """Repeat our flight when the last message of the flight that it answers comes again (RFC 6347, 4.2.4)."""
        self.dropped[Drop.REPEATED] += 1
        is_believed = epoch > 0 or self.state is not State.CONNECTED
        if is_believed and fragment.sequence == self._answering:
            self._transmit(self._flights.repeat(now, record.HEADER.size + HEADER_SIZE + len(fragment.octets)))

    @abc.abstractmethod
    def _step(self, message: Message, now: float) -> None:
        """Take the next handshake message; never raises."""

    # Acknowledgements

    def _acknowledge(self, now: float) -> None:
        """See to it that the peer learns what came: at once, soon, or by our next flight."""
        if not self._acknowledges or self._records.epoch == 0:
            return
        if self.state is State.CONNECTED or self._incoming.has_gap:
            self._send_acknowledgement()
        elif self._acknowledge_at == NEVER:
            self._acknowledge_at = now + self._flights.timeout / 4  # RFC 9147, 7.1

    def _send_acknowledgement(self) -> None:
        self._acknowledge_at = NEVER
        room = acks.capacity(self.mtu - self._records.overhead(self._records.epoch))
        payload = acks.ack(sorted(set(self._unacknowledged[-room:])))
        if self.state is State.CONNECTED:
            self._unacknowledged.clear()
        self._transmit([self._records.seal(record.ACK, self._records.epoch, payload)])

    def _acknowledged(self, opened: Record, now: float) -> None:
        """Take the peer's acknowledgement. One in plaintext may be anybody's, and would keep us from repeating what was lost."""
        numbers = acks.read(opened.payload)
        if opened.epoch == 0:
            self.dropped[Drop.PLAINTEXT_ACK] += 1
        elif numbers is None:
            self.dropped[Drop.MALFORMED] += 1
        else:
            was_under_way = self._flights.is_under_way
            self._transmit(self._flights.acknowledge(numbers, now))
            if was_under_way and not self._flights.is_under_way:
                if self.state is State.CONNECTED:
                    self._flights.end()
                # Else the peer still owes its flight: we have nothing to repeat, but do not wait for ever.
                self._flight_acknowledged(now)

    @abc.abstractmethod
    def _flight_acknowledged(self, now: float) -> None:
        """React to the acknowledgement of all of our flight."""

    @abc.abstractmethod
    def _renew(self, now: float) -> None:
        """Take new keys if the version has any, as the old ones have sealed enough."""

    # What goes out

    def _send_flight(self, flight: Flight, now: float, *, awaits_answer: bool = True) -> None:
        self._answering = self._incoming.next - 1
        if self.state is not State.CONNECTED:
            self._unacknowledged.clear()
            self._acknowledge_at = NEVER
        self._transmit(self._flights.send(flight, now, awaits_answer=awaits_answer))

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
        self._unacknowledged.clear()
        self._acknowledge_at = NEVER

    def _alert(self, level: int, description: int) -> None:
        self._transmit([self._records.seal(record.ALERT, self._records.epoch, alerts.alert(level, description))])

    def _transmit(self, datagrams: list[bytes]) -> None:
        for datagram in datagrams:
            if len(datagram) > self.allowance:
                self.dropped[Drop.OVER_ALLOWANCE] += 1
                return
            self.allowance -= len(datagram)
            self.outbox.append((datagram, self.peer))
