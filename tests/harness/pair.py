"""A caller and an endpoint over a link: a call without trio, for whoever wants to stand between the two."""

from collections.abc import Sequence

from tests.harness.caller import Caller
from tests.harness.clockwork import seeded
from tests.harness.link import Link
from trioice import dtls, sdp, srtp
from trioice.carriage import DtlsRole
from trioice.dtls.groups import CURVES
from trioice.endpoint import Endpoint, Events, Media
from trioice.ice import Credentials
from trioice.sansio import Outbox
from trioice.session import Session, SessionConfig

SERVER = ("10.0.1.1", 7000)
CALLER = ("192.0.2.1", 50000)
STRANGER = ("203.0.113.66", 6666)
REPRODUCIBLE = tuple(group for group in dtls.GROUPS if group in CURVES)
"""Groups that make the same octets of the same seed: key encapsulation has the library's own randomness."""
CERTIFICATES = [dtls.Certificate.generate(seeded(number)) for number in range(2)]


def config(
    caller: Caller,
    number: int = 1,
    role: DtlsRole = "client",
    engine: srtp.Engine = "auto",
    versions: Sequence[int] = dtls.VERSIONS,
) -> SessionConfig:
    """What a transceiver would make of the caller's offer, with the same randomness each time."""
    return SessionConfig(
        credentials=Credentials(f"server{number}", "serverPasswordOf22AndMore", caller.ufrag),
        dtls_role=role,
        dtls_versions=versions,
        dtls_groups=REPRODUCIBLE,
        certificate=CERTIFICATES[0],
        fingerprints=[caller.certificate.fingerprint()],
        profiles=tuple(srtp.PROFILES.values()),
        ssrc=number,
        cname="server",
        entropy=seeded(number),
        epoch=0.0,
        transport_address=lambda address: address[:2],  # type: ignore[index]  # here they are tuples
        engine=engine,
    )


class Pair:
    """One endpoint, and callers that dial it."""

    def __init__(self, seed: int = 0, **network: float) -> None:
        self.outbox: Outbox = []
        self.media: Media = []
        self.events: Events = []
        self.endpoint = Endpoint(outbox=self.outbox, media=self.media, events=self.events)
        self.link = Link({SERVER: (self.endpoint, self.outbox)}, seed, mtu=1500, **network)
        self.recorded: list[bytes] = []  # what callers sent

        def carries(datagram: bytes, source: object, to: object) -> bool:
            if to == SERVER:
                self.recorded.append(datagram)
            return True

        self.link.carries = carries

    def dial(
        self,
        number: int = 1,
        role: DtlsRole = "client",
        engine: srtp.Engine = "auto",
        versions: Sequence[int] = dtls.VERSIONS,
        **options: object,
    ) -> tuple[Caller, Session]:
        """Admit a session for a new caller, who begins to check; `options` are the caller's."""
        outbox: Outbox = []
        setup = "active" if role == "client" else "passive"
        caller = Caller(
            entropy=seeded(100 + number),
            outbox=outbox,
            certificate=CERTIFICATES[1],
            **options,  # type: ignore[arg-type]  # each of its own type
        )
        offer = sdp.Offer.read(caller.offer())
        session = self.endpoint.admit(config(caller, number, role, engine, versions), self.link.now)
        answer = sdp.answer(
            offer,
            ufrag=session.config.credentials.ufrag,
            pwd=session.config.credentials.pwd,
            fingerprint=CERTIFICATES[0].fingerprint(),
            setup=setup,  # type: ignore[arg-type]  # one of the two words
            candidates=[sdp.Candidate(*SERVER)],
            ssrc=number,
            cname="server",
            origin=1,
        )
        caller.answered(answer, self.link.now)
        self.link.machines[CALLER[0], CALLER[1] + number] = (caller, outbox)
        return caller, session

    def run(self, seconds: float) -> None:
        """Let time pass."""
        self.link.run_until(self.link.now + seconds)

    def inject(self, datagram: bytes, source: object = STRANGER) -> list[tuple[bytes, object]]:
        """Deliver a datagram as if `source` had sent it; what was answered to anybody, which is not delivered."""
        self.link._collect()
        self.endpoint.receive(datagram, source, self.link.now)
        answers = list(self.outbox)
        self.outbox.clear()
        return answers


def connected(number: int = 1, role: DtlsRole = "client", **options: object) -> tuple[Pair, Caller, Session]:
    """A call that has been up for a second."""
    pair = Pair()
    caller, session = pair.dial(number, role, **options)  # type: ignore[arg-type]  # each of its own type
    pair.run(2.0)
    assert session.connected
    pair.media.clear()
    pair.events.clear()
    return pair, caller, session
