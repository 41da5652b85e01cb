"""What client and server have in common in every version: the steps of a handshake and what they are made of.

Theory of operation. Client and server begin with a hello that fits all versions. It is answered in one of them, and from then on a
`Version` has the word: it has a table of `State` × `HandshakeType`, in which each message is looked up. A row is a step, which
returns the next state; no row is unexpected_message. Steps raise `Malformed` or `RemoteProtocolError`, both caught at one place
and nowhere seen outside. What was negotiated becomes public when both Finished are verified.

A version is a part of its machine, apart only because a machine has one of several: it reads and writes what begins with an underscore.
"""

import abc
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Final, TypeAlias

import attrs

from trioice.dtls import certificate
from trioice.dtls.alerts import Alert
from trioice.dtls.association import Association, State
from trioice.dtls.certificate import Certificate, Fingerprint, PublicKey
from trioice.dtls.ciphers import SUITES, VERSION_1_2
from trioice.dtls.ciphers13 import SUITES_13
from trioice.dtls.fragments import Message
from trioice.dtls.groups import GROUPS, Encapsulate, KeyShare, encapsulate
from trioice.dtls.messages import HandshakeType
from trioice.errors import LocalProtocolError, Malformed, Misbehaviour, RemoteProtocolError
from trioice.sansio import Entropy, Event

VERSION_1_3: Final = 0xFEFC

VERSIONS: Final = (VERSION_1_3, VERSION_1_2)
"""The versions of DTLS that we speak, in our order of preference."""

VERSION_NAMES: Final = {VERSION_1_3: "1.3", VERSION_1_2: "1.2"}

SUITE_NAMES: Final = {
    **{number: suite.name for number, suite in SUITES_13.items()},
    **{number: suite.name for number, suite in SUITES.items()},
}
"""Every cipher suite that we speak."""


@attrs.frozen
class Connected(Event):
    """Both Finished are verified, and the certificate is the announced one. `srtp_profile` is 0 where none was wanted."""

    version: int
    cipher_suite: int
    group: int
    srtp_profile: int


@attrs.frozen
class KeysDerived(Event):
    """A server of DTLS 1.3 may send under the keys of the association from now on, to a client that has yet to prove who it is."""

    srtp_profile: int


@attrs.define(eq=False, repr=False, kw_only=True)
class Handshake(Association):
    """An association with a handshake in front of it, with mutual authentication by fingerprints."""

    certificate: Certificate
    fingerprints: Sequence[Fingerprint]
    profiles: Sequence[int]
    entropy: Entropy
    versions: Sequence[int] = VERSIONS
    cipher_suites: Sequence[int] = (*SUITES_13, *SUITES)
    groups: Sequence[int] = tuple(GROUPS)
    encapsulate: Encapsulate = encapsulate

    # What was negotiated; nothing before `Connected`.
    version: int = attrs.field(init=False, default=0)
    cipher_suite: int = attrs.field(init=False, default=0)
    group: int = attrs.field(init=False, default=0)
    srtp_profile: int = attrs.field(init=False, default=0)
    peer_certificate: bytes = attrs.field(init=False, default=b"")

    _version: "Version | None" = attrs.field(init=False, default=None)
    _transcript: list[bytes] = attrs.field(init=False, factory=list)
    _next_message: int = attrs.field(init=False, default=0)
    _random: bytes = attrs.field(init=False)
    _peer_random: bytes = attrs.field(init=False, default=b"")
    _share: KeyShare | None = attrs.field(init=False, default=None)
    _profile: int = attrs.field(init=False, default=0)
    _peer_der: bytes = attrs.field(init=False, default=b"")
    _peer_key: PublicKey | None = attrs.field(init=False, default=None)

    def __attrs_post_init__(self) -> None:
        super().__attrs_post_init__()
        if not self.versions or not set(self.versions) <= set(VERSIONS):
            raise ValueError("a version that is not among VERSIONS, or none")
        if not set(self.cipher_suites) <= {*SUITES, *SUITES_13} or not set(self.groups) <= set(GROUPS):
            raise ValueError("a cipher suite or group that is not among SUITES, SUITES_13 and GROUPS")
        self._random = self.entropy(32)

    def export(self, label: bytes, length: int) -> bytes:
        """Export keying material without context (RFC 5705; RFC 8446, 7.5).

        Raises LocalProtocolError before `Connected` or, where that comes first, `KeysDerived`.
        """
        material = None if self._version is None else self._version.export(label, length)
        if material is None:
            raise LocalProtocolError(f"no keying material in {self.state.name}")
        return material

    def key_log_lines(self) -> list[str]:
        """Tell the lines of an NSS key log that open a capture of this association; none while there are no keys. For debugging."""
        return [] if self._version is None else self._version.key_log_lines()

    def _step(self, message: Message, now: float) -> None:
        before = self.state
        try:
            version = self._version
            if message.epoch != (0 if version is None else version.epoch_of(message)):
                raise unexpected(message.kind, before)
            if before is not State.CONNECTED:
                self._transcript.append(message.octets() if version is None else version.octets(message))
            state = self._take(message, now)
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

    def _take(self, message: Message, now: float) -> State:
        """Do the step that a table has for a message in this state, and return the next state."""
        steps = self._hello_steps() if self._version is None else self._version.steps
        step = steps.get(self.state, {}).get(message.kind)
        if step is None:
            raise unexpected(message.kind, self.state)
        return step(self if self._version is None else self._version, message, now)

    @classmethod
    @abc.abstractmethod
    def _hello_steps(cls) -> "Steps":
        """Return the table for as long as the version is open."""

    def _must_be_protected(self, kind: int) -> bool:
        return kind == HandshakeType.FINISHED if self._version is None else self._version.must_be_protected(kind)

    def _flight_acknowledged(self, now: float) -> None:
        if self._version is not None:
            self._version.flight_acknowledged(now)

    def _renew(self, now: float) -> None:
        if self._version is not None:
            self._version.renew(now)

    # What steps are made of

    def _message(self, kind: int, body: bytes, epoch: int = 0) -> Message:
        """Make our next handshake message, and add it to the transcript."""
        message = Message(kind=kind, sequence=self._next_message, body=body, epoch=epoch)
        self._next_message += 1
        if self.state is not State.CONNECTED:
            self._transcript.append(message.octets() if self._version is None else self._version.octets(message))
        return message

    def _believe(self, chain: Sequence[bytes]) -> None:
        """Believe the peer's certificate if the SDP announced it. That the peer holds its key, its signature must show."""
        if not chain:
            alert = Alert.HANDSHAKE_FAILURE if self._version is None else self._version.NO_CERTIFICATE
            raise RemoteProtocolError(Misbehaviour.NO_CERTIFICATE, alert=alert)
        der = chain[0]
        if not certificate.is_announced(der, self.fingerprints):
            raise RemoteProtocolError(Misbehaviour.BAD_FINGERPRINT, alert=Alert.BAD_CERTIFICATE)
        try:
            self._peer_key = certificate.public_key(der)
        except ValueError as error:
            detail = str(error)
            raise RemoteProtocolError(Misbehaviour.BAD_CERTIFICATE, detail, Alert.UNSUPPORTED_CERTIFICATE) from None
        self._peer_der = der

    # Beginning and end

    def _connect(self) -> None:
        """Make known what was negotiated, now that all of it is authentic, and forget what led to it."""
        version = self._version
        assert version is not None
        self.version, self.cipher_suite, self.group = version.NUMBER, version.cipher_suite, version.group
        self.srtp_profile = self._profile
        self.peer_certificate = self._peer_der
        self._transcript.clear()
        self._share = self._peer_key = None
        version.connected()
        self.events.append(Connected(self.version, self.cipher_suite, self.group, self.srtp_profile))

    def _end(self, state: State) -> None:
        super()._end(state)
        self._transcript.clear()
        self._version = self._share = self._peer_key = None


class Version(abc.ABC):
    """What a version of DTLS decides: one side's part in it, from the hello that chose it on."""

    NUMBER: ClassVar[int]
    NO_CERTIFICATE: ClassVar[Alert]
    steps: ClassVar["Steps"]
    cipher_suite: int
    group: int

    @abc.abstractmethod
    def octets(self, message: Message) -> bytes:
        """Write a message as the transcript has it."""

    @abc.abstractmethod
    def epoch_of(self, message: Message) -> int:
        """Tell the epoch that a message must come in now."""

    @abc.abstractmethod
    def must_be_protected(self, kind: int) -> bool:
        """Tell whether a message that is due or ahead counts under keys only."""

    @abc.abstractmethod
    def export(self, label: bytes, length: int) -> bytes | None:
        """Export keying material, or None while there is none to be had."""

    @abc.abstractmethod
    def key_log_lines(self) -> list[str]:
        """Write the secrets there are as lines of an NSS key log."""

    @abc.abstractmethod
    def connected(self) -> None:
        """Forget what only the handshake needed."""

    @abc.abstractmethod
    def flight_acknowledged(self, now: float) -> None:
        """React to the acknowledgement of all of our flight."""

    @abc.abstractmethod
    def renew(self, now: float) -> None:
        """Take new keys, where the version has any."""


Step: TypeAlias = Callable[[Any, Message, float], State]
Steps: TypeAlias = Mapping[State, Mapping[int, Step]]


def unexpected(kind: int, state: State) -> RemoteProtocolError:
    """Make the error of a message that no table has."""
    return RemoteProtocolError(
        Misbehaviour.UNEXPECTED_MESSAGE, f"message {kind} in {state.name}", Alert.UNEXPECTED_MESSAGE
    )
