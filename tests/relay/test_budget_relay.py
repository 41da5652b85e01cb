"""What the relay may cost per packet, in calls: exact on every machine."""

from tests.harness.clockwork import calls
from tests.relay.world import ALICE, CLIENT, DTLS, RTP, STRANGER, check, from_client, make_relay, success
from trioice.relay.core import RelayCore
from trioice.relay.directory import Directory
from trioice.sansio import Outbox


def connected() -> RelayCore:
    outbox: Outbox = []
    relay = make_relay(outbox, outbox, directory=Directory.of([f"1/1={ALICE[0]}:{ALICE[1]}"]))
    relay.receive(check(), CLIENT, 0.0)
    relay.returned(from_client(success()), ALICE, 0.0)
    return relay


def test_a_packet_to_a_transceiver_costs_four_calls() -> None:
    relay = connected()
    # receive, the look-up of the flow, the count of octets, the outbox.
    assert calls(lambda: relay.receive(RTP, CLIENT, 1.0)) == 4


def test_a_packet_to_a_client_costs_five_calls() -> None:
    relay = connected()
    datagram = from_client(RTP)
    # returned, is it a transceiver, the look-up of the flow, the count of octets, the outbox.
    assert calls(lambda: relay.returned(datagram, ALICE, 1.0)) == 5


def test_junk_costs_nine_calls_whatever_is_in_the_table() -> None:
    relay = connected()
    relay.receive(DTLS, STRANGER, 1.0)
    # receive, the look-up, off the straight way, the ufrag, its length; and four to count it: an enum's hash, twice.
    assert calls(lambda: relay.receive(DTLS, STRANGER, 1.0)) == 9
