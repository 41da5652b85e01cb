"""A man in the middle who edits hellos: nobody connects at less than both can do, or with two views (RFC 8446, 4.1.3 and 4.2.1)."""

from collections.abc import Callable
from typing import Any

import attrs
import pytest

from tests.dtls.pairs import (
    Pair,
    Pair13,
    client_hello_of,
    failure,
    handshake,
    plain_records,
    server_hello_of,
    short,
    with_extension,
    without_extensions,
)
from trioice.dtls import VERSION_1_2, VERSION_1_3, State, extensions
from trioice.dtls.drops import Drop
from trioice.dtls.extensions import KEY_SHARE, SUPPORTED_GROUPS, SUPPORTED_VERSIONS
from trioice.dtls.groups import X25519
from trioice.dtls.messages import ClientHello, HandshakeType, HelloVerifyRequest, ServerHello
from trioice.dtls.messages13 import DOWNGRADED, DOWNGRADED_FURTHER
from trioice.dtls.record import HEADER
from trioice.errors import Misbehaviour
from trioice.sansio import Failed

Edit = Callable[[ClientHello], ClientHello]

OFFERS_BOTH: tuple[Edit, ...] = (
    lambda hello: without_extensions(hello, SUPPORTED_VERSIONS),
    lambda hello: with_extension(hello, SUPPORTED_VERSIONS, b"\2\xfe\xfd"),
    lambda hello: without_extensions(hello, SUPPORTED_VERSIONS, KEY_SHARE),
)


def edited(pair: Pair, edit: Edit) -> list[bytes]:
    """Let the client begin, give the server what a man in the middle makes of its hello, and take the answer."""
    hello = edit(client_hello_of(pair.start()))
    return pair.to_server([handshake(HandshakeType.CLIENT_HELLO, 0, hello.octets())])


def with_random(datagram: bytes, end: bytes) -> bytes:
    """Change the end of a ServerHello's random; it is the first record."""
    start = HEADER.size + 12 + 2 + 32 - len(end)
    return datagram[:start] + end + datagram[start + len(end) :]


# The sentinel


@pytest.mark.parametrize("number", range(len(OFFERS_BOTH)))
def test_a_client_of_both_sees_that_1_3_was_taken_out_of_its_offer(number: int) -> None:
    pair = Pair13()
    flight = edited(pair, OFFERS_BOTH[number])
    assert server_hello_of(flight[:1]).random.endswith(DOWNGRADED)
    [alert] = pair.to_client(flight)
    assert failure(pair.client_events) is Misbehaviour.DOWNGRADED
    assert plain_records(alert)[0].payload == b"\x02\x2f"


def test_the_sentinel_of_a_server_that_could_do_1_1_is_one_too() -> None:
    pair = Pair13()
    [flight] = edited(pair, OFFERS_BOTH[0])
    pair.to_client([with_random(flight, DOWNGRADED_FURTHER)])
    assert failure(pair.client_events) is Misbehaviour.DOWNGRADED


def test_a_sentinel_that_is_taken_away_is_missed_by_the_signature() -> None:
    pair = Pair13()
    [flight] = edited(pair, OFFERS_BOTH[0])
    pair.to_client([with_random(flight, bytes(8))])
    assert failure(pair.client_events) is Misbehaviour.BAD_KEY_EXCHANGE_SIGNATURE


def test_who_offers_1_2_alone_does_not_mind_the_sentinel() -> None:
    pair = Pair13(client={"versions": (VERSION_1_2,)})
    flight = pair.to_server(pair.start())
    assert server_hello_of(flight).random.endswith(DOWNGRADED)
    pair.to_client(pair.to_server(pair.to_client(flight)))
    assert pair.are_agreed


def test_a_server_of_1_2_alone_says_no_sentinel_and_is_connected_to() -> None:
    pair = Pair13(server={"versions": (VERSION_1_2,)})
    flight = pair.to_server(pair.start())
    assert not server_hello_of(flight).random.endswith((DOWNGRADED, DOWNGRADED_FURTHER))
    pair.to_client(pair.to_server(pair.to_client(flight)))
    assert pair.are_agreed


def test_a_server_of_1_3_says_no_sentinel_in_1_3() -> None:
    pair = Pair13()
    assert not server_hello_of(pair.to_server(pair.start())).random.endswith(DOWNGRADED)


# Versions in hellos

GOOD = ServerHello(version=0xFEFD, random=bytes(32), cipher_suite=0x1301, extensions=())


@pytest.mark.parametrize(
    ("client", "changes", "reason"),
    [
        (
            {},
            {"extensions": ((SUPPORTED_VERSIONS, b"\xfe\xfd"),), "cipher_suite": 0xC02B},
            Misbehaviour.ILLEGAL_PARAMETER,
        ),
        ({}, {"extensions": ((SUPPORTED_VERSIONS, b"\xfe\xff"),)}, Misbehaviour.ILLEGAL_PARAMETER),
        ({}, {"extensions": ((SUPPORTED_VERSIONS, b"\x03\x04"),)}, Misbehaviour.ILLEGAL_PARAMETER),
        ({}, {"extensions": ((SUPPORTED_VERSIONS, b"\2\xfe\xfc"),)}, Misbehaviour.MALFORMED_HANDSHAKE),
        ({}, {"extensions": ((SUPPORTED_VERSIONS, b"\xfe\xfc"),), "version": 0xFEFC}, Misbehaviour.ILLEGAL_PARAMETER),
        ({}, {"version": 0xFEFC}, Misbehaviour.NO_COMMON_VERSION),
        ({}, {"version": 0x0304}, Misbehaviour.NO_COMMON_VERSION),
        ({}, {"version": 0xFEFF}, Misbehaviour.NO_COMMON_VERSION),
        ({"versions": (VERSION_1_3,)}, {"cipher_suite": 0xC02B}, Misbehaviour.NO_COMMON_VERSION),
        (
            {"versions": (VERSION_1_2,)},
            {"extensions": ((SUPPORTED_VERSIONS, b"\xfe\xfc"),), "cipher_suite": 0xC02B},
            Misbehaviour.UNSOLICITED_EXTENSION,
        ),
        ({}, {"cipher_suite": 0x1301}, Misbehaviour.ILLEGAL_PARAMETER),  # a suite of 1.3 at 1.2
        (
            {},
            {"extensions": ((SUPPORTED_VERSIONS, b"\xfe\xfc"),), "cipher_suite": 0xC02B},
            Misbehaviour.ILLEGAL_PARAMETER,
        ),
    ],
    ids=short,
)
def test_a_server_hello_of_another_version_than_it_may_be_is_refused(
    client: dict[str, Any], changes: dict[str, Any], reason: Misbehaviour
) -> None:
    pair = Pair13(client=client)
    pair.start()
    pair.to_client([handshake(HandshakeType.SERVER_HELLO, 0, attrs.evolve(GOOD, **changes).octets())])
    assert failure(pair.client_events) is reason


@pytest.mark.parametrize(
    ("versions", "chosen"),
    [
        ("fefc", VERSION_1_3),
        ("fefcfefd0303", VERSION_1_3),  # as Firefox has it
        ("fefdfefc", VERSION_1_3),
        ("fefd", VERSION_1_2),
        ("0a0afefdfeff", VERSION_1_2),
        ("0304", 0),
        ("fefe", 0),
        ("feff0a0a", 0),
    ],
)
@pytest.mark.parametrize("legacy", [0xFEFD, 0xFEFC, 0xFEFF, 0x0303])
def test_a_server_goes_by_the_list_of_versions_alone(versions: str, chosen: int, legacy: int) -> None:
    pair = Pair13()
    octets = bytes.fromhex(versions)

    def edit(hello: ClientHello) -> ClientHello:
        listed = with_extension(hello, SUPPORTED_VERSIONS, bytes((len(octets),)) + octets)
        return attrs.evolve(listed, version=legacy)

    flight = edited(pair, edit)
    if not chosen:
        assert failure(pair.server_events) is Misbehaviour.NO_COMMON_VERSION
        assert plain_records(flight[0])[0].payload == b"\x02\x46"
        return
    answer = server_hello_of(flight if chosen == VERSION_1_3 else flight[:1])
    assert (answer.extension(SUPPORTED_VERSIONS) is not None) is (chosen == VERSION_1_3)


@pytest.mark.parametrize(
    ("legacy", "is_answered"), [(0xFEFD, True), (0xFEFC, True), (0xFEFF, False), (0x0303, False), (0x0304, False)]
)
def test_without_the_list_there_is_no_1_3_whatever_the_hello_says_of_its_version(
    legacy: int, is_answered: bool
) -> None:
    pair = Pair13()
    flight = edited(pair, lambda hello: attrs.evolve(without_extensions(hello, SUPPORTED_VERSIONS), version=legacy))
    assert (failure(pair.server_events) is Misbehaviour.NO_COMMON_VERSION) is not is_answered
    if is_answered:
        assert server_hello_of(flight[:1]).extension(SUPPORTED_VERSIONS) is None
        assert pair.server.group == 0


def test_a_malformed_list_of_versions_is_malformed() -> None:
    for value in (b"", b"\0", b"\1\xfe", b"\2\xfe", b"\2\xfe\xfc\0", b"\0\2\xfe\xfc"):
        pair = Pair13()
        hello = with_extension(client_hello_of(pair.start()), SUPPORTED_VERSIONS, value)
        pair.to_server([handshake(HandshakeType.CLIENT_HELLO, 0, hello.octets())])
        assert failure(pair.server_events) is Misbehaviour.MALFORMED_HANDSHAKE


# HelloVerifyRequest is of 1.2


def verify_request(sequence: int = 0) -> bytes:
    body = HelloVerifyRequest(0xFEFF, b"cookie").octets()
    return handshake(HandshakeType.HELLO_VERIFY_REQUEST, sequence, body)


def test_a_client_of_both_follows_a_hello_verify_request_and_then_no_server_of_1_3() -> None:
    pair = Pair13()
    pair.start()
    again = pair.to_client([verify_request()])
    assert client_hello_of(again).cookie == b"cookie"
    share = (KEY_SHARE, extensions.key_share(X25519, b"\x09" + bytes(31)))
    hello = attrs.evolve(GOOD, extensions=((SUPPORTED_VERSIONS, b"\xfe\xfc"), share))
    pair.to_client([handshake(HandshakeType.SERVER_HELLO, 1, hello.octets())])
    assert failure(pair.client_events) is Misbehaviour.ILLEGAL_PARAMETER


def test_a_client_of_1_3_alone_does_not_follow_one() -> None:
    pair = Pair13(versions=(VERSION_1_3,))
    pair.start()
    [answer] = pair.to_client([verify_request()])
    assert failure(pair.client_events) is Misbehaviour.UNEXPECTED_MESSAGE
    assert plain_records(answer)[0].payload == b"\x02\x0a"


def test_a_hello_with_the_cookie_of_1_2_is_none_of_1_3() -> None:
    pair = Pair13()
    edited(pair, lambda hello: attrs.evolve(hello, cookie=b"cookie"))
    assert failure(pair.server_events) is Misbehaviour.ILLEGAL_PARAMETER


# Anything else in the hellos


EDITS: dict[str, Edit] = {
    "no post-quantum share": lambda h: with_extension(
        h, KEY_SHARE, extensions.key_shares(extensions.read_key_shares(h.extension(KEY_SHARE) or b"")[1:])
    ),
    "no post-quantum group": lambda h: with_extension(
        with_extension(h, SUPPORTED_GROUPS, b"\0\2\0\x1d"),
        KEY_SHARE,
        extensions.key_shares(extensions.read_key_shares(h.extension(KEY_SHARE) or b"")[1:]),
    ),
    "suites": lambda h: attrs.evolve(h, cipher_suites=(0x1303,)),
    "profiles": lambda h: with_extension(h, extensions.USE_SRTP, b"\0\2\0\x01\0"),
    "signatures": lambda h: with_extension(h, extensions.SIGNATURE_ALGORITHMS, b"\0\2\4\3"),
    "one more extension": lambda h: with_extension(h, 0xFAFA, b""),
    "one extension less": lambda h: without_extensions(h, extensions.EXTENDED_MASTER_SECRET),
    "random": lambda h: attrs.evolve(h, random=bytes(32)),
    "session": lambda h: attrs.evolve(h, session_id=bytes(32)),
}


@pytest.mark.parametrize("name", EDITS)
def test_a_client_hello_that_was_changed_connects_nobody(name: str) -> None:
    pair = Pair13()
    flight = edited(pair, EDITS[name])
    assert pair.server.state is State.WAIT_CERTIFICATE
    pair.client_outbox += [(datagram, "server") for datagram in pair.to_client(flight)]
    # The keys are made of the hellos as each side saw them: what the server says cannot be read.
    assert pair.client.dropped[Drop.BAD_RECORD] >= 1
    pair.link().run_until(100.0)
    for events in (pair.client_events, pair.server_events):
        assert failure(events) is Misbehaviour.HANDSHAKE_TIMEOUT
        assert isinstance(events[-1], Failed)


def test_a_server_hello_that_was_changed_connects_nobody() -> None:
    for position in range(HEADER.size + 12 + 2, HEADER.size + 12 + 86, 3):
        pair = Pair13(groups=(X25519,))
        [flight] = pair.to_server(pair.start())
        changed = bytearray(flight)
        changed[position] ^= 1
        pair.to_client([bytes(changed)])
        assert pair.client.state is State.FAILED or pair.client.dropped[Drop.BAD_RECORD], position
        assert pair.client.state is not State.CONNECTED


def test_the_edited_hello_is_the_one_that_was_sent_where_nothing_was_changed() -> None:
    pair = Pair13()
    flight = edited(pair, lambda hello: hello)
    pair.to_server(pair.to_client(flight))
    assert pair.are_agreed
