"""HelloRetryRequest: sent by our server, followed by our client, and against the rules both ways (RFC 8446, 4.1.4; RFC 9147, 5.1)."""

from typing import Any

import attrs
import pytest

from tests.dtls.pairs import (
    Pair,
    Pair13,
    client_hello_of,
    failure,
    handshake,
    plain_message,
    plain_records,
    plaintext,
    server_hello_of,
    short,
    with_extension,
    without_extensions,
)
from trioice.dtls import Connected, State, extensions
from trioice.dtls.client13 import MAXIMUM_COOKIE
from trioice.dtls.drops import Drop
from trioice.dtls.extensions import COOKIE, KEY_SHARE, SUPPORTED_GROUPS, SUPPORTED_VERSIONS
from trioice.dtls.flights import AMPLIFICATION
from trioice.dtls.fragments import Fragment, Message
from trioice.dtls.groups import SECP256R1, SECP384R1, X25519, X25519MLKEM768
from trioice.dtls.messages import ClientHello, HandshakeType, ServerHello
from trioice.dtls.messages13 import HELLO_RETRY_REQUEST
from trioice.dtls.record import HANDSHAKE
from trioice.errors import Misbehaviour
from trioice.sansio import NEVER
from trioice.wire import Reader, opaque, uint

VERSION = (SUPPORTED_VERSIONS, b"\xfe\xfc")


def group_of(number: int) -> tuple[int, bytes]:
    return KEY_SHARE, uint(2, number)


def cookie_of(octets: bytes) -> tuple[int, bytes]:
    return COOKIE, opaque(2, octets)


RETRY = ServerHello(
    version=0xFEFD, random=HELLO_RETRY_REQUEST, cipher_suite=0x1301, extensions=(VERSION, group_of(SECP256R1))
)


def asked(changes: dict[str, Any]) -> tuple[Pair13, list[bytes]]:
    """Ask a client again that has shown X25519 and X25519MLKEM768, and take what it says."""
    pair = Pair13()
    pair.start()
    return pair, pair.to_client([handshake(HandshakeType.SERVER_HELLO, 0, attrs.evolve(RETRY, **changes).octets())])


# As it should be


@pytest.mark.parametrize(
    ("server", "flights"),
    [({"groups": (SECP256R1,)}, 3), ({"cookie": True}, 3), ({"cookie": True, "groups": (SECP256R1,)}, 3)],
    ids=short,
)
@pytest.mark.parametrize("suite", [0x1301, 0x1302])
def test_a_client_that_is_asked_again_connects(server: dict[str, Any], flights: int, suite: int) -> None:
    pair = Pair13(server=server, cipher_suites=(suite,)).run()
    group = SECP256R1 if "groups" in server else X25519MLKEM768
    assert pair.are_agreed
    assert pair.client_events == [Connected(0xFEFC, suite, group, 7)]
    assert pair.client.flight == flights
    assert pair.client.dropped == pair.server.dropped == {}


def test_a_group_that_is_not_shown_costs_one_round_trip_and_two_datagrams() -> None:
    pair = Pair13(client={"groups": (X25519, SECP256R1)}, server={"groups": (SECP256R1,)})
    link = pair.link(delay=0.05)
    pair.client.start(0.0)
    assert pair.connects(link, 1.0)
    assert link.now == pytest.approx(0.25)
    link.run_until(2.0)
    assert link.sent == 6


def test_the_second_hello_has_the_asked_share_and_the_cookie_and_differs_in_nothing_else() -> None:
    pair = Pair13(server={"cookie": True, "groups": (SECP256R1,)})
    first = pair.start()
    [request] = pair.to_server(first)
    second = pair.to_client([request])
    retry = server_hello_of([request])
    assert retry.extension(KEY_SHARE) == uint(2, SECP256R1)
    before, after = client_hello_of(first), client_hello_of(second)
    assert [group for group, _ in extensions.read_key_shares(before.extension(KEY_SHARE) or b"")] == [
        X25519MLKEM768,
        X25519,
    ]
    [(group, share)] = extensions.read_key_shares(after.extension(KEY_SHARE) or b"")
    assert (group, len(share)) == (SECP256R1, 65)
    assert after.extension(COOKIE) == retry.extension(COOKIE)
    assert without_extensions(after, KEY_SHARE, COOKIE) == without_extensions(before, KEY_SHARE)
    fragment = Fragment.read(Reader(plain_records(second[0])[0].payload))
    assert fragment.sequence == 1


def test_a_cookie_alone_changes_no_share() -> None:
    pair = Pair13(server={"cookie": True})
    first = pair.start()
    request = pair.to_server(first)
    second = client_hello_of(pair.to_client(request))
    assert without_extensions(second, COOKIE) == client_hello_of(first)
    assert server_hello_of(request).extension(KEY_SHARE) is None


def test_a_request_has_no_timer_and_is_repeated_for_a_repeated_hello() -> None:
    pair = Pair13(groups=(X25519,), server={"cookie": True})
    hello = pair.start()
    [request] = pair.to_server(hello)
    assert pair.server.deadline == NEVER
    pair.now = 0.1
    [again] = pair.to_server(hello)
    assert plain_message([again]) == plain_message([request])
    assert pair.server.state is State.WAIT_CLIENT_HELLO
    final = pair.to_client(pair.to_server(pair.to_client([again])))
    pair.to_server(final)
    assert pair.are_agreed


def test_a_late_first_hello_after_the_second_changes_nothing() -> None:
    pair = Pair13(groups=(X25519,), server={"cookie": True})
    first = pair.start()
    second = pair.to_client(pair.to_server(first))
    flight = pair.to_server(second)
    pair.now = 0.1
    assert pair.to_server(first) == []
    pair.to_server(pair.to_client(flight))
    assert pair.are_agreed


# A client against what a server or a forger asks


@pytest.mark.parametrize(
    ("changes", "reason", "alert"),
    [
        ({"extensions": (VERSION,)}, Misbehaviour.ILLEGAL_PARAMETER, 47),
        ({"extensions": (VERSION, group_of(X25519))}, Misbehaviour.ILLEGAL_PARAMETER, 47),
        ({"extensions": (VERSION, group_of(X25519MLKEM768))}, Misbehaviour.ILLEGAL_PARAMETER, 47),
        ({"extensions": (VERSION, group_of(25))}, Misbehaviour.ILLEGAL_PARAMETER, 47),
        ({"extensions": (VERSION, group_of(0x0A0A))}, Misbehaviour.ILLEGAL_PARAMETER, 47),
        ({"extensions": (VERSION, (KEY_SHARE, b"\0\x17\0\1x"))}, Misbehaviour.MALFORMED_HANDSHAKE, 50),
        ({"extensions": (VERSION, (KEY_SHARE, b""))}, Misbehaviour.MALFORMED_HANDSHAKE, 50),
        ({"extensions": (VERSION, cookie_of(b""))}, Misbehaviour.MALFORMED_HANDSHAKE, 50),
        ({"extensions": (VERSION, (COOKIE, b"\0\5four"))}, Misbehaviour.MALFORMED_HANDSHAKE, 50),
        ({"extensions": (VERSION, cookie_of(bytes(MAXIMUM_COOKIE + 1)))}, Misbehaviour.ILLEGAL_PARAMETER, 47),
        ({"extensions": (group_of(SECP256R1),)}, Misbehaviour.MISSING_EXTENSION, 109),
        ({"extensions": ()}, Misbehaviour.MISSING_EXTENSION, 109),
        (
            {"extensions": ((SUPPORTED_VERSIONS, b"\xfe\xfd"), group_of(SECP256R1))},
            Misbehaviour.ILLEGAL_PARAMETER,
            47,
        ),
        ({"extensions": (*RETRY.extensions, (14, b"\0\2\0\7\0"))}, Misbehaviour.ILLEGAL_PARAMETER, 47),
        ({"extensions": (*RETRY.extensions, (16, b""))}, Misbehaviour.UNSOLICITED_EXTENSION, 110),
        ({"extensions": (*RETRY.extensions, VERSION)}, Misbehaviour.MALFORMED_HANDSHAKE, 50),
        ({"cipher_suite": 0x1304}, Misbehaviour.ILLEGAL_PARAMETER, 47),
        ({"cipher_suite": 0xC02B}, Misbehaviour.ILLEGAL_PARAMETER, 47),
        ({"compression_method": 1}, Misbehaviour.ILLEGAL_PARAMETER, 47),
        ({"session_id": b"x"}, Misbehaviour.ILLEGAL_PARAMETER, 47),
        ({"version": 0xFEFC}, Misbehaviour.ILLEGAL_PARAMETER, 47),
    ],
    ids=short,
)
def test_a_request_that_makes_no_sense_is_refused(changes: dict[str, Any], reason: Misbehaviour, alert: int) -> None:
    pair, said = asked(changes)
    assert failure(pair.client_events) is reason
    assert plain_records(said[0])[0].payload == bytes((2, alert))


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"cipher_suite": 0x1303},
        {"extensions": (VERSION, group_of(SECP384R1))},
        {"extensions": (VERSION, cookie_of(b"x"))},
        {"extensions": (cookie_of(bytes(MAXIMUM_COOKIE)), group_of(SECP256R1), VERSION)},
    ],
    ids=short,
)
def test_the_requests_that_these_are_made_from_are_followed(changes: dict[str, Any]) -> None:
    pair, said = asked(changes)
    assert pair.client.state is State.WAIT_SERVER_HELLO
    assert client_hello_of(said).random == pair.client._random


def test_a_second_request_is_unexpected() -> None:
    for second in (RETRY, attrs.evolve(RETRY, extensions=(VERSION, cookie_of(b"another")))):
        pair, _ = asked({})
        [answer] = pair.to_client([handshake(HandshakeType.SERVER_HELLO, 1, second.octets())])
        assert failure(pair.client_events) is Misbehaviour.UNEXPECTED_MESSAGE
        assert plain_records(answer)[0].payload == b"\x02\x0a"


SHARE = Pair13(groups=(SECP256R1,)).client._shares[SECP256R1].public


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"cipher_suite": 0x1303}, Misbehaviour.ILLEGAL_PARAMETER),
        (
            {"extensions": (VERSION, (KEY_SHARE, extensions.key_share(X25519, bytes(32))))},
            Misbehaviour.ILLEGAL_PARAMETER,
        ),
        (
            {"extensions": ((SUPPORTED_VERSIONS, b"\xfe\xfd"), (KEY_SHARE, extensions.key_share(SECP256R1, SHARE)))},
            Misbehaviour.ILLEGAL_PARAMETER,
        ),
        ({"extensions": ((KEY_SHARE, extensions.key_share(SECP256R1, SHARE)),)}, Misbehaviour.ILLEGAL_PARAMETER),
        ({"extensions": (VERSION,)}, Misbehaviour.MISSING_EXTENSION),
        ({"extensions": (VERSION, cookie_of(b"x"))}, Misbehaviour.ILLEGAL_PARAMETER),
        ({}, None),
    ],
    ids=short,
)
def test_a_server_hello_has_to_keep_what_the_request_said(changes: dict[str, Any], reason: Misbehaviour | None) -> None:
    pair, _ = asked({"extensions": (VERSION, group_of(SECP256R1), cookie_of(b"x"))})
    share = (KEY_SHARE, extensions.key_share(SECP256R1, SHARE))
    hello = attrs.evolve(RETRY, random=bytes(32), extensions=(VERSION, share))
    pair.to_client([handshake(HandshakeType.SERVER_HELLO, 1, attrs.evolve(hello, **changes).octets())])
    assert failure(pair.client_events) is reason
    assert pair.client.state is (State.WAIT_ENCRYPTED_EXTENSIONS if reason is None else State.FAILED)


def test_a_forged_request_leads_to_no_handshake_that_the_two_see_differently() -> None:
    pair = Pair13()
    hello = pair.start()
    forged = pair.to_client([handshake(HandshakeType.SERVER_HELLO, 0, RETRY.octets())])
    answer = pair.to_server(hello)
    pair.to_server(forged)
    pair.to_client(answer)
    link = pair.link()
    link.run_until(100.0)
    assert failure(pair.client_events) is Misbehaviour.HANDSHAKE_TIMEOUT
    assert failure(pair.server_events) is Misbehaviour.HANDSHAKE_TIMEOUT


# A server against what a client answers


def asking(**server: Any) -> tuple[Pair13, ClientHello]:
    """A server that has asked for P-256, and the second hello that it wants."""
    pair = Pair13(server={"groups": (SECP256R1,), **server})
    return pair, client_hello_of(pair.to_client(pair.to_server(pair.start())))


def answered(pair: Pair, hello: ClientHello, sequence: int = 1) -> list[bytes]:
    return pair.to_server([handshake(HandshakeType.CLIENT_HELLO, sequence, hello.octets())])


def both(hello: ClientHello) -> bytes:
    wanted = extensions.read_key_shares(hello.extension(KEY_SHARE) or b"")
    return extensions.key_shares((*wanted, (X25519, bytes(31) + b"\x09")))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda h: h, None),
        (lambda h: with_extension(h, KEY_SHARE, b"\0\0"), Misbehaviour.ILLEGAL_PARAMETER),
        (lambda h: with_extension(h, KEY_SHARE, both(h)), Misbehaviour.ILLEGAL_PARAMETER),
        (
            lambda h: with_extension(h, KEY_SHARE, extensions.key_shares(((X25519, bytes(32)),))),
            Misbehaviour.ILLEGAL_PARAMETER,
        ),
        (lambda h: without_extensions(h, KEY_SHARE), Misbehaviour.MISSING_EXTENSION),
        (lambda h: attrs.evolve(h, random=bytes(32)), Misbehaviour.ILLEGAL_PARAMETER),
        (lambda h: attrs.evolve(h, cipher_suites=(0x1303,)), Misbehaviour.ILLEGAL_PARAMETER),
        (lambda h: attrs.evolve(h, cipher_suites=(0xC02B,)), Misbehaviour.NO_COMMON_CIPHER_SUITE),
        (lambda h: attrs.evolve(h, cookie=b"of 1.2"), Misbehaviour.ILLEGAL_PARAMETER),
        (lambda h: without_extensions(h, SUPPORTED_VERSIONS), Misbehaviour.ILLEGAL_PARAMETER),
        (lambda h: with_extension(h, SUPPORTED_VERSIONS, b"\2\xfe\xfd"), Misbehaviour.ILLEGAL_PARAMETER),
        (lambda h: with_extension(h, SUPPORTED_GROUPS, b"\0\2\0\x1d"), Misbehaviour.ILLEGAL_PARAMETER),
    ],
    ids=short,
)
def test_a_second_hello_that_is_not_what_was_asked_for_is_refused(change: Any, reason: Misbehaviour | None) -> None:
    pair, hello = asking()
    answered(pair, change(hello))
    assert failure(pair.server_events) is reason
    assert pair.server.state is (State.WAIT_CERTIFICATE if reason is None else State.FAILED)


def test_a_second_hello_with_another_offer_of_srtp_connects_nobody() -> None:
    pair, hello = asking()
    flight = answered(pair, with_extension(hello, extensions.USE_SRTP, b"\0\2\0\x01\0"))
    pair.to_client(flight)
    assert pair.client.state is State.WAIT_ENCRYPTED_EXTENSIONS
    assert pair.client.dropped[Drop.BAD_RECORD] == 1  # the transcripts differ, and so do the keys


def test_a_guessed_cookie_is_dropped_and_does_not_keep_the_real_one_out() -> None:
    pair, hello = asking(cookie=True)
    cookie = extensions.read_cookie(hello.extension(COOKIE) or b"")
    for guess in (b"x", bytes(32), cookie[:-1], cookie + b"\0"):
        assert answered(pair, with_extension(hello, COOKIE, opaque(2, guess))) == []
    assert answered(pair, without_extensions(hello, COOKIE)) == []
    assert pair.server.dropped == {Drop.BAD_COOKIE: 5}
    final = pair.to_client(answered(pair, hello))
    pair.to_server(final)
    assert pair.are_agreed


def test_a_cookie_that_nobody_gave_buys_nothing() -> None:
    pair = Pair13(server={"cookie": True})
    hello = with_extension(client_hello_of(pair.start()), COOKIE, opaque(2, bytes(32)))
    [answer] = answered(pair, hello, sequence=0)
    assert server_hello_of([answer]).random == HELLO_RETRY_REQUEST


def test_a_server_with_cookies_sends_an_unproven_source_at_most_three_times_what_it_gets() -> None:
    pair = Pair13(groups=(X25519,), server={"cookie": True})
    hello = pair.start()
    received = sum(map(len, hello))
    sent = sum(map(len, pair.to_server(hello)))
    # Whoever sends no more than that a hello was, gets nothing: the least that would be answered is a third of the answer.
    for length in [*range(200), *range(200)]:
        pair.now += 1.0
        part = plaintext(HANDSHAKE, Message(kind=1, sequence=0, body=bytes(200)).fragment(0, length))
        answer = pair.to_server([part])
        assert sum(map(len, answer)) <= AMPLIFICATION * len(part)
        received += len(part)
        sent += sum(map(len, answer))
    assert 0 < sent <= AMPLIFICATION * received
    assert pair.server.deadline == NEVER
