"""Integer formats of every width, exhaustively where the format is small and by property elsewhere."""

import ml_dtypes
import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bevel.calib.formats.format import INT4, INT8, UINT4, IntFormat, parse

ALL = [IntFormat(bits, signed) for bits in range(1, 17) for signed in (True, False) if bits > signed]
FORMATS = st.sampled_from(ALL)
REALS = st.floats(-1e6, 1e6, width=32)
every_format = pytest.mark.parametrize("format", ALL, ids=lambda one: one.name)


@every_format
def test_a_format_has_exactly_its_codes(format: IntFormat) -> None:
    values = format.values()
    assert len(values) == 2**format.bits
    assert (values[0], values[-1]) == (format.low, format.high)
    assert 0 in values


@every_format
def test_codes_use_the_smallest_type_that_holds_them(format: IntFormat) -> None:
    codes = format.encode(format.values())
    assert codes.dtype.itemsize == (1 if format.bits <= 8 else 2)
    assert (codes.dtype.kind == "i") == format.signed


@every_format
def test_every_value_survives_encode_pack_unpack_decode(format: IntFormat) -> None:
    codes = format.encode(format.values())
    packed = format.pack(codes)
    assert packed.nbytes == -(-len(codes) * format.bits // 8)
    np.testing.assert_array_equal(format.unpack(packed, len(codes)), codes)
    np.testing.assert_array_equal(format.decode(codes), format.values())


@given(FORMATS, st.lists(st.integers(0, 2**16 - 1), max_size=40))
def test_any_number_of_codes_survives_packing(format: IntFormat, raw: list[int]) -> None:
    codes = np.array([format.low + one % 2**format.bits for one in raw], format.dtype)
    unpacked = format.unpack(format.pack(codes), len(codes))
    assert unpacked.dtype == codes.dtype
    np.testing.assert_array_equal(unpacked, codes)


@given(FORMATS, st.lists(REALS))
def test_rounding_twice_is_rounding_once(format: IntFormat, reals: list[float]) -> None:
    once = format.round(np.array(reals, np.float32))
    np.testing.assert_array_equal(format.round(once), once)
    np.testing.assert_array_equal(format.decode(format.encode(once)), once)


@given(FORMATS, REALS, REALS)
def test_rounding_is_monotonic(format: IntFormat, one: float, other: float) -> None:
    low, high = format.round(np.array(sorted([one, other])))
    assert low <= high


@given(FORMATS, REALS)
def test_rounding_takes_the_nearest_value(format: IntFormat, real: float) -> None:
    values = format.values()
    assert abs(float(format.round(np.array(real))) - real) == np.abs(values - real).min()


@every_format
def test_ties_go_to_the_even_neighbour(format: IntFormat) -> None:
    ties = np.arange(format.low, format.high) + 0.5
    assert not (format.round(ties) % 2).any()


@pytest.mark.parametrize("name", ["INT4", "UINT4"])
def test_four_bits_pack_as_onnx_packs_them(name: str) -> None:
    format = INT4 if name == "INT4" else UINT4
    codes = np.arange(format.low, format.high, dtype=format.dtype)  # 15 of them: the last byte is half empty
    element = getattr(ml_dtypes, name.lower())
    reference = onnx.numpy_helper.from_array(codes.astype(element))
    assert reference.data_type == getattr(onnx.TensorProto, name)
    assert format.pack(codes).tobytes() == reference.raw_data


def test_eight_and_sixteen_bits_pack_as_little_endian_memory() -> None:
    for format in (INT8, IntFormat(16, True)):
        codes = format.encode(format.values())
        assert format.pack(codes).tobytes() == codes.astype(codes.dtype.newbyteorder("<")).tobytes()


def test_three_bits_fill_bytes_from_the_lowest_bit() -> None:
    assert IntFormat(3, False).pack(np.array([1, 2, 3], np.uint8)).tolist() == [0b11_010_001, 0]


@every_format
def test_a_name_reads_back_as_its_format(format: IntFormat) -> None:
    assert parse(format.name) == format


@pytest.mark.parametrize("name", ["int1", "int17", "uint17", "float8", "int", "uint08", "int-4", "log", "e4", ""])
def test_an_unknown_name_is_refused_with_what_exists(name: str) -> None:
    with pytest.raises(ValueError, match=r"no format .*such as int4"):
        parse(name)


@pytest.mark.parametrize("codes", [np.array([8], np.int8), np.array([-9], np.int8), np.array([1.0])])
def test_codes_outside_the_format_are_refused(codes: np.ndarray) -> None:
    for use in (INT4.pack, INT4.decode):
        with pytest.raises(ValueError, match="int4"):
            use(codes)


def test_missing_bytes_are_refused() -> None:
    with pytest.raises(ValueError, match="3 codes of 4 bits need 2 bytes, not 1"):
        INT4.unpack(np.zeros(1, np.uint8), 3)
