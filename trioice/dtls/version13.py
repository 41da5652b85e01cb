"""What both sides of DTLS 1.3 share, from the hellos on (RFC 9147, 5-8; RFC 8446, 4.4, 4.6.3 and 7).

Theory of operation. The hellos are in plaintext, epoch 0. They hold both halves of the key exchange, so all that follows is
under encryption: the rest of the handshake in epoch 2, everything else from epoch 3 on. Epoch 1 would be early data, which we neither
send nor take.

Keys may be renewed after the handshake. A side that takes new keys says so in a KeyUpdate, and uses them when that is acknowledged,
so the peer always has them in time; the peer keeps the keys before those for what comes late.
"""

import abc
from typing import ClassVar, Final

import attrs
from cryptography.hazmat.primitives.constant_time import bytes_eq

from trioice.dtls import certificate
from trioice.dtls.alerts import Alert
from trioice.dtls.association import HANDSHAKE_EPOCH, State
from trioice.dtls.certificate import OUR_SCHEME
from trioice.dtls.ciphers13 import CipherSuite13
from trioice.dtls.fragments import LAST_SEQUENCE, Message
from trioice.dtls.handshake import VERSION_1_3, Handshake, Version
from trioice.dtls.keys13 import KeySchedule, Traffic
from trioice.dtls.messages import CertificateVerify, HandshakeType
from trioice.dtls.messages13 import CertificateChain13, KeyUpdate
from trioice.errors import Misbehaviour, RemoteProtocolError

APPLICATION_EPOCH: Final = 3
"""The first epoch after the handshake (RFC 9147, 6.1)."""


class Version13(Version, abc.ABC):
    """One side's part in a handshake of DTLS 1.3."""

    NUMBER: ClassVar[int] = VERSION_1_3
    OURS: ClassVar[bytes]
    THEIRS: ClassVar[bytes]

    def __init__(self, machine: Handshake, suite: CipherSuite13) -> None:
        self.cipher_suite = suite.number
        self.group = 0
        self._machine = machine
        self._suite = suite
        self._schedule = KeySchedule(suite.hash)
        self._secret = b""  # of the handshake
        self._handshake: Traffic | None = None
        self._application: Traffic | None = None  # as of now
        self._first_application: Traffic | None = None
        self._exporter = b""
        self._reading_epoch = APPLICATION_EPOCH
        self._is_updating = False
        self._owes_update = False
        machine._acknowledges = True
        # What was said before the version was known; from here on the transcript is that of TLS (RFC 9147, 5.2).
        machine._transcript[:] = [octets[:4] + octets[12:] for octets in machine._transcript]

    def octets(self, message: Message) -> bytes:
        """Write a message as the transcript has it."""
        return message.tls_octets()

    def epoch_of(self, message: Message) -> int:
        """Tell the epoch that a message must come in now."""
        match self._machine.state:
            case State.WAIT_CLIENT_HELLO | State.WAIT_SERVER_HELLO:
                return 0
            case State.CONNECTED:
                # A KeyUpdate is the last message of its epoch, so the next is sent once the peer has new keys (RFC 9147, 8).
                return self._reading_epoch
            case _:
                return HANDSHAKE_EPOCH

    def must_be_protected(self, kind: int) -> bool:
        """Tell whether a message that is due or ahead counts under keys only: all but hellos do."""
        return self._machine.state not in (State.WAIT_CLIENT_HELLO, State.WAIT_SERVER_HELLO)

    def export(self, label: bytes, length: int) -> bytes | None:
        """Export keying material, or None before the server's Finished."""
        return self._schedule.export(self._exporter, label, length) if self._exporter else None

    def key_log_lines(self) -> list[str]:
        """Write the secrets there are as lines of an NSS key log. The labels are those of TLS."""
        machine = self._machine
        secrets: dict[str, bytes] = {}
        if self._handshake is not None:
            secrets["CLIENT_HANDSHAKE_TRAFFIC_SECRET"] = self._handshake.client
            secrets["SERVER_HANDSHAKE_TRAFFIC_SECRET"] = self._handshake.server
        if self._first_application is not None:
            secrets["CLIENT_TRAFFIC_SECRET_0"] = self._first_application.client
            secrets["SERVER_TRAFFIC_SECRET_0"] = self._first_application.server
            secrets["EXPORTER_SECRET"] = self._exporter
        client_random = (machine._random if self.OURS == b"client" else machine._peer_random).hex()
        return [f"{label} {client_random} {secret.hex()}" for label, secret in secrets.items()]

    def connected(self) -> None:
        """Forget what only the handshake needed. Its traffic secrets stay for a capture that is being written."""
        self._secret = b""

    # Keys

    def _begin_encryption(self, shared: bytes) -> None:
        """Take the keys of the handshake, once both hellos are in the transcript."""
        machine = self._machine
        self._secret = self._schedule.handshake(shared)
        self._handshake = Traffic.derive(self._schedule, self._secret, b"hs", b"".join(machine._transcript))
        self._install(HANDSHAKE_EPOCH, self._handshake)
        machine._incoming.forget_plaintext()

    def _derive_application_keys(self) -> None:
        """Derive the keys of all that follows the handshake, once the server's Finished is in the transcript."""
        schedule, transcript = self._schedule, b"".join(self._machine._transcript)
        master = schedule.master(self._secret)
        self._application = self._first_application = Traffic.derive(schedule, master, b"ap", transcript)
        self._exporter = schedule.derive(master, b"exp master", transcript)

    def _begin_application(self) -> None:
        """Take the keys of all that follows."""
        assert self._application is not None
        self._install(APPLICATION_EPOCH, self._application)

    def _install(self, epoch: int, traffic: Traffic) -> None:
        protection, records = self._schedule.protection, self._machine._records
        ours, theirs = self._secrets(traffic)
        records.install(epoch, writing=protection(self._suite, ours), reading=protection(self._suite, theirs))
        records.epoch = epoch

    def _secrets(self, traffic: Traffic) -> tuple[bytes, bytes]:
        """Tell what we write and what we read under."""
        return (traffic.client, traffic.server) if self.OURS == b"client" else (traffic.server, traffic.client)

    # What steps are made of

    def _forget_first_hello(self) -> None:
        """Put a hash of the first ClientHello in its place, as a retried handshake's transcript begins (RFC 8446, 4.4.1)."""
        transcript = self._machine._transcript
        digest = self._schedule.digest(transcript[0])
        transcript[0] = Message(kind=HandshakeType.MESSAGE_HASH, sequence=0, body=digest).tls_octets()

    def _proof(self) -> list[Message]:
        """Make our Certificate, CertificateVerify and Finished (RFC 8446, 4.4)."""
        machine = self._machine
        chain = CertificateChain13(b"", (machine.certificate.der,))
        messages = [self._message(HandshakeType.CERTIFICATE, chain.octets())]
        signature = machine.certificate.sign(self._signed(self.OURS, machine._transcript))
        verify = CertificateVerify(OUR_SCHEME, signature)
        messages.append(self._message(HandshakeType.CERTIFICATE_VERIFY, verify.octets()))
        assert self._handshake is not None
        ours, _ = self._secrets(self._handshake)
        verify_data = self._schedule.verify_data(ours, b"".join(machine._transcript))
        messages.append(self._message(HandshakeType.FINISHED, verify_data))
        return messages

    def _message(self, kind: int, body: bytes) -> Message:
        return self._machine._message(kind, body, epoch=HANDSHAKE_EPOCH)

    def _signed(self, side: bytes, transcript: list[bytes]) -> bytes:
        """Tell what a CertificateVerify of that side signs (RFC 8446, 4.4.3)."""
        return b"%b%b%b%b" % (b" " * 64, b"TLS 1.3, ", side, b" CertificateVerify\0") + self._schedule.digest(
            b"".join(transcript)
        )

    def certificate(self, message: Message, now: float) -> State:
        """Take the peer's certificate."""
        chain = CertificateChain13.read(message.body)
        if chain.context:
            detail = "a certificate_request_context that nobody gave"
            raise RemoteProtocolError(Misbehaviour.ILLEGAL_PARAMETER, detail, Alert.ILLEGAL_PARAMETER)
        if chain.extensions:
            detail = f"extension {chain.extensions[0][0]} of a certificate"
            raise RemoteProtocolError(Misbehaviour.UNSOLICITED_EXTENSION, detail, Alert.UNSUPPORTED_EXTENSION)
        self._machine._believe(chain.certificates)
        return State.WAIT_CERTIFICATE_VERIFY

    def certificate_verify(self, message: Message, now: float) -> State:
        """Take the proof that the peer holds the key of its certificate."""
        verify = CertificateVerify.read(message.body)
        key, signed = self._machine._peer_key, self._signed(self.THEIRS, self._machine._transcript[:-1])
        if key is None or not certificate.verify(key, verify.scheme, verify.signature, signed, is_13=True):
            raise RemoteProtocolError(Misbehaviour.BAD_CERTIFICATE_VERIFY, alert=Alert.DECRYPT_ERROR)
        return State.WAIT_FINISHED

    def _read_finished(self, message: Message) -> None:
        assert self._handshake is not None
        _, theirs = self._secrets(self._handshake)
        expected = self._schedule.verify_data(theirs, b"".join(self._machine._transcript[:-1]))
        if not bytes_eq(expected, message.body):
            raise RemoteProtocolError(Misbehaviour.BAD_FINISHED, alert=Alert.DECRYPT_ERROR)

    # After the handshake

    def key_update(self, message: Message, now: float) -> State:
        """Read under the peer's next keys, and answer with an update of our own where it is asked for (RFC 8446, 4.6.3; RFC 9147, 8)."""
        update = KeyUpdate.read(message.body)
        records = self._machine._records
        secret = self._next(self.THEIRS)
        self._reading_epoch += 1
        records.install(self._reading_epoch, reading=self._schedule.protection(self._suite, secret))
        self._forget_old_keys()
        if update.is_requested:
            self.renew(now)
        return State.CONNECTED

    def renew(self, now: float) -> None:
        """Begin to take new keys for what we send; later, if a flight of ours is still under way."""
        machine = self._machine
        if machine._next_message > LAST_SEQUENCE:
            return  # as for epochs that are used up: the request is ignored (RFC 9147, 8)
        if machine._flights.is_under_way:
            self._owes_update = True
            return
        self._owes_update = False
        self._is_updating = True
        body = KeyUpdate(is_requested=False).octets()
        update = machine._message(HandshakeType.KEY_UPDATE, body, epoch=machine._records.epoch)
        machine._send_flight([update], now)

    def flight_acknowledged(self, now: float) -> None:
        """Send under the new keys, as the peer has them."""
        if self._is_updating:
            self._is_updating = False
            records = self._machine._records
            secret = self._next(self.OURS)
            records.install(records.epoch + 1, writing=self._schedule.protection(self._suite, secret))
            records.epoch += 1
            self._forget_old_keys()
        if self._owes_update:
            self.renew(now)

    def _forget_old_keys(self) -> None:
        """Keep what is read late, and what a flight of ours may be repeated under: with a hasty server, our last of the handshake."""
        machine = self._machine
        late = [self._reading_epoch - 1, self._reading_epoch]
        if self._reading_epoch == APPLICATION_EPOCH + 1:
            late.append(HANDSHAKE_EPOCH)  # a peer that was hasty may not have heard that its last flight came
        machine._records.retain(reading=late, writing=machine._flights.epochs)

    def _next(self, side: bytes) -> bytes:
        """Put the next traffic secret of a side in the place of its present one."""
        assert self._application is not None
        name = side.decode()
        secret = self._schedule.next(getattr(self._application, name))
        self._application = attrs.evolve(self._application, **{name: secret})
        self._first_application = None  # what was said under it stays unreadable from here on
        return secret
