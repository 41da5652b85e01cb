"""The codecs of handshake messages, extensions and alerts, on their own octets and on captured ones."""

import pytest

from tests.dtls.pairs import plain_records, vector
from trioice.dtls import alerts, extensions
from trioice.dtls.extensions import UseSrtp
from trioice.dtls.fragments import Fragment
from trioice.dtls.messages import (
    Body,
    CertificateChain,
    CertificateRequest,
    CertificateVerify,
    ClientHello,
    ClientKeyExchange,
    HelloVerifyRequest,
    ServerHello,
    ServerKeyExchange,
)
from trioice.errors import Malformed
from trioice.wire import Reader

RANDOM = bytes(range(32))

# Each message with the octets that the RFCs' presentation language gives it, written by hand.
EXAMPLES = [
    (
        ClientHello(
            version=0xFEFD,
            random=RANDOM,
            cookie=b"cookie",
            cipher_suites=(0xC02B, 0x00FF),
            extensions=((23, b""), (14, bytes.fromhex("0002000700"))),
        ),
        "fefd" + RANDOM.hex() + "0006636f6f6b69650004c02b00ff0100000d00170000000e00050002000700",
    ),
    (HelloVerifyRequest(0xFEFF, b"ab"), "feff026162"),
    (
        ServerHello(version=0xFEFD, random=RANDOM, session_id=b"id", cipher_suite=0xCCA9, extensions=((23, b""),)),
        "fefd" + RANDOM.hex() + "026964cca900000400170000",
    ),
    (ServerHello(version=0xFEFD, random=RANDOM, cipher_suite=0xC02B), "fefd" + RANDOM.hex() + "00c02b00"),
    (CertificateChain((b"der", b"issuer")), "00000f000003646572000006697373756572"),
    (CertificateChain(()), "000000"),
    (ServerKeyExchange(29, b"key", 0x0403, b"sig"), "03001d036b657904030003736967"),
    (CertificateRequest(b"\x40\x01", (0x0403, 0x0804)), "0240010004040308040000"),
    (ClientKeyExchange(b"key"), "036b6579"),
    (CertificateVerify(0x0403, b"sig"), "04030003736967"),
]
IDS = [f"{type(message).__name__}-{number}" for number, (message, _) in enumerate(EXAMPLES)]


@pytest.mark.parametrize(("message", "octets"), EXAMPLES, ids=IDS)
def test_a_message_is_written_and_read(message: ClientHello, octets: str) -> None:
    assert message.octets().hex() == octets
    assert type(message).read(bytes.fromhex(octets)) == message


@pytest.mark.parametrize(("message", "octets"), EXAMPLES, ids=IDS)
def test_a_message_cut_short_or_too_long_is_malformed(message: Body, octets: str) -> None:
    whole = bytes.fromhex(octets)
    # A hello may end before its extensions.
    without_extensions = len(whole) - len(extensions.octets(getattr(message, "extensions", ())))
    for length in {*range(len(whole))} - {without_extensions}:
        with pytest.raises(Malformed):
            type(message).read(whole[:length])
    with pytest.raises(Malformed):
        type(message).read(whole + b"\0")


def test_the_authorities_of_a_certificate_request_are_read_over() -> None:
    request = CertificateRequest.read(bytes.fromhex("01400002040300060004") + b"name")
    assert request == CertificateRequest(b"\x40", (0x0403,))


def test_a_key_exchange_that_is_not_on_a_named_curve_is_malformed() -> None:
    with pytest.raises(Malformed):
        ServerKeyExchange.read(bytes.fromhex("01001d036b657904030003736967"))


def test_an_extension_that_stands_twice_is_malformed() -> None:
    with pytest.raises(Malformed):
        extensions.read(Reader(extensions.octets(((23, b""), (14, b""), (23, b"")))))


def test_use_srtp_is_written_and_read() -> None:
    value = UseSrtp((7, 1), b"k")
    assert value.octets().hex() == "000400070001016b"
    assert UseSrtp.read(value.octets()) == value
    for octets in ("000000", "000300070000", "00020007", "000200070000"):
        with pytest.raises(Malformed):
            UseSrtp.read(bytes.fromhex(octets))


@pytest.mark.parametrize("value", ["", "00", "0000", "0003000100", "00020001ff", "0001"])
def test_a_list_of_numbers_that_does_not_fit_its_length_is_malformed(value: str) -> None:
    with pytest.raises(Malformed):
        extensions.read_numbers(bytes.fromhex(value))


@pytest.mark.parametrize("browser", ["chromium", "firefox"])
def test_the_client_hello_of_a_browser_survives_a_round_trip(browser: str) -> None:
    fragments = [
        Fragment.read(Reader(record.payload))
        for datagram in vector(f"client_hello_{browser}.hex")
        for record in plain_records(datagram)
    ]
    assert [fragment.offset for fragment in fragments] == [0, len(fragments[0].octets)]
    body = b"".join(fragment.octets for fragment in fragments)
    assert len(body) == fragments[0].length
    hello = ClientHello.read(body)
    assert hello.octets() == body
    assert hello.version == 0xFEFD
    versions = hello.extension(extensions.SUPPORTED_VERSIONS)
    groups = hello.extension(extensions.SUPPORTED_GROUPS)
    assert versions is not None
    assert groups is not None
    assert extensions.read_numbers(versions, size=1)[:2] == [0xFEFC, 0xFEFD]
    assert extensions.read_numbers(groups)[:2] == [0x11EC, 29]


def test_an_alert_is_written_read_and_named() -> None:
    assert alerts.read(alerts.alert(alerts.FATAL, alerts.Alert.DECRYPT_ERROR)) == (2, 51)
    assert [alerts.read(octets) for octets in (b"", b"\x02", b"\x02\x33\x00")] == [None, None, None]
    assert (alerts.name(51), alerts.name(199)) == ("decrypt_error", "alert 199")
