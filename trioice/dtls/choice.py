"""What a server of either version chooses from a ClientHello, in our order, and what a client accepts as chosen; both fail closed."""

from collections.abc import Sequence

from trioice.dtls import extensions
from trioice.dtls.alerts import Alert
from trioice.dtls.certificate import OUR_SCHEME
from trioice.dtls.extensions import Extensions, UseSrtp
from trioice.dtls.messages import ClientHello
from trioice.errors import Misbehaviour, RemoteProtocolError


def offered(hello: ClientHello, kind: int) -> list[int]:
    """Read a list of numbers that the client offers; none where the extension is missing."""
    value = hello.extension(kind)
    return extensions.read_numbers(value) if value is not None else []


def demand_our_signature(hello: ClientHello) -> None:
    """Refuse a client that cannot verify what our certificate's key signs."""
    if OUR_SCHEME not in offered(hello, extensions.SIGNATURE_ALGORITHMS):
        raise RemoteProtocolError(Misbehaviour.NO_COMMON_SIGNATURE, alert=Alert.HANDSHAKE_FAILURE)


def choose_profile(profiles: Sequence[int], hello: ClientHello) -> int:
    """Choose among the client's SRTP protection profiles; 0 where we want none (RFC 5764, 4.1)."""
    if not profiles:
        return 0
    value = hello.extension(extensions.USE_SRTP)
    theirs = UseSrtp.read(value).profiles if value is not None else ()
    for profile in profiles:
        if profile in theirs:
            return profile
    raise RemoteProtocolError(Misbehaviour.NO_COMMON_SRTP_PROFILE, alert=Alert.HANDSHAKE_FAILURE)


def chosen_profile(profiles: Sequence[int], value: bytes | None) -> int:
    """Read which of our SRTP protection profiles the server chose; 0 where we want none (RFC 5764, 4.1.1 and 4.1.3)."""
    if not profiles:
        return 0
    if value is None:
        raise RemoteProtocolError(Misbehaviour.NO_COMMON_SRTP_PROFILE, alert=Alert.HANDSHAKE_FAILURE)
    chosen = UseSrtp.read(value)
    # One of ours, and our empty key identifier again.
    if len(chosen.profiles) != 1 or chosen.profiles[0] not in profiles or chosen.mki:
        detail = f"SRTP profiles {chosen.profiles}, mki of {len(chosen.mki)} octets"
        raise RemoteProtocolError(Misbehaviour.ILLEGAL_PARAMETER, detail, Alert.ILLEGAL_PARAMETER)
    return chosen.profiles[0]


def demand_solicited(offers: Extensions, answers: Extensions) -> None:
    """Refuse answers to extensions that were not offered (RFC 5246, 7.4.1.4; RFC 8446, 4.2)."""
    kinds = {kind for kind, _ in offers}
    for kind, _ in answers:
        if kind not in kinds:
            detail = f"extension {kind}"
            raise RemoteProtocolError(Misbehaviour.UNSOLICITED_EXTENSION, detail, Alert.UNSUPPORTED_EXTENSION)
