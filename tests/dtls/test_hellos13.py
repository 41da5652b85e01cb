"""What hellos of DTLS 1.3 and the messages behind them may say, field by field (RFC 8446, 4.1-4.3; RFC 9147, 5.3)."""

from collections.abc import Sequence
from typing import Any

import attrs
import pytest

from tests.dtls.pairs import (
    Pair,
    Pair13,
    client_hello_of,
    failure,
    handshake,
    in_turn,
    opened_by,
    plain_records,
    said_by,
    server_hello_of,
    server_speaks,
    short,
    under_way,
    with_extension,
    without_extensions,
)
from tests.dtls.test_keys import SMALL_ORDER
from trioice.dtls import State, extensions
from trioice.dtls.drops import Drop
from trioice.dtls.extensions import (
    COOKIE,
    EC_POINT_FORMATS,
    EXTENDED_MASTER_SECRET,
    KEY_SHARE,
    RENEGOTIATION_INFO,
    SIGNATURE_ALGORITHMS,
    SUPPORTED_GROUPS,
    SUPPORTED_VERSIONS,
    USE_SRTP,
    Extensions,
)
from trioice.dtls.groups import CIPHERTEXT_LENGTH, ENCAPSULATION_KEY_LENGTH, SECP256R1, X25519, X25519MLKEM768
from trioice.dtls.messages import ClientHello, HandshakeType, ServerHello
from trioice.dtls.messages13 import HELLO_RETRY_REQUEST
from trioice.errors import Misbehaviour
from trioice.wire import numbers, opaque, uint

EARLY_DATA, PRE_SHARED_KEY, CONNECTION_ID, GREASE = 42, 41, 54, 0xFAFA

# A ClientHello


def answered(change: Any, **server: Any) -> tuple[Pair, list[bytes]]:
    """Answer a hello that was changed on its way."""
    pair = Pair13(server=server)
    hello: ClientHello = change(client_hello_of(pair.start()))
    return pair, pair.to_server([handshake(HandshakeType.CLIENT_HELLO, 0, hello.octets())])


def sharing(*shares: tuple[int, bytes], groups: Sequence[int] = (X25519MLKEM768, X25519, SECP256R1)) -> Any:
    """Change the shares of a hello, and the groups that it offers."""

    def change(hello: ClientHello) -> ClientHello:
        listed = with_extension(hello, SUPPORTED_GROUPS, numbers(tuple(groups)))
        return with_extension(listed, KEY_SHARE, extensions.key_shares(shares))

    return change


GOOD_POINT = b"\x09" + bytes(31)
REFUSED = [
    ("compression", lambda h: attrs.evolve(h, compression_methods=b"\x01\x00"), Misbehaviour.ILLEGAL_PARAMETER, 47),
    ("no null compression", lambda h: attrs.evolve(h, compression_methods=b"\x01"), Misbehaviour.ILLEGAL_PARAMETER, 47),
    ("cookie of 1.2", lambda h: attrs.evolve(h, cookie=b"x"), Misbehaviour.ILLEGAL_PARAMETER, 47),
    ("long session", lambda h: attrs.evolve(h, session_id=bytes(33)), Misbehaviour.MALFORMED_HANDSHAKE, 50),
    ("no groups", lambda h: without_extensions(h, SUPPORTED_GROUPS), Misbehaviour.MISSING_EXTENSION, 109),
    ("no shares", lambda h: without_extensions(h, KEY_SHARE), Misbehaviour.MISSING_EXTENSION, 109),
    ("no signatures", lambda h: without_extensions(h, SIGNATURE_ALGORITHMS), Misbehaviour.MISSING_EXTENSION, 109),
    (
        "not our signature",
        lambda h: with_extension(h, SIGNATURE_ALGORITHMS, b"\0\2\x08\x04"),
        Misbehaviour.NO_COMMON_SIGNATURE,
        40,
    ),
    ("no common group", sharing(groups=(25, 0x0A0A)), Misbehaviour.NO_COMMON_GROUP, 40),
    ("no common suite", lambda h: attrs.evolve(h, cipher_suites=(0x1304,)), Misbehaviour.NO_COMMON_CIPHER_SUITE, 40),
    ("suites of 1.2", lambda h: attrs.evolve(h, cipher_suites=(0xC02B,)), Misbehaviour.NO_COMMON_CIPHER_SUITE, 40),
    ("no profile", lambda h: without_extensions(h, USE_SRTP), Misbehaviour.NO_COMMON_SRTP_PROFILE, 40),
    ("bad profiles", lambda h: with_extension(h, USE_SRTP, b"\0\3\0\7\0"), Misbehaviour.MALFORMED_HANDSHAKE, 50),
    ("share not offered", sharing((25, b"x")), Misbehaviour.ILLEGAL_PARAMETER, 47),
    (
        "two shares of a group",
        sharing((X25519, GOOD_POINT), (X25519, GOOD_POINT)),
        Misbehaviour.MALFORMED_HANDSHAKE,
        50,
    ),
    ("share of nothing", sharing((X25519, b"")), Misbehaviour.MALFORMED_HANDSHAKE, 50),
    (
        "shares cut short",
        lambda h: with_extension(h, KEY_SHARE, b"\0\5\0\x1d\0\2x"),
        Misbehaviour.MALFORMED_HANDSHAKE,
        50,
    ),
    ("X25519 of 31 octets", sharing((X25519, bytes(31))), Misbehaviour.BAD_KEY_SHARE, 47),
    ("X25519 of 33 octets", sharing((X25519, GOOD_POINT + b"\0")), Misbehaviour.BAD_KEY_SHARE, 47),
    ("P-256 compressed", sharing((SECP256R1, b"\x02" + bytes(32))), Misbehaviour.BAD_KEY_SHARE, 47),
    ("P-256 off the curve", sharing((SECP256R1, b"\x04" + bytes(63) + b"\x01")), Misbehaviour.BAD_KEY_SHARE, 47),
    ("P-256 at infinity", sharing((SECP256R1, b"\0")), Misbehaviour.BAD_KEY_SHARE, 47),
    ("ML-KEM too short", sharing((X25519MLKEM768, bytes(1215))), Misbehaviour.BAD_KEY_SHARE, 47),
    ("ML-KEM too long", sharing((X25519MLKEM768, bytes(1217))), Misbehaviour.BAD_KEY_SHARE, 47),
    ("ML-KEM out of range", sharing((X25519MLKEM768, b"\xff" * 1184 + GOOD_POINT)), Misbehaviour.BAD_KEY_SHARE, 47),
    ("X25519 alone in hybrid", sharing((X25519MLKEM768, GOOD_POINT)), Misbehaviour.BAD_KEY_SHARE, 47),
]


@pytest.mark.parametrize(
    ("change", "reason", "alert"), [case[1:] for case in REFUSED], ids=[case[0] for case in REFUSED]
)
def test_a_client_hello_that_may_not_be_is_refused(change: Any, reason: Misbehaviour, alert: int) -> None:
    pair, answer = answered(change)
    assert failure(pair.server_events) is reason
    assert [plain_records(datagram)[0].payload for datagram in answer] == [bytes((2, alert))]


def greased(hello: ClientHello) -> ClientHello:
    """Sprinkle a hello with numbers that nobody knows (RFC 8701)."""
    shares = extensions.read_key_shares(hello.extension(KEY_SHARE) or b"")
    groups = extensions.read_numbers(hello.extension(SUPPORTED_GROUPS) or b"")
    hello = with_extension(hello, SUPPORTED_GROUPS, numbers((0x2A2A, *groups)))
    hello = with_extension(hello, KEY_SHARE, extensions.key_shares(((0x2A2A, b"\0"), *shares)))
    hello = with_extension(hello, SUPPORTED_VERSIONS, b"\6\x3a\x3a\xfe\xfc\xfe\xfd")
    hello = attrs.evolve(hello, cipher_suites=(0x4A4A, *hello.cipher_suites))
    more: Extensions = ((GREASE, b""), *((40_000 + number, b"x") for number in range(1000)))
    return attrs.evolve(hello, extensions=(*more, *hello.extensions))


ANSWERED = [
    ("same", lambda h: h),
    ("session", lambda h: attrs.evolve(h, session_id=bytes(32))),
    ("grease", greased),
    ("early data", lambda h: with_extension(h, EARLY_DATA, b"")),
    ("connection id", lambda h: with_extension(h, CONNECTION_ID, b"\x04abcd")),
    ("ticket", lambda h: with_extension(with_extension(h, 45, b"\1\1"), PRE_SHARED_KEY, bytes(50))),
    ("unknown cookie", lambda h: with_extension(h, COOKIE, opaque(2, b"what?"))),
    (
        "shares in another order",
        lambda h: with_extension(h, SUPPORTED_GROUPS, numbers((X25519, SECP256R1, X25519MLKEM768))),
    ),
    (
        "without what is of 1.2",
        lambda h: without_extensions(h, EXTENDED_MASTER_SECRET, RENEGOTIATION_INFO, EC_POINT_FORMATS),
    ),
    ("a request to be sent certificates by status", lambda h: with_extension(h, 5, b"\1\0\0\0\0")),
]


@pytest.mark.parametrize("change", [case[1] for case in ANSWERED], ids=[case[0] for case in ANSWERED])
def test_a_client_hello_with_what_we_do_not_speak_is_answered_with_what_we_do(change: Any) -> None:
    pair, flight = answered(change)
    assert pair.server.state is State.WAIT_CERTIFICATE
    hello = server_hello_of(flight)
    assert (hello.session_id, {kind for kind, _ in hello.extensions}) == (b"", {KEY_SHARE, SUPPORTED_VERSIONS})
    [said] = [message for message in under_way(pair.server) if message.kind == HandshakeType.ENCRYPTED_EXTENSIONS]
    assert said.body == bytes.fromhex("0009000e0005000200") + b"\x07\0"  # use_srtp, and nothing else


def test_a_hello_without_any_share_is_asked_again() -> None:
    _, [request] = answered(sharing())
    hello = server_hello_of([request])
    assert hello.random == HELLO_RETRY_REQUEST
    assert hello.extension(KEY_SHARE) == uint(2, X25519MLKEM768)


@pytest.mark.parametrize("point", SMALL_ORDER, ids=lambda point: point[:4].hex())
def test_a_point_of_small_order_is_refused_alone_and_beside_ml_kem(point: bytes) -> None:
    key = Pair13().client._shares[X25519MLKEM768].public[:ENCAPSULATION_KEY_LENGTH]
    for share in ((X25519, point), (X25519MLKEM768, key + point)):
        pair, _ = answered(sharing(share))
        assert failure(pair.server_events) is Misbehaviour.BAD_KEY_SHARE
    for group, public in ((X25519, point), (X25519MLKEM768, bytes(CIPHERTEXT_LENGTH) + point)):
        client, _ = greeted({"extensions": (VERSION, (KEY_SHARE, extensions.key_share(group, public)))})
        assert failure(client.client_events) is Misbehaviour.BAD_KEY_SHARE


def test_a_profile_is_demanded_before_anything_of_us_is_said() -> None:
    pair, answer = answered(lambda hello: with_extension(hello, USE_SRTP, b"\0\2\0\2\0"))
    assert failure(pair.server_events) is Misbehaviour.NO_COMMON_SRTP_PROFILE
    assert sum(map(len, answer)) < 20
    assert len(pair.server_events) == 1


# A ServerHello

VERSION = (SUPPORTED_VERSIONS, b"\xfe\xfc")
SHARE = (KEY_SHARE, extensions.key_share(X25519, GOOD_POINT))
GOOD = ServerHello(version=0xFEFD, random=bytes(32), cipher_suite=0x1301, extensions=(VERSION, SHARE))


def greeted(changes: dict[str, Any]) -> tuple[Pair, list[bytes]]:
    """Greet a client that has shown X25519 and X25519MLKEM768."""
    pair = Pair13()
    pair.start()
    body = attrs.evolve(GOOD, **changes).octets()
    return pair, pair.to_client([handshake(HandshakeType.SERVER_HELLO, 0, body)])


@pytest.mark.parametrize(
    ("changes", "reason", "alert"),
    [
        ({"session_id": b"x"}, Misbehaviour.ILLEGAL_PARAMETER, 47),
        ({"session_id": bytes(33)}, Misbehaviour.MALFORMED_HANDSHAKE, 50),
        ({"compression_method": 1}, Misbehaviour.ILLEGAL_PARAMETER, 47),
        ({"cipher_suite": 0x1304}, Misbehaviour.ILLEGAL_PARAMETER, 47),
        ({"cipher_suite": 0xC02B}, Misbehaviour.ILLEGAL_PARAMETER, 47),
        ({"extensions": (VERSION,)}, Misbehaviour.MISSING_EXTENSION, 109),
        ({"extensions": (VERSION, SHARE, VERSION)}, Misbehaviour.MALFORMED_HANDSHAKE, 50),
        (
            {"extensions": (VERSION, (KEY_SHARE, extensions.key_share(SECP256R1, b"x")))},
            Misbehaviour.ILLEGAL_PARAMETER,
            47,
        ),
        ({"extensions": (VERSION, (KEY_SHARE, extensions.key_share(25, b"x")))}, Misbehaviour.ILLEGAL_PARAMETER, 47),
        (
            {"extensions": (VERSION, (KEY_SHARE, extensions.key_share(X25519, b"")))},
            Misbehaviour.MALFORMED_HANDSHAKE,
            50,
        ),
        (
            {"extensions": (VERSION, (KEY_SHARE, extensions.key_share(X25519, bytes(31))))},
            Misbehaviour.BAD_KEY_SHARE,
            47,
        ),
        (
            {"extensions": (VERSION, (KEY_SHARE, extensions.key_share(X25519MLKEM768, bytes(1119))))},
            Misbehaviour.BAD_KEY_SHARE,
            47,
        ),
        ({"extensions": (VERSION, (KEY_SHARE, SHARE[1] + b"\0"))}, Misbehaviour.MALFORMED_HANDSHAKE, 50),
        ({"extensions": (VERSION, SHARE, (PRE_SHARED_KEY, b"\0\0"))}, Misbehaviour.UNSOLICITED_EXTENSION, 110),
        ({"extensions": (VERSION, SHARE, (COOKIE, b"\0\1x"))}, Misbehaviour.UNSOLICITED_EXTENSION, 110),
        ({"extensions": (VERSION, SHARE, (GREASE, b""))}, Misbehaviour.UNSOLICITED_EXTENSION, 110),
        *(
            ({"extensions": (VERSION, SHARE, (kind, b""))}, Misbehaviour.ILLEGAL_PARAMETER, 47)
            for kind in (
                USE_SRTP,
                SUPPORTED_GROUPS,
                SIGNATURE_ALGORITHMS,
                EXTENDED_MASTER_SECRET,
                RENEGOTIATION_INFO,
                EC_POINT_FORMATS,
            )
        ),
    ],
    ids=short,
)
def test_a_server_hello_that_may_not_be_is_refused(changes: dict[str, Any], reason: Misbehaviour, alert: int) -> None:
    pair, [answer] = greeted(changes)
    assert failure(pair.client_events) is reason
    assert plain_records(answer)[0].payload == bytes((2, alert))


def test_the_server_hello_that_these_are_made_from_is_good() -> None:
    pair, answer = greeted({})
    assert (pair.client.state, answer) == (State.WAIT_ENCRYPTED_EXTENSIONS, [])


def test_a_ciphertext_of_ml_kem_that_was_changed_raises_nothing_and_opens_nothing() -> None:
    pair = Pair13()
    pair.to_server(pair.start())
    hello, *others = under_way(pair.server)
    for position in (0, 500, CIPHERTEXT_LENGTH - 1):
        other = Pair13()
        other.start()
        start = hello.body.index(extensions.key_share(X25519MLKEM768, bytes(1120))[:4]) + 4
        body = bytearray(hello.body)
        body[start + position] ^= 1
        other.to_client([handshake(HandshakeType.SERVER_HELLO, 0, bytes(body)), said_by(pair.server, *others)])
        assert other.client.state is State.WAIT_ENCRYPTED_EXTENSIONS
        assert other.client.dropped == {Drop.BAD_RECORD: len(others)}


# What follows under keys


def told(kind: HandshakeType, change: Any) -> tuple[Pair, bytes]:
    """Let the server say something else in one of its messages, and take the payload of the client's alert."""
    pair = Pair13(groups=(X25519,))
    pair.to_server(pair.start())
    flight = under_way(pair.server)
    number = [message.kind for message in flight].index(kind)
    pair.to_client([said_by(pair.server, *flight[:number])])
    answer = pair.to_client([said_by(pair.server, in_turn(kind, pair.client, change(flight[number].body), epoch=2))])
    alerts = [item.payload for item in opened_by(pair.server, answer) if item.kind == 21]
    return pair, alerts[0] if alerts else b""


SRTP = (USE_SRTP, b"\0\2\0\7\0")
SCHEMES = (SIGNATURE_ALGORITHMS, b"\0\2\4\3")


@pytest.mark.parametrize(
    ("answers", "reason", "alert"),
    [
        ((), Misbehaviour.NO_COMMON_SRTP_PROFILE, 40),
        ((SRTP,), None, 0),
        ((SRTP, (SUPPORTED_GROUPS, b"\0\2\x11\xec")), None, 0),
        (((USE_SRTP, b"\0\2\0\2\0"),), Misbehaviour.ILLEGAL_PARAMETER, 47),
        (((USE_SRTP, b"\0\4\0\7\0\1\0"),), Misbehaviour.ILLEGAL_PARAMETER, 47),
        (((USE_SRTP, b"\0\2\0\7\1k"),), Misbehaviour.ILLEGAL_PARAMETER, 47),
        (((USE_SRTP, b"\0\2\0\7"),), Misbehaviour.MALFORMED_HANDSHAKE, 50),
        ((SRTP, SRTP), Misbehaviour.MALFORMED_HANDSHAKE, 50),
        ((SRTP, (16, b"")), Misbehaviour.UNSOLICITED_EXTENSION, 110),
        ((SRTP, (EARLY_DATA, b"")), Misbehaviour.UNSOLICITED_EXTENSION, 110),
        ((SRTP, (COOKIE, b"")), Misbehaviour.UNSOLICITED_EXTENSION, 110),
        ((SRTP, (GREASE, b"")), Misbehaviour.UNSOLICITED_EXTENSION, 110),
        *(
            ((SRTP, (kind, b"")), Misbehaviour.ILLEGAL_PARAMETER, 47)
            for kind in (
                KEY_SHARE,
                SUPPORTED_VERSIONS,
                SIGNATURE_ALGORITHMS,
                EXTENDED_MASTER_SECRET,
                RENEGOTIATION_INFO,
                EC_POINT_FORMATS,
            )
        ),
    ],
    ids=short,
)
def test_encrypted_extensions_answer_what_was_asked_and_belongs_there(
    answers: Extensions, reason: Misbehaviour | None, alert: int
) -> None:
    pair, said = told(HandshakeType.ENCRYPTED_EXTENSIONS, lambda _: extensions.block(answers))
    assert failure(pair.client_events) is reason
    assert said == (b"" if reason is None else bytes((2, alert)))


@pytest.mark.parametrize(
    ("body", "reason", "alert"),
    [
        (b"\0" + extensions.block((SCHEMES,)), None, 0),
        (b"\0" + extensions.block((SCHEMES, (47, b"\0\3\0\1x"), (48, b"\0\0"), (GREASE, b""), (5, b""))), None, 0),
        (b"\1x" + extensions.block((SCHEMES,)), Misbehaviour.ILLEGAL_PARAMETER, 47),
        (b"\0" + extensions.block(()), Misbehaviour.MISSING_EXTENSION, 109),
        (b"\0" + extensions.block(((SIGNATURE_ALGORITHMS, b"\0\2\x08\x04"),)), Misbehaviour.NO_COMMON_SIGNATURE, 40),
        (b"\0" + extensions.block(((SIGNATURE_ALGORITHMS, b"\0\0"),)), Misbehaviour.MALFORMED_HANDSHAKE, 50),
        (b"\0" + extensions.block((SCHEMES, SCHEMES)), Misbehaviour.MALFORMED_HANDSHAKE, 50),
        (b"\0" + extensions.block((SCHEMES, SHARE)), Misbehaviour.ILLEGAL_PARAMETER, 47),
        (b"\0" + extensions.block((SCHEMES, SRTP)), Misbehaviour.ILLEGAL_PARAMETER, 47),
        (b"\0", Misbehaviour.MALFORMED_HANDSHAKE, 50),
    ],
    ids=short,
)
def test_a_certificate_request_is_for_a_signature_that_we_make(
    body: bytes, reason: Misbehaviour | None, alert: int
) -> None:
    pair, said = told(HandshakeType.CERTIFICATE_REQUEST, lambda _: body)
    assert failure(pair.client_events) is reason
    assert said == (b"" if reason is None else bytes((2, alert)))


@pytest.mark.parametrize(
    "kind", [HandshakeType(kind) for kind in (8, 13, 11, 15, 20)], ids=lambda kind: kind.name.lower()
)
def test_a_message_cut_short_or_too_long_ends_the_handshake(kind: HandshakeType) -> None:
    pair, _ = told(kind, lambda body: body)
    assert failure(pair.client_events) is None
    [length_of] = [len(message.body) for message in server_speaks()[1] if message.kind == kind]
    reasons = {Misbehaviour.BAD_FINISHED} if kind == HandshakeType.FINISHED else {Misbehaviour.MALFORMED_HANDSHAKE}
    for length in range(0, length_of, 3):
        pair, _ = told(kind, lambda body, length=length: body[:length])
        assert failure(pair.client_events) in reasons, length
    pair, _ = told(kind, lambda body: body + b"\0")
    assert failure(pair.client_events) in reasons


def test_a_hello_cut_short_anywhere_ends_the_handshake() -> None:
    hello = client_hello_of(Pair13(groups=(X25519,)).start()).octets()
    for length in range(len(hello)):
        pair = Pair13(groups=(X25519,))
        pair.to_server([handshake(HandshakeType.CLIENT_HELLO, 0, hello[:length])])
        # A hello of 1.2 may end before its extensions; it lacks what we need.
        assert failure(pair.server_events) in (Misbehaviour.MALFORMED_HANDSHAKE, Misbehaviour.NO_EXTENDED_MASTER_SECRET)
    answer = GOOD.octets()
    for length in range(len(answer)):
        pair = Pair13(groups=(X25519,))
        pair.start()
        pair.to_client([handshake(HandshakeType.SERVER_HELLO, 0, answer[:length])])
        assert failure(pair.client_events) in (Misbehaviour.MALFORMED_HANDSHAKE, Misbehaviour.ILLEGAL_PARAMETER)
