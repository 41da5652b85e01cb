"""Keys renewed after a handshake of DTLS 1.3 (RFC 9147, 8)."""

from tests.dtls.pairs import Pair
from trioice.dtls.handshake import VERSION_1_3


def test_keys_renewed_by_one_side_a_thousand_times_leave_nothing_behind() -> None:
    pair = Pair(versions=(VERSION_1_3,)).run()
    for _ in range(1000):
        pair.client._renew(1.0)
        pair.run()
    pair.client.send(b"under the newest", 1.0)
    pair.server.send(b"under the first", 1.0)
    pair.run()
    assert (pair.server.inbox, pair.client.inbox) == ([b"under the newest"], [b"under the first"])
    for machine in (pair.client, pair.server):
        assert len(machine._records.sequences) <= 4
