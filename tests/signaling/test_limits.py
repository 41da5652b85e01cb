"""Who may come in, and how often."""

import math

import pytest

from trioice.signaling.limits import Bearer, Doorkeeper, OfferRate, network_of


def test_a_bucket_gives_a_burst_and_then_one_each_interval() -> None:
    rate = OfferRate(2.0, burst=3)
    assert [rate.wait("192.0.2.1", 10.0) for _ in range(4)] == [0.0, 0.0, 0.0, 0.5]
    assert rate.wait("192.0.2.1", 10.25) == pytest.approx(0.25)
    assert rate.wait("192.0.2.1", 10.5) == 0.0
    assert rate.wait("192.0.2.1", 10.5) == pytest.approx(0.5)
    assert [rate.wait("192.0.2.1", 100.0) for _ in range(4)] == [0.0, 0.0, 0.0, 0.5]


def test_asking_too_soon_does_not_lengthen_the_wait() -> None:
    rate = OfferRate(1.0, burst=1)
    assert rate.wait("192.0.2.1", 0.0) == 0.0
    assert [rate.wait("192.0.2.1", 0.0) for _ in range(100)] == [1.0] * 100
    assert rate.wait("192.0.2.1", 1.0) == 0.0


def test_addresses_do_not_share_a_bucket_but_an_ipv6_network_does() -> None:
    rate = OfferRate(1.0, burst=1)
    assert rate.wait("192.0.2.1", 0.0) == rate.wait("192.0.2.2", 0.0) == rate.wait("2001:db8::1", 0.0) == 0.0
    assert rate.wait("2001:db8:0:0:ffff::2", 0.0) == 1.0
    assert rate.wait("2001:db8:0:1::2", 0.0) == 0.0


def test_no_limit_is_no_limit() -> None:
    rate = OfferRate(math.inf)
    assert not any(rate.wait("192.0.2.1", 0.0) for _ in range(1000))


def test_an_attack_from_addresses_without_end_is_remembered_within_bounds() -> None:
    rate = OfferRate(1.0, burst=1, addresses=100)
    for number in range(10_000):
        rate.wait(f"10.0.{number >> 8}.{number & 255}", 0.0)
    assert len(rate._full_at) == 100
    assert rate.wait("10.0.39.15", 0.0) == 1.0  # the latest is remembered
    assert rate.wait("10.0.0.0", 0.0) == 0.0  # the first is forgotten


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("/run/socket", "/run/socket"),
        ("", ""),
    ],
)
def test_the_network_of_an_address(address: str, network: str) -> None:
    assert network_of(address) == network


def test_a_bearer_admits_its_token_alone() -> None:
    bearer = Bearer("sesame")
    assert bearer.admits("sesame")
    assert bearer.admits_header("Bearer sesame")
    assert bearer.admits_header("bearer  sesame ")
    for wrong in (None, "", "sesam", "sesames", "Sesame", "séssame", "\ud800"):
        assert not bearer.admits(wrong)
    for wrong in (None, "", "sesame", "Bearer", "Bearer ", "Basic sesame"):
        assert not bearer.admits_header(wrong)
    assert "sesame" not in repr(vars(bearer))


def test_without_token_everybody_may_come_in() -> None:
    assert Bearer(None).admits(None)
    assert Bearer(None).admits_header(None)
    assert not Bearer("").admits("x")


def test_a_doorkeeper_counts_all_and_each_network() -> None:
    doorkeeper = Doorkeeper(most=3, most_of_one=2)
    with doorkeeper.visit("192.0.2.1") as first, doorkeeper.visit("192.0.2.1") as second:
        assert first
        assert second
        with doorkeeper.visit("192.0.2.1") as third:
            assert not third
        with doorkeeper.visit("192.0.2.2") as other:
            assert other
            with doorkeeper.visit("192.0.2.3") as too_many:
                assert not too_many
    assert not doorkeeper._inside
