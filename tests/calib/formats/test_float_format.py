"""Minifloats: bit for bit ml_dtypes where it has the type, and by property everywhere."""

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bevel.calib.formats.float_format import BFLOAT16, E2M1, E4M3, E5M2, FLOAT16, NAMED, FloatFormat, parse_float
from bevel.calib.formats.format import parse

STANDARD = {
    "e2m1": "float4_e2m1fn",
    "e2m3": "float6_e2m3fn",
    "e3m2": "float6_e3m2fn",
    "e4m3": "float8_e4m3fn",
    "e5m2": "float8_e5m2",
    "e4m3ieee": "float8_e4m3",
    "e3m4ieee": "float8_e3m4",
    "bfloat16": "bfloat16",
}
SMALL = [
    FloatFormat(exponent, mantissa)
    for exponent in range(1, 8)
    for mantissa in range(7)
    if 3 <= exponent + mantissa + 1 <= 8
]
SMALL += [FloatFormat(3, 3, given_bias=0), FloatFormat(2, 2, "nan"), FloatFormat(3, 2, "ieee")]
FORMATS = st.sampled_from([*SMALL, *NAMED.values()])
REALS = st.floats(-1e4, 1e4, width=32)
every_small = pytest.mark.parametrize("format", SMALL, ids=lambda one: one.name)


@pytest.mark.parametrize("name", STANDARD)
def test_codes_and_values_are_those_of_ml_dtypes(name: str) -> None:
    format, element = parse_float(name), np.dtype(getattr(ml_dtypes, STANDARD[name]))
    values = format.values()
    halfway = (values[1:] + values[:-1]) / 2
    random = np.random.default_rng(0).standard_normal(20000) * np.repeat([1e-3, 1, 10, 100], 5000)
    x = np.clip(np.concatenate([values, halfway, random]), -format.high, format.high).astype(np.float32)
    expected = x.astype(element)
    np.testing.assert_array_equal(format.round(x), expected.astype(np.float64))
    np.testing.assert_array_equal(format.encode(x), expected.view(f"uint{8 * element.itemsize}"))
    np.testing.assert_array_equal(format.decode(format.encode(x)), expected.astype(np.float32))


def test_float16_is_numpys() -> None:
    x = np.random.default_rng(1).standard_normal(20000).astype(np.float32) * 1000
    np.testing.assert_array_equal(FLOAT16.encode(x), x.astype(np.float16).view(np.uint16))


@pytest.mark.parametrize(
    ("format", "high"),
    [(E2M1, 6.0), (E4M3, 448.0), (E5M2, 57344.0), (BFLOAT16, float(ml_dtypes.finfo("bfloat16").max))],
)
def test_reals_beyond_the_largest_value_saturate(format: FloatFormat, high: float) -> None:
    np.testing.assert_array_equal(format.round(np.array([3e38 * 10, -np.inf])), [high, -high])


@every_small
def test_a_format_has_at_most_its_codes_and_each_value_survives(format: FloatFormat) -> None:
    values = format.values()
    assert len(values) <= 2**format.bits and (np.diff(values) > 0).all()
    codes = format.encode(values)
    np.testing.assert_array_equal(format.decode(codes), values)
    np.testing.assert_array_equal(format.unpack(format.pack(codes), len(codes)), codes)


@pytest.mark.parametrize("format", [one for one in SMALL if one.mantissa], ids=lambda one: one.name)
def test_ties_go_to_the_even_mantissa(format: FloatFormat) -> None:
    values = format.values()
    rounded = format.round((values[1:] + values[:-1]) / 2)
    assert not (format.encode(rounded) & 1).any()


def test_ties_between_powers_of_two_go_up() -> None:
    np.testing.assert_array_equal(FloatFormat(3, 0).round(np.array([1.5, -3.0])), [2.0, -4.0])


@given(FORMATS, st.lists(REALS))
def test_rounding_twice_is_rounding_once(format: FloatFormat, reals: list[float]) -> None:
    once = format.round(np.array(reals))
    np.testing.assert_array_equal(format.round(once), once)
    np.testing.assert_array_equal(format.decode(format.encode(once)), once)


@given(FORMATS, REALS, REALS)
def test_rounding_is_monotonic(format: FloatFormat, one: float, other: float) -> None:
    low, high = format.round(np.array(sorted([one, other])))
    assert low <= high


@given(st.sampled_from(SMALL), REALS)
def test_rounding_takes_the_nearest_value(format: FloatFormat, real: float) -> None:
    values = format.values()
    assert abs(float(format.round(np.array(real))) - real) == np.abs(values - real).min()


@pytest.mark.parametrize("format", [*SMALL, *NAMED.values()], ids=lambda one: one.name)
def test_a_name_reads_back_as_its_format(format: FloatFormat) -> None:
    assert parse(format.name) == format


@pytest.mark.parametrize("code", [0x7F, 0xFF])
def test_nan_has_no_value(code: int) -> None:
    with pytest.raises(ValueError, match="no finite e4m3"):
        E4M3.decode(np.array([code], np.uint8))


@pytest.mark.parametrize(("exponent", "mantissa"), [(0, 3), (9, 2), (1, 0), (8, 10)])
def test_impossible_splits_are_refused(exponent: int, mantissa: int) -> None:
    with pytest.raises(ValueError, match="no float format"):
        FloatFormat(exponent, mantissa)
