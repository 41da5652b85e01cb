"""Who may come in, and how often: the bearer token, the rate of offers, and the bounds that both kinds of signaling share."""

import hashlib
import hmac
import ipaddress
import math
from collections import Counter, OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from trioice.sdp.parse import MAX_OCTETS

MAX_BODY: Final = MAX_OCTETS
"""Octets of a request's body or of a WebSocket message: as much as a description may have."""

MAX_VALUES: Final = 4096
"""Values of a JSON object that is kept with a call: a value of two octets in JSON may be sixty in memory, for the call's whole life."""

PATIENCE: Final = 10.0
"""Seconds that a client has to finish what it began to send: a request, a handshake, a first offer."""

OFFERS_PER_SECOND: Final = 5.0
"""Offers and restarts of one address, in the long run. Each costs an answer with fresh keys, about a millisecond."""

BURST: Final = 20.0
"""Offers of one address at once: an office behind one NAT that comes back after an outage."""

ADDRESSES: Final = 10_000
"""Addresses whose rate is remembered. One that has been quiet for BURST / OFFERS_PER_SECOND seconds has a full bucket and needs no
memory, so only a flood from more addresses than that within four seconds is forgiven anything."""

CONNECTIONS: Final = 4096
"""Connections that one listener holds open: within the 20,000 files that services are commonly given, beside the calls' own."""

CONNECTIONS_PER_NETWORK: Final = 256
"""Connections of one network: a quarter of a thousand people behind one NAT, and a sixteenth of them all."""


class Bearer:
    """A bearer token (RFC 6750, 2.1), or none. Only its digest is kept."""

    def __init__(self, token: str | None) -> None:
        self._digest = None if token is None else _digest(token)

    def admits(self, presented: str | None) -> bool:
        """Tell whether a client that presents this token may come in; takes the same time whatever is wrong with it."""
        return self._digest is None or hmac.compare_digest(self._digest, _digest(presented or ""))

    def admits_header(self, authorization: str | None) -> bool:
        """Tell the same of the value of an ``Authorization`` header."""
        scheme, _, token = (authorization or "").partition(" ")
        return self.admits(token.strip() if scheme.lower() == "bearer" else None)


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode(errors="replace")).digest()


def too_many_values(text: str) -> bool:
    """Tell whether a JSON text has more than `MAX_VALUES` values, or looks like it; before it is parsed."""
    return text.count(",") + text.count("{") + text.count("[") > MAX_VALUES


class OfferRate:
    """A token bucket for each network: `burst` offers at once, `rate` a second in the long run, `math.inf` for no limit."""

    def __init__(self, rate: float = OFFERS_PER_SECOND, burst: float = BURST, addresses: int = ADDRESSES) -> None:
        self._rate = rate
        self._burst = burst
        self._addresses = addresses
        self._full_at: OrderedDict[str, float] = (
            OrderedDict()
        )  # network → when its bucket will be full; the latest last

    def wait(self, address: str, now: float) -> float:
        """Take a token for an offer from `address`: 0.0 when there was one, else the seconds until there will be."""
        if math.isinf(self._rate):
            return 0.0
        network = network_of(address)
        full_at = max(self._full_at.pop(network, now), now)
        wait = full_at - now - (self._burst - 1) / self._rate
        self._full_at[network] = full_at if wait > 0 else full_at + 1 / self._rate
        if len(self._full_at) > self._addresses:
            self._full_at.popitem(last=False)
        return max(wait, 0.0)


class Doorkeeper:
    """Counts who is in: at most `most` at once, and at most `most_of_one` from one network."""

    def __init__(self, most: int = CONNECTIONS, most_of_one: int = CONNECTIONS_PER_NETWORK) -> None:
        self._most = most
        self._most_of_one = most_of_one
        self._inside: Counter[str] = Counter()

    @contextmanager
    def visit(self, address: str) -> Iterator[bool]:
        """Tell whether there is room for one more from `address`, who is counted until the block is left."""
        network = network_of(address)
        admitted = self._inside.total() < self._most and self._inside[network] < self._most_of_one
        self._inside[network] += admitted
        try:
            yield admitted
        finally:
            self._inside[network] -= admitted
            if not self._inside[network]:
                del self._inside[network]


def network_of(address: str) -> str:
    """Tell which network is held to account for `address`: all of an IPv6 /64 are one host's to choose from (RFC 7707, 2)."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv4Address):
        return str(parsed)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.ip_network((parsed, 64), strict=False))
