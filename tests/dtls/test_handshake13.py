"""Clean handshakes of DTLS 1.3 between our own client and server: who agrees on what, knows what and when, and how much is said for it."""

from typing import Any

import pytest

from tests.dtls.pairs import (
    CLIENT_CERTIFICATE,
    LABEL,
    PROFILES,
    SERVER_CERTIFICATE,
    Pair,
    Pair13,
    failure,
    fragments_of,
    opened_by,
    said_by,
    server_hello_of,
    server_speaks,
    vector,
)
from trioice.dtls import SUITE_NAMES, VERSION_1_2, VERSION_1_3, VERSIONS, Connected, DtlsServer, KeysDerived, State
from trioice.dtls.ciphers import SUITES
from trioice.dtls.ciphers13 import SUITES_13
from trioice.dtls.drops import Drop
from trioice.dtls.extensions import KEY_SHARE, SUPPORTED_VERSIONS, USE_SRTP, UseSrtp, read_key_share
from trioice.dtls.groups import GROUPS, SECP256R1, X25519, X25519MLKEM768
from trioice.dtls.handshake import Handshake
from trioice.dtls.messages13 import EncryptedExtensions
from trioice.dtls.packing import LEAST_FRAGMENT
from trioice.errors import LocalProtocolError, Misbehaviour
from trioice.sansio import NEVER, Closed


def test_client_and_server_connect_and_agree() -> None:
    pair = Pair13().run()
    assert pair.are_agreed
    connected = Connected(VERSION_1_3, 0x1301, X25519MLKEM768, 7)
    assert pair.client_events == [connected]
    assert pair.server_events == [KeysDerived(7), connected]
    assert pair.client.peer_certificate == SERVER_CERTIFICATE.der
    assert pair.server.peer_certificate == CLIENT_CERTIFICATE.der
    assert pair.client.deadline == pair.server.deadline == NEVER
    assert pair.client.dropped == pair.server.dropped == {}
    assert pair.client.export(b"label", 20) == pair.server.export(b"label", 20) != pair.client.export(b"other", 20)
    assert pair.client.export(LABEL, 1000) == pair.server.export(LABEL, 1000)
    assert pair.client.key_log_lines() == pair.server.key_log_lines() != []


@pytest.mark.parametrize("suite", SUITES_13, ids=hex)
@pytest.mark.parametrize("group", GROUPS)
def test_client_and_server_agree_on_every_suite_and_group(suite: int, group: int) -> None:
    pair = Pair13(client={"cipher_suites": (suite,), "groups": (group,)}).run()
    assert pair.are_agreed
    for machine in (pair.client, pair.server):
        assert (machine.version, machine.cipher_suite, machine.group) == (VERSION_1_3, suite, group)
    for length in (0, 1, 15, 16, 17, 1000):
        pair.client.send(bytes(length), 1.0)
        pair.server.send(bytes(length), 1.0)
    pair.run()
    assert [len(octets) for octets in pair.client.inbox] == [len(octets) for octets in pair.server.inbox]
    assert len(pair.client.inbox) == 6


def test_the_server_chooses_by_its_own_order() -> None:
    pair = Pair13(
        client={"profiles": (1, 7, 8), "cipher_suites": (0x1301, 0x1302, 0x1303), "groups": (X25519MLKEM768, X25519)},
        server={"profiles": (8, 7), "cipher_suites": (0x1303, 0x1301), "groups": (X25519, X25519MLKEM768)},
    ).run()
    assert pair.client_events == [Connected(VERSION_1_3, 0x1303, X25519, 8)]


def test_a_share_that_is_there_is_worth_more_than_a_better_group_that_is_not() -> None:
    pair = Pair13(client={"groups": (X25519, SECP256R1)}, server={"groups": (SECP256R1, X25519)}).run()
    assert pair.client.group == X25519
    assert pair.client.flight == 2  # nothing was asked for again


def test_without_srtp_none_is_negotiated() -> None:
    pair = Pair13(profiles=()).run()
    assert pair.are_agreed
    assert pair.client_events == [Connected(VERSION_1_3, 0x1301, X25519MLKEM768, 0)]
    pair = Pair13(server={"profiles": ()}, client={"profiles": ()}).run()
    assert pair.server_events[0] == KeysDerived(0)


# Both versions


BOTH, OLD, NEW = VERSIONS, (VERSION_1_2,), (VERSION_1_3,)


@pytest.mark.parametrize(
    ("client", "server", "version"),
    [
        (BOTH, BOTH, VERSION_1_3),
        (BOTH, OLD, VERSION_1_2),
        (BOTH, NEW, VERSION_1_3),
        (OLD, BOTH, VERSION_1_2),
        (OLD, OLD, VERSION_1_2),
        (NEW, BOTH, VERSION_1_3),
        (NEW, NEW, VERSION_1_3),
        (BOTH, BOTH[::-1], VERSION_1_3),  # the order of the options says nothing
        (BOTH[::-1], BOTH, VERSION_1_3),
    ],
    ids=str,
)
@pytest.mark.parametrize("cookie", [False, True])
def test_the_best_version_that_both_speak_is_chosen(
    client: tuple[int, ...], server: tuple[int, ...], version: int, cookie: bool
) -> None:
    pair = Pair13(client={"versions": client}, server={"versions": server, "cookie": cookie})
    pair.run()
    assert pair.are_agreed
    assert {pair.client.version, pair.server.version} == {version}
    assert SUITE_NAMES[pair.client.cipher_suite] == SUITE_NAMES[pair.server.cipher_suite]


@pytest.mark.parametrize(("client", "server"), [(OLD, NEW), (NEW, OLD)], ids=str)
def test_without_a_common_version_there_is_no_handshake(client: tuple[int, ...], server: tuple[int, ...]) -> None:
    pair = Pair13(client={"versions": client}, server={"versions": server}).run()
    assert failure(pair.server_events) is Misbehaviour.NO_COMMON_VERSION
    assert not pair.are_connected


@pytest.mark.parametrize("suites", [tuple(SUITES), tuple(SUITES_13)], ids=["1.2", "1.3"])
def test_suites_are_never_those_of_the_other_version(suites: tuple[int, ...]) -> None:
    pair = Pair13(server={"cipher_suites": suites}).run()
    # The version is chosen first. There is no falling back to the other one for its suites.
    if pair.are_connected:
        assert (pair.client.version, pair.client.cipher_suite in SUITES_13) == (VERSION_1_3, True)
    else:
        assert failure(pair.server_events) is Misbehaviour.NO_COMMON_CIPHER_SUITE


# How much, and when


def test_a_handshake_takes_one_round_trip_and_a_half() -> None:
    pair = Pair13(groups=(X25519,))
    link = pair.link(delay=0.05)
    pair.client.start(0.0)
    assert link.run_until(1.0, lambda: bool(pair.server_events))
    assert pair.server_events == [KeysDerived(7)]
    assert link.now == pytest.approx(0.05)
    assert link.run_until(1.0, lambda: bool(pair.client_events))
    assert link.now == pytest.approx(0.1)
    assert pair.connects(link, 1.0)
    assert link.now == pytest.approx(0.15)
    assert link.run_until(1.0, lambda: pair.client.deadline == NEVER)
    assert link.now == pytest.approx(0.2)
    assert link.sent == 4  # hello, flight, proof, acknowledgement
    assert pair.client.rtt == pytest.approx(0.1)
    assert pair.server.rtt == pytest.approx(0.1)


def test_with_a_post_quantum_group_two_of_the_flights_take_two_datagrams() -> None:
    pair = Pair13()
    hello = pair.start()
    flight = pair.to_server(hello)
    final = pair.to_client(flight)
    assert [len(said) for said in (hello, flight, final, pair.to_server(final))] == [2, 2, 1, 1]


def test_messages_under_keys_share_a_record() -> None:
    pair = Pair13(groups=(X25519,))
    [datagram] = pair.to_server(pair.start())
    pair.to_client([datagram])
    [record] = opened_by(pair.client, [datagram])[1:]
    assert [fragment.kind for fragment in fragments_of([record])] == [8, 13, 11, 15, 20]


@pytest.mark.parametrize("mtu", [256, 257, 300, 400, 600, 1199, 1200])
@pytest.mark.parametrize("cookie", [False, True])
def test_no_datagram_is_longer_than_the_mtu(mtu: int, cookie: bool) -> None:
    pair = Pair13(mtu=mtu, server={"cookie": cookie})
    pair.client.start(0.0)
    assert pair.connects(pair.link(mtu=mtu), 1.0)
    assert pair.client.group == X25519MLKEM768


@pytest.mark.parametrize("mtu", range(256, 400, 7))
def test_no_crumbs_are_left_at_the_end_of_a_datagram(mtu: int) -> None:
    pair = Pair13(mtu=mtu)
    hello = pair.start()
    flight = pair.to_server(hello)
    final = pair.to_client(flight)
    for reader, datagrams in ((pair.server, hello), (pair.client, flight), (pair.server, final)):
        fragments = fragments_of(opened_by(reader, datagrams))
        assert len(fragments) >= len(datagrams)
        for fragment in fragments:
            is_last = fragment.offset + len(fragment.octets) == fragment.length
            assert is_last or len(fragment.octets) >= LEAST_FRAGMENT
        assert all(len(datagram) > mtu - 60 for datagram in datagrams[:-1])


# Who knows what, and when


def negotiated(machine: Handshake) -> tuple[Any, ...]:
    return machine.version, machine.cipher_suite, machine.group, machine.srtp_profile, machine.peer_certificate


NOTHING = (0, 0, 0, 0, b"")


def test_nothing_is_known_before_the_peer_is_but_for_the_keys_of_a_server() -> None:
    pair, flight = server_speaks()
    final: list[bytes] = []
    for message in flight:
        assert pair.client.state is not State.CONNECTED
        assert (negotiated(pair.client), pair.client_events) == (NOTHING, [])
        with pytest.raises(LocalProtocolError):
            pair.client.export(LABEL, 60)
        with pytest.raises(LocalProtocolError):
            pair.client.send(b"", 0.0)
        final = pair.to_client([said_by(pair.server, message)])
    assert pair.client.state is State.CONNECTED
    # The server may send at once under keys that only the client of this exchange can have, whoever that is.
    assert pair.server_events == [KeysDerived(7)]
    assert (pair.server.export(LABEL, 60), negotiated(pair.server)) == (pair.client.export(LABEL, 60), NOTHING)
    with pytest.raises(LocalProtocolError):
        pair.server.send(b"", 0.0)
    pair.to_server(final)
    assert negotiated(pair.server)[:4] == negotiated(pair.client)[:4] == (VERSION_1_3, 0x1301, X25519, 7)


def test_a_server_of_1_2_derives_no_keys_early() -> None:
    pair = Pair().run()
    assert [type(event) for event in pair.server_events] == [Connected]


def test_what_only_the_handshake_needed_is_forgotten() -> None:
    pair = Pair13().run()
    for ours in (pair.client, pair.server):
        assert ours.state is State.CONNECTED
        assert (ours._transcript, ours._share, ours._peer_key, ours._early) == ([], None, None, [])
        assert (ours._flights._left, ours._flights._sent, ours._unacknowledged) == ([], {}, [])
    assert pair.client._shares == {}
    assert len(pair.client._hello.octets()) < 100


def test_nothing_is_left_of_an_association_that_failed() -> None:
    pair = Pair13(server={"fingerprints": []}).run()
    assert failure(pair.server_events) is Misbehaviour.BAD_FINGERPRINT
    assert failure(pair.client_events) is Misbehaviour.BAD_ALERT
    for machine in (pair.client, pair.server):
        assert (machine._version, machine._share, machine._transcript, machine.key_log_lines()) == (None, None, [], [])
        assert machine.deadline == NEVER
        with pytest.raises(LocalProtocolError):
            machine.export(LABEL, 60)


def test_application_data_and_close_notify_pass() -> None:
    pair = Pair13().run()
    pair.client.send(b"question", 1.0)
    pair.server.send(b"", 1.0)
    pair.run()
    assert (pair.server.inbox, pair.client.inbox) == ([b"question"], [b""])
    pair.client.close(2.0)
    pair.run()
    assert pair.server_events[2:] == [Closed("close_notify")]
    assert pair.client_events[1:] == []


def test_application_data_fits_a_datagram_to_the_last_octet() -> None:
    pair = Pair13(mtu=300).run()
    pair.client.send(bytes(300 - 22), 0.0)
    assert [len(datagram) for datagram in pair.from_client()] == [300]
    with pytest.raises(LocalProtocolError):
        pair.client.send(bytes(300 - 21), 0.0)


def test_application_data_that_overtakes_finished_is_held_until_then() -> None:
    pair = Pair13()
    final = pair.server_waits()
    pair.client.send(b"early", 0.0)
    early = pair.from_client()
    pair.to_server(early)
    assert pair.server.inbox == []
    pair.to_server(final)
    assert pair.server.inbox == [b"early"]
    pair.to_server(early)
    assert pair.server.inbox == [b"early"]
    assert pair.server.dropped == {Drop.REPLAYED: 1}


# The same seed, the same octets


def test_a_seeded_handshake_is_reproduced_octet_by_octet() -> None:
    assert transcript() == transcript() == vector("dtls13_seeded.hex")


def transcript() -> list[bytes]:
    """All datagrams of the handshake of seed 7, in turn. X25519 alone, as the library takes no seed for ML-KEM's ciphertext."""
    pair = Pair13(7, groups=(X25519,))
    datagrams = []
    from_client = pair.start()
    while from_client:
        from_server = pair.to_server(from_client)
        datagrams += from_client + from_server
        from_client = pair.to_client(from_server)
    assert pair.are_agreed
    return datagrams


# The captured ClientHello of browsers


@pytest.mark.parametrize("browser", ["chromium", "firefox"])
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("profile", PROFILES)
def test_a_browser_is_answered_with_1_3_and_a_post_quantum_group(browser: str, reverse: bool, profile: int) -> None:
    pair = Pair13(server={"profiles": (profile,)})
    datagrams = vector(f"client_hello_{browser}.hex")
    flight = pair.to_server(datagrams[::-1] if reverse else datagrams)
    assert isinstance(pair.server, DtlsServer)
    hello = server_hello_of(flight)
    assert (hello.version, hello.session_id, hello.cipher_suite) == (VERSION_1_2, b"", 0x1301)
    assert hello.extension(SUPPORTED_VERSIONS) == b"\xfe\xfc"
    group, share = read_key_share(hello.extension(KEY_SHARE) or b"")
    assert (group, len(share)) == (X25519MLKEM768, 1088 + 32)
    assert len(hello.extensions) == 2
    [answers] = [m for m, _, _ in pair.server._flights._left if m.body and getattr(m, "kind", 0) == 8]
    assert dict(EncryptedExtensions.read(answers.body).extensions) == {USE_SRTP: UseSrtp((profile,)).octets()}
    assert pair.server.state is State.WAIT_CERTIFICATE
    assert pair.server_events == [KeysDerived(profile)]
    assert sum(map(len, flight)) < 3 * sum(map(len, datagrams))
