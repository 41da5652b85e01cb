import pytest
from hypothesis import given
from hypothesis import strategies as st

from trioice.errors import Malformed
from trioice.wire import Reader, numbers, opaque, uint


@given(st.integers(1, 3), st.binary(max_size=255))
def test_what_opaque_writes_opaque_reads(size: int, octets: bytes) -> None:
    reader = Reader(opaque(size, octets))
    assert reader.opaque(size) == octets
    reader.end()


@given(st.integers(1, 8), st.data())
def test_what_uint_writes_uint_reads(size: int, data: st.DataObject) -> None:
    value = data.draw(st.integers(0, 256**size - 1))
    assert Reader(uint(size, value)).uint(size) == value


@pytest.mark.parametrize(
    "read",
    [
        lambda r: r.take(4),
        lambda r: r.uint(4),
        lambda r: r.opaque(1),
        lambda r: r.vector(1, lambda inner: inner.uint(1)),
        lambda r: r.end(),
    ],
)
def test_a_shortage_or_a_remainder_is_malformed(read) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(Malformed):
        read(Reader(b"\x05ab"))


def test_a_vector_may_not_end_within_an_item_nor_have_too_few() -> None:
    assert Reader(b"\x04\x00\x01\x00\x02").vector(1, lambda r: r.uint(2)) == [1, 2]
    with pytest.raises(Malformed):
        Reader(b"\x03\x00\x01\x00").vector(1, lambda r: r.uint(2))
    with pytest.raises(Malformed):
        Reader(b"\x00").vector(1, lambda r: r.uint(2), least=1)


def test_rest_takes_all_and_leaves_nothing() -> None:
    reader = Reader(b"abc")
    assert (reader.take(1), reader.left, reader.rest(), reader.left) == (b"a", 2, b"bc", 0)


def test_numbers_are_read_as_a_vector_would_read_them() -> None:
    assert Reader(b"\x00\x04\x00\x01\xff\xff").numbers(2) == (1, 0xFFFF)
    assert numbers((1, 0xFFFF)) == b"\x00\x04\x00\x01\xff\xff"
    for octets in (b"\x00\x03\x00\x01\xff", b"\x00\x00", b"\x00\x04\x00\x01\xff"):
        with pytest.raises(Malformed) as at_once:
            Reader(octets).numbers(2, least=1)
        with pytest.raises(Malformed) as one_by_one:
            Reader(octets).vector(2, lambda item: item.uint(2), least=1)
        assert str(at_once.value) == str(one_by_one.value)
