"""DTLS 1.3 and 1.2 for SRTP: a client and a server without I/O (RFC 9147, 8446, 6347, 5246, 5764, 7627, 8422)."""

from trioice.dtls.association import State
from trioice.dtls.certificate import Certificate, Fingerprint
from trioice.dtls.ciphers import VERSION_1_2
from trioice.dtls.client import DtlsClient
from trioice.dtls.drops import Drop
from trioice.dtls.flights import FIRST_TIMEOUT, LEAST_TIMEOUT
from trioice.dtls.groups import GROUP_NAMES, GROUPS
from trioice.dtls.handshake import SUITE_NAMES, VERSION_1_3, VERSION_NAMES, VERSIONS, Connected, KeysDerived
from trioice.dtls.server import DtlsServer

__all__ = [
    "FIRST_TIMEOUT",
    "GROUPS",
    "GROUP_NAMES",
    "LEAST_TIMEOUT",
    "SUITE_NAMES",
    "VERSIONS",
    "VERSION_1_2",
    "VERSION_1_3",
    "VERSION_NAMES",
    "Certificate",
    "Connected",
    "Drop",
    "DtlsClient",
    "DtlsServer",
    "Fingerprint",
    "KeysDerived",
    "State",
]
