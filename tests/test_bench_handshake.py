"""The handshakes of bench/handshake.py: each comes to its end, and costs either side something."""

import pytest

from bench import handshake
from bench.handshake import OPENSSL, Kind, Round, kinds, shake_hands


@pytest.mark.parametrize("kind", kinds(), ids=lambda kind: kind.name)
def test_a_handshake_ends_with_the_same_keys_on_both_sides(kind: Kind) -> None:
    client, server = shake_hands(kind)
    assert client > 0
    assert server > 0


def test_sides_that_do_not_fit_are_an_error_and_no_figure() -> None:
    [ours, *_], [others, *_] = kinds(), kinds()
    with pytest.raises(AssertionError, match="ended in"):
        shake_hands(Kind("strangers", ours.client, others.server))


def test_openssl_exchanges_keys_on_the_same_curve_and_has_no_newer_version() -> None:
    [kind] = [kind for kind in kinds() if kind.name == OPENSSL]
    client, server = kind.client(), kind.server()
    to_server = client.start()
    while to_server:
        to_client = [answer for each in to_server for answer in server.receive(each)]
        to_server = [answer for each in to_client for answer in client.receive(each)]
    connection = client._connection  # type: ignore[attr-defined]
    assert connection.get_protocol_version_name() == "DTLSv1.2"
    assert connection.get_group_name() == "x25519"
    assert connection.get_selected_srtp_profile() == b"SRTP_AEAD_AES_128_GCM"


def test_a_report_has_a_row_for_each_kind_and_ratios_of_the_same_round() -> None:
    rounds = [
        Round("ours", 0.002, 0.001),
        Round(OPENSSL, 0.0005, 0.0005),
        Round("ours", 0.003, 0.003),
        Round(OPENSSL, 0.001, 0.001),
    ]
    lines = handshake.report(rounds, 100).splitlines()
    [ours] = [line for line in lines if line.startswith("ours")]
    assert "2.50 (2.00–3.00)" in ours
    assert "3.00 (3.00–3.00)" in ours
    assert any(line.startswith(OPENSSL) and "1.00 (1.00–1.00)" in line for line in lines)
