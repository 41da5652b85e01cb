"""DTLS 1.2 for SRTP: a client and a server without I/O (RFC 6347, 5246, 5764, 7627, 8422)."""

from trioice.dtls.association import State
from trioice.dtls.certificate import Certificate, Fingerprint
from trioice.dtls.client import DtlsClient
from trioice.dtls.drops import Drop
from trioice.dtls.handshake import Connected
from trioice.dtls.server import DtlsServer

__all__ = ["Certificate", "Connected", "Drop", "DtlsClient", "DtlsServer", "Fingerprint", "State"]
