"""The ladders of docs/explanation/set-up.md are what crosses the network today."""

import pytest

from tests.harness import drawing
from tests.harness.drawing import CASES, END, RTT, START, Sent, SetUp
from trioice import dtls, stun


def test_the_page_is_what_would_be_drawn() -> None:
    page = drawing.PAGE.read_text()
    assert page == drawing.redrawn(page), "a set-up has changed: `make docs` draws it anew"


def test_a_page_without_a_place_is_refused_and_the_rest_of_it_is_kept() -> None:
    assert drawing.redrawn(f"a\n{START}old\n{END}b\n", lambda: "new") == f"a\n{START}\nnew\n{END}b\n"
    for page in ("", f"{START}", f"{END}{START}"):
        with pytest.raises(ValueError, match="no place"):
            drawing.redrawn(page, lambda: "new")


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_what_a_ladder_shows_is_the_same_each_time_and_takes_half_round_trips(case: drawing.Case) -> None:
    first, again = drawing.run(case), drawing.run(case)
    assert drawing.draw(first) == drawing.draw(again)
    for at in (first.ours_at, first.theirs_at):
        assert at / RTT * 2 == pytest.approx(round(at / RTT * 2), abs=0.05)  # two checks are two milliseconds apart


def test_datagrams_are_named_by_what_can_be_read_in_them() -> None:
    offers: list[tuple[bytes, object]] = []
    client = dtls.DtlsClient(
        certificate=dtls.Certificate.generate(bytes),
        fingerprints=[],
        profiles=[1],
        entropy=bytes,
        peer=None,
        outbox=offers,
        inbox=[],
        events=[],
    )
    client.start(0.0)
    hello, rest = (datagram for datagram, _ in offers)
    assert (drawing.name(hello), drawing.name(rest)) == ("ClientHello…", "…ClientHello")
    attributes = [(drawing.DTLS_IN_STUN, hello)]
    for kind, named in ((stun.BINDING_REQUEST, "STUN check"), (stun.BINDING_SUCCESS, "its answer")):
        assert drawing.name(stun.encode(kind, bytes(12), [], key=b"key")) == named
        carrying = stun.encode(kind, bytes(12), attributes, key=b"key")
        assert drawing.name(carrying) == f"{named} {{ ClientHello… }}"
    sealed = bytes((0x2F, 0, 0, 0, 20)) + bytes(20)  # RFC 9147, 4: epoch 3
    for datagram, named in (
        (sealed + sealed, "sealed"),
        (bytes.fromhex("14fefd0000000000000001000101 16fefd0001000000000000000401020304"), "ChangeCipherSpec, sealed"),
        (bytes.fromhex("15fefd0000000000000001000202 28"), "Alert"),
        (bytes.fromhex("806f0000") + bytes(20), "SRTP"),
        (bytes.fromhex("80c80000") + bytes(20), "SRTCP"),
    ):
        assert drawing.name(datagram) == named


def test_of_checks_that_carry_nothing_the_first_alone_is_drawn_and_nothing_after_both_spoke() -> None:
    names = ["STUN check", "STUN check", "STUN check { ClientHello }", "SRTP", "SRTP", "STUN check"]
    sent = [Sent(number / 100, False, name) for number, name in enumerate(names)]
    sent += [Sent(0.2, True, "SRTP"), Sent(0.3, False, "sealed")]
    rows = drawing.draw(SetUp(sent=sent, ours_at=0.2, theirs_at=0.03)).splitlines()
    assert [row.split("│")[1].strip("─▶◀ ●") for row in rows[1:]] == [
        *("STUN check", "STUN check { ClientHello }", "keys", "SRTP", "keys", "SRTP")
    ]
