"""What an RTP session counts, as plain data."""

import attrs


@attrs.frozen(kw_only=True)
class RtpStats:
    """Counters since the start. Times are seconds; octets are of payload; `remote_` is what the peer last reported of ours.

    `nacks` are the peer's, `retransmitted` the packets that went again for them, and `nacks_sent` ours. Of the packets that were missed as
    a newer one came, each was repaired by one of the three, or is unrepaired, or is still waited for (`trioice.rtp.repair`); none are
    counted without a `repair_window`.
    """

    packets_received: int
    octets_received: int
    packets_lost: int
    jitter: float
    packets_sent: int
    octets_sent: int
    remote_lost: int
    remote_jitter: float
    rtt: float | None
    retransmitted: int
    nacks: int
    nacks_sent: int
    packets_missed: int
    repaired_by_red: int
    repaired_by_nack: int
    late: int
    unrepaired: int
    plis: int
    reports_received: int
    reports_sent: int
