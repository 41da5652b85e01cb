"""A call written down and continued, from either engine; and which engine is taken."""

import pytest

from tests.srtp.packets import SSRC, Engine, master, protected, rtcp, rtp
from trioice.errors import LocalProtocolError
from trioice.srtp import AEAD_AES_128_GCM, Drop, Profile, receiver, sender
from trioice.srtp import libsrtp as fast
from trioice.srtp.keys import MasterKey
from trioice.srtp.libsrtp import LibsrtpReceiver, LibsrtpSender
from trioice.srtp.plain import PlainReceiver, PlainSender
from trioice.srtp.streams import WINDOW


def test_a_restored_sender_goes_on_and_reuses_no_index(engine: Engine, profile: Profile) -> None:
    out, into = engine.sender(profile, master(profile)), engine.receiver(profile, master(profile))
    for packet in protected(out, range(65000, 66000)):
        assert into.unprotect(packet)
    reports = [out.protect_rtcp(rtcp()) for _ in range(5)]
    for report in reports:
        assert into.unprotect_rtcp(report or b"")
    restored = sender(profile, master(profile), out.export())
    assert restored.protect(rtp(65999)) is None  # the very same packet: what was sent is not known any more
    assert restored.protect(rtp(65999 - WINDOW // 2, payload=b"another packet")) is None
    assert restored.dropped == {Drop.REUSED: 2}
    assert into.unprotect(restored.protect(rtp(66000)) or b"") == rtp(66000)
    report = restored.protect_rtcp(rtcp())
    assert report not in reports
    assert into.unprotect_rtcp(report or b"") == rtcp()


def test_a_restored_receiver_refuses_every_index_up_to_the_highest(engine: Engine, profile: Profile) -> None:
    out, into = engine.sender(profile, master(profile)), engine.receiver(profile, master(profile))
    sealed = protected(out, range(65000, 66010))
    reports = [out.protect_rtcp(rtcp()) or b"" for _ in range(6)]
    for number, packet in enumerate(sealed[:1000]):
        assert number % 10 == 3 or into.unprotect(packet)  # every tenth is lost
    for report in reports[:5]:
        assert into.unprotect_rtcp(report)
    restored = receiver(profile, master(profile), into.export())
    assert not any(restored.unprotect(packet) for packet in sealed[:1000])
    assert not any(restored.unprotect_rtcp(report) for report in reports[:5])
    assert restored.dropped == {Drop.REPLAYED: 1005}
    assert all(restored.unprotect(packet) for packet in sealed[1000:])
    assert restored.unprotect_rtcp(reports[5])


def test_an_exported_state_is_plain_data_of_what_was_authentic(engine: Engine, profile: Profile) -> None:
    out, into = engine.sender(profile, master(profile)), engine.receiver(profile, master(profile))
    for packet in protected(out, [65530, 65540, 65535]):
        into.unprotect(packet)
    reports = [out.protect_rtcp(rtcp()) or b"" for _ in range(3)]
    for report in reversed(reports):
        assert into.unprotect_rtcp(report)
    for state in (out.export(), into.export()):
        assert (state.profile, MasterKey(state.key, state.salt)) == (profile.number, master(profile))
        assert state.rtp == {SSRC: 65540}
        assert state.rtcp == {SSRC: 2 if engine.name == "plain" else 3}
        assert state.key.hex() not in repr(state)
        assert repr(state.key) not in repr(state)


def test_a_state_of_other_keys_is_misuse() -> None:
    state = sender(AEAD_AES_128_GCM, master(AEAD_AES_128_GCM)).export()
    for make in (sender, receiver):
        with pytest.raises(LocalProtocolError):
            make(AEAD_AES_128_GCM, master(AEAD_AES_128_GCM, 2), state)


def test_auto_is_libsrtp_and_plain_where_a_state_is_continued(profile: Profile) -> None:
    out, into = sender(profile, master(profile)), receiver(profile, master(profile))
    assert isinstance(out, LibsrtpSender)
    assert isinstance(into, LibsrtpReceiver)
    assert isinstance(sender(profile, master(profile), out.export()), PlainSender)
    assert isinstance(receiver(profile, master(profile), into.export()), PlainReceiver)
    with pytest.raises(LocalProtocolError):
        sender(profile, master(profile), out.export(), engine="libsrtp")


def test_the_private_binding_is_taken_only_while_it_works(profile: Profile, monkeypatch: pytest.MonkeyPatch) -> None:
    def name() -> str | None:
        road = fast._shortest_road(profile)
        return None if road is None else road.name

    assert name() == "private"
    monkeypatch.setattr("pylibsrtp._binding.lib", object())
    assert name() == "public"
    monkeypatch.setattr("pylibsrtp.Session.protect", lambda session, packet: packet + bytes(16))
    assert name() is None
    monkeypatch.setattr(fast, "ROADS", {})
    assert isinstance(sender(profile, master(profile)), PlainSender)
