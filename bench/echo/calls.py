"""Calls of the load: each made by the client cores of the tests with real ICE and DTLS; then load.c moves their packets.

All share one socket; each has an address of its own out of 127.16.0.0/12 (IP_PKTINFO), which it also signals from.
"""

import ctypes
import os
import random
import socket
import struct
import subprocess
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

import pylibsrtp
from pylibsrtp import _binding

from bench.echo.line import CONNECT, FIRST_HOST, Line
from trioice import dtls, srtp
from trioice.agenda import Agenda

AT_ONCE: Final = 4
"""Calls that are being set up at the same time."""
BUFFER: Final = 4 << 20
"""Octets of socket buffer, by privilege where we have it."""
LATE: Final = 0.02
"""Seconds: a packet of the load that leaves later than that leaves after its next one should have."""
QUIET: Final = 0.5
"""Seconds without any echo after which no more will come."""
POLICIES: Final = {
    srtp.AEAD_AES_128_GCM: pylibsrtp.Policy.SRTP_PROFILE_AEAD_AES_128_GCM,
    srtp.AEAD_AES_256_GCM: pylibsrtp.Policy.SRTP_PROFILE_AEAD_AES_256_GCM,
    srtp.AES128_CM_SHA1_80: pylibsrtp.Policy.SRTP_PROFILE_AES128_CM_SHA1_80,
}

_IP_PKTINFO: Final = getattr(socket, "IP_PKTINFO", 8)  # not in Python 3.11's socket
_SNDBUFFORCE, _RCVBUFFORCE = 32, 33
_PKTINFO: Final = struct.Struct("@i4s4s")
_HANDS: Final = 64
_SPACE: Final = 2048


class _Call(ctypes.Structure):
    """`struct call` of load.c."""

    _fields_ = (
        ("sender", ctypes.c_void_p),
        ("receiver", ctypes.c_void_p),
        ("server", ctypes.c_uint8 * 16),
        ("host", ctypes.c_uint8 * 4),
        ("ssrc", ctypes.c_uint32),
        ("check_length", ctypes.c_uint32),
        ("phase", ctypes.c_double),
        ("check", ctypes.c_uint8 * 256),
    )


class _Handed(ctypes.Structure):
    """`struct handed` of load.c."""

    _fields_ = (
        ("call", ctypes.c_uint32),
        ("length", ctypes.c_uint32),
        ("source", ctypes.c_uint8 * 16),
        ("octets", ctypes.c_uint8 * _SPACE),
    )


_COUNTS: Final = (
    "sent",
    "unsent",
    "echoed",
    "twice",
    "forged",
    "strange",
    "checks",
    "answers",
    "reports",
    "lost_here",
)
_TIMES: Final = ("echo_50", "echo_99", "late_50", "late_99")


class Outcome(ctypes.Structure):
    """What one measurement gave: packets, and quantiles in seconds. `struct outcome` of load.c."""

    _fields_ = (*((name, ctypes.c_uint64) for name in _COUNTS), *((name, ctypes.c_double) for name in _TIMES))

    sent: int
    unsent: int
    echoed: int
    twice: int
    forged: int
    strange: int
    lost_here: int
    echo_50: float
    echo_99: float
    late_50: float
    late_99: float

    @property
    def on_time(self) -> bool:
        """Whether the load itself kept its pace: else delay and loss may be its own doing."""
        return self.late_99 < LATE

    @property
    def lost(self) -> float:
        """Share of the packets that did not come back, but for those that the load itself lost."""
        return 1 - (self.echoed + self.lost_here + self.unsent) / max(self.sent, 1)


def compile_load(folder: Path) -> str:
    """Compile load.c into a library in `folder`."""
    library, source = folder / "load.so", Path(__file__).with_name("load.c")
    subprocess.run(["gcc", "-O2", "-Wall", "-Wextra", "-shared", "-fPIC", "-o", str(library), str(source)], check=True)
    return str(library)


def phases(count: int) -> list[float]:
    """At which part of its 20 ms, 0 to 1, each of so many calls speaks: at random, the earliest first, the same each time."""
    chance = random.Random(count)
    return sorted(chance.random() for _ in range(count))


class Calls:
    """Some calls at one server. They do something only while a verb runs; LookupError in `connect`: one does not come about."""

    def __init__(self, library: str, profile: srtp.Profile) -> None:
        self._library = ctypes.CDLL(library)
        self._library.load_begin.argtypes = [ctypes.c_uint]
        self._library.load_run.argtypes = [ctypes.c_double, ctypes.c_void_p]
        self._profile = profile
        self._certificate = dtls.Certificate.generate(os.urandom)
        self._agenda: Agenda[Line] = Agenda()
        self._handed = (_Handed * _HANDS)()
        self.lines: list[Line] = []
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"lo\0")  # all addresses, this machine alone
        self._socket.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)
        for option, by_force in ((socket.SO_RCVBUF, _RCVBUFFORCE), (socket.SO_SNDBUF, _SNDBUFFORCE)):
            self._socket.setsockopt(socket.SOL_SOCKET, by_force if os.geteuid() == 0 else option, BUFFER)
        self._socket.bind(("", 0))
        self._port: int = self._socket.getsockname()[1]
        self._calls: ctypes.Array[_Call] | None = None
        self._open: list[Any] = []

    def connect(self, address: str, count: int, at_once: int = AT_ONCE) -> None:
        """Make `count` calls at the signaling at `address`, some at a time."""
        pending: list[Line] = []
        for index in range(count):
            line = self._add_line()
            line.call(address)
            self._flush(line)
            pending.append(line)
            while len(pending) >= (at_once if index + 1 < count else 1):
                self._turn(pending)
                pending = [each for each in pending if not each.is_connected]

    def mirror(self, to: tuple[str, int], count: int) -> None:
        """Make `count` calls at a mirror, which sends each packet back as it is: no ICE, no DTLS, one key for both ways."""
        for _ in range(count):
            line = self._add_line()
            key = srtp.MasterKey(os.urandom(self._profile.key_length), os.urandom(self._profile.salt_length))
            line.keys, line.server = (key, key), to

    def open(self) -> None:
        """Hand all calls to load.c."""
        library = ctypes.CDLL(_binding.__file__)
        self._calls = (_Call * len(self.lines))()
        for line, call, phase in zip(self.lines, self._calls, phases(len(self.lines)), strict=True):
            sessions = [
                _session(self._profile, key, outbound) for key, outbound in zip(line.keys, (True, False), strict=True)
            ]
            self._open.append(sessions)
            call.sender, call.receiver = (_handle(session) for session in sessions)
            host, port = line.server
            call.server[:8] = struct.pack("=H", socket.AF_INET) + struct.pack("!H", port) + socket.inet_aton(host)
            call.host[:] = socket.inet_aton(line.host)
            call.ssrc = line.caller.ssrc
            call.phase = phase
            check = line.check()
            call.check_length = len(check)
            call.check[: len(check)] = check
        self._library.load_open(
            self._socket.fileno(),
            self._calls,
            len(self.lines),
            FIRST_HOST,
            library.srtp_protect,
            library.srtp_unprotect,
        )

    def say(self, words: Sequence[bytes]) -> None:
        """Let all calls say these payloads from now on, again and again. What comes back is not compared with them."""
        octets = b"".join(word.ljust(_SPACE, b"\0") for word in words)
        self._words = octets, (ctypes.c_uint32 * len(words))(*map(len, words))
        self._library.load_words(*self._words, len(words))

    def begin(self, speaking: int) -> None:
        """Begin a measurement in which `speaking` calls speak."""
        self._library.load_begin(speaking)

    def run(self, seconds: float) -> None:
        """Send and receive for so long; full agents' checks are answered."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            for hand in self._handed[: self._library.load_run(left, self._handed)]:
                line = self.lines[hand.call]
                line.receive(bytes(hand.octets[: hand.length]), line.server, time.monotonic())
                self._send(line)

    def hush(self) -> float:
        """Speak no more, and wait for what is on its way; when the last echo had come (time.monotonic)."""
        self._library.load_hush()
        last, before = time.monotonic(), self._outcome(with_quantiles=False)
        while before.echoed < before.sent and time.monotonic() < last + QUIET:
            self.run(0.02)
            now = self._outcome(with_quantiles=False)
            if now.echoed > before.echoed:
                last, before = time.monotonic(), now
        return last

    def outcome(self) -> Outcome:
        """Tell what the measurement has given so far."""
        return self._outcome(with_quantiles=True)

    def hang_up(self) -> None:
        """End all calls that have not ended yet, by DTLS and by HTTP."""
        for line in self.lines:
            if not line.ended:
                line.hang_up(partial(self._flush, line))

    def close(self) -> None:
        """Release the socket."""
        self._socket.close()

    def _add_line(self) -> Line:
        line = Line(len(self.lines), self._port, self._certificate, self._profile)
        self.lines.append(line)
        return line

    def _outcome(self, *, with_quantiles: bool) -> Outcome:
        outcome = Outcome()
        self._library.load_outcome(ctypes.byref(outcome), int(with_quantiles))
        return outcome

    def _turn(self, pending: Sequence[Line]) -> None:
        now = time.monotonic()
        for line in pending:
            if line.caller.over or now > line.called + CONNECT:
                raise LookupError(f"call {line.index} is not connected within {CONNECT:.0f} s")
        self._wait(max(0.0, min(self._agenda.deadline - now, 0.1)))
        for line in self._agenda.due(now := time.monotonic()):
            line.caller.expire(now)
            self._flush(line)

    def _wait(self, seconds: float) -> None:
        self._socket.settimeout(seconds or 1e-6)
        try:
            while True:
                datagram, ancillary, _, source = self._socket.recvmsg(2048, 64)
                self._socket.setblocking(False)
                _, _, to = _PKTINFO.unpack(ancillary[0][2])
                index = int.from_bytes(to, "big") - FIRST_HOST
                if 0 <= index < len(self.lines):
                    self.lines[index].receive(datagram, source, time.monotonic())
                    self._flush(self.lines[index])
        except (BlockingIOError, TimeoutError):
            pass
        finally:
            self._socket.setblocking(False)

    def _flush(self, line: Line) -> None:
        self._send(line)
        self._agenda.set(line, line.caller.deadline)

    def _send(self, line: Line) -> None:
        source = (socket.IPPROTO_IP, _IP_PKTINFO, _PKTINFO.pack(0, socket.inet_aton(line.host), bytes(4)))
        for datagram, to in line.outbox:
            assert isinstance(to, tuple)
            self._socket.sendmsg([datagram], [source], 0, to)
        line.outbox.clear()


def _session(profile: srtp.Profile, key: srtp.MasterKey, outbound: bool) -> pylibsrtp.Session:
    kind = pylibsrtp.Policy.SSRC_ANY_OUTBOUND if outbound else pylibsrtp.Policy.SSRC_ANY_INBOUND
    policy = pylibsrtp.Policy(key=key.key + key.salt, ssrc_type=kind, srtp_profile=POLICIES[profile])
    policy.window_size = 1024  # what comes late is counted, not refused
    return pylibsrtp.Session(policy)


def _handle(session: pylibsrtp.Session) -> int:
    address: int = int(_binding.ffi.cast("uintptr_t", session._srtp[0]))
    return address
