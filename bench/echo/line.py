"""One call of the load: its caller, a whole one of the client cores, its address, and its server's."""

import http.client
import os
import re
import time
from collections.abc import Callable
from ipaddress import IPv4Address
from typing import Any, Final
from urllib.parse import urlsplit

from tests.harness.caller import Caller
from trioice import dtls, srtp, stun
from trioice.ports import transport_address
from trioice.sansio import NEVER, Outbox

FIRST_HOST: Final = int(IPv4Address("127.16.0.1"))
CONNECT: Final = 20.0
"""Seconds for one call to come about."""
PASSWORD: Final = b"callerPasswordOf22AndMore"
"""Of every caller of the harness: full agents check us, too."""


class Line:
    """One call. It writes datagrams to its `outbox`, and waits only for HTTP."""

    def __init__(self, index: int, port: int, certificate: dtls.Certificate, profile: srtp.Profile) -> None:
        self.index = index
        self.host = str(IPv4Address(FIRST_HOST + index))
        self.server = ("", 0)
        self.outbox: Outbox = []
        self.called = NEVER
        self.ended = False
        self._port = port
        self._profile = profile
        self._resource = ""
        self._netloc = ""
        self._keys: tuple[srtp.MasterKey, srtp.MasterKey] | None = None
        self.caller = Caller(
            entropy=os.urandom, outbox=self.outbox, certificate=certificate, profiles=[profile], talks=False
        )

    @property
    def is_connected(self) -> bool:
        """Whether its DTLS handshake is over."""
        return self.caller.connected_at < NEVER

    @property
    def keys(self) -> tuple[srtp.MasterKey, srtp.MasterKey]:
        """Ours and theirs."""
        if self._keys is None:
            assert self.caller.dtls is not None
            material = self.caller.dtls.export(srtp.EXTRACTOR, srtp.material_length(self._profile))
            client, server = srtp.split(self._profile, material)
            self._keys = (client, server) if isinstance(self.caller.dtls, dtls.DtlsClient) else (server, client)
        return self._keys

    @keys.setter
    def keys(self, keys: tuple[srtp.MasterKey, srtp.MasterKey]) -> None:
        self._keys = keys

    def call(self, address: str) -> None:
        """POST the offer; it names our address and SSRC, which some need to be told."""
        offer = self.caller.offer() + (
            f"a=candidate:1 1 udp 2130706431 {self.host} {self._port} typ host\r\n"
            f"a=end-of-candidates\r\na=ssrc:{self.caller.ssrc} cname:caller\r\n"
        )
        self._netloc = urlsplit(address).netloc
        try:
            status, answer, self._resource = self._ask("POST", "/calls", offer)
        except (OSError, http.client.HTTPException) as error:
            raise LookupError(f"call {self.index} is not answered: {error!r}") from error
        found = re.search(r"a=candidate:\S+ 1 udp \d+ (\S+) (\d+) typ host", answer)
        if status != 201 or found is None:
            raise LookupError(f"call {self.index} is refused, {status}: {answer}")
        self.server = found[1], int(found[2])
        self.called = time.monotonic()
        self.caller.answered(answer, self.called)

    def receive(self, datagram: bytes, source: Any, now: float) -> None:
        """Take what is not media; full agents want their checks answered."""
        if datagram[:2] == stun.BINDING_REQUEST.to_bytes(2, "big"):
            self._answer(datagram, source)
        else:
            self.caller.receive(datagram, source, now)

    def check(self) -> bytes:
        """Make the check that keeps consent."""
        if not self.is_connected:  # at a mirror
            return stun.encode(stun.BINDING_REQUEST, os.urandom(12), [], key=PASSWORD)
        self.caller.check(time.monotonic())
        datagram, _ = self.outbox.pop()
        return datagram

    def hang_up(self, flush: Callable[[], None]) -> None:
        """Say goodbye by DTLS, and then by HTTP, which may find that the call is gone."""
        self.ended = True
        self.caller.close(time.monotonic())
        flush()
        self._ask("DELETE", urlsplit(self._resource).path, "")

    def _answer(self, request: bytes, source: Any) -> None:
        message = stun.decode(request)
        if message is not None:
            mapped = (stun.XOR_MAPPED_ADDRESS, stun.xor_address(transport_address(source), message.transaction_id))
            self.outbox.append(
                (stun.encode(stun.BINDING_SUCCESS, message.transaction_id, [mapped], key=PASSWORD), source)
            )

    def _ask(self, verb: str, path: str, body: str) -> tuple[int, str, str]:
        connection = http.client.HTTPConnection(self._netloc, source_address=(self.host, 0), timeout=CONNECT)
        try:
            connection.request(verb, path, body, {"Content-Type": "application/sdp"})
            response = connection.getresponse()
            return response.status, response.read().decode(), response.headers.get("Location", "")
        finally:
            connection.close()
