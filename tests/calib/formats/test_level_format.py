"""Formats that are lists of values."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bevel.calib.formats.format import parse
from bevel.calib.formats.level_format import BINARY, TERNARY, LevelFormat, log_format, power_sum_format

ALL = [BINARY, TERNARY, *(log_format(bits) for bits in range(2, 9)), log_format(4, 0.5), power_sum_format(5)]
FORMATS = st.sampled_from(ALL)
REALS = st.floats(-2, 2)
every_format = pytest.mark.parametrize("format", ALL, ids=lambda one: one.name)


@every_format
def test_each_value_survives_and_fits_its_bits(format: LevelFormat) -> None:
    values = format.values()
    assert len(values) <= 2**format.bits and format.high == 1.0
    codes = format.encode(values)
    np.testing.assert_array_equal(format.decode(codes), values.astype(np.float32))
    packed = format.pack(codes)
    assert packed.nbytes == -(-len(codes) * format.bits // 8)
    np.testing.assert_array_equal(format.unpack(packed, len(codes)), codes)


@given(FORMATS, st.lists(REALS))
def test_rounding_twice_is_rounding_once(format: LevelFormat, reals: list[float]) -> None:
    once = format.round(np.array(reals))
    np.testing.assert_array_equal(format.round(once), once)


@given(FORMATS, REALS, REALS)
def test_rounding_is_monotonic(format: LevelFormat, one: float, other: float) -> None:
    low, high = format.round(np.array(sorted([one, other])))
    assert low <= high


@given(FORMATS, REALS)
def test_rounding_takes_the_nearest_value(format: LevelFormat, real: float) -> None:
    nearest = np.abs(format.values() - real).min()
    # a middle and the comparison each round once in float64
    assert abs(float(format.round(np.array(real))) - real) == pytest.approx(nearest, abs=1e-15)


def test_ties_go_to_the_even_code() -> None:
    assert TERNARY.encode(np.array([-0.5, 0.5])).tolist() == [0, 2]
    assert BINARY.encode(np.array([0.0])).tolist() == [0]


def test_logarithmic_values_are_powers_of_two() -> None:
    assert log_format(3).levels == (-1.0, -0.5, -0.25, 0.0, 0.25, 0.5, 1.0)
    np.testing.assert_allclose(log_format(4, 0.5).values()[-2:], [2**-0.5, 1.0])


def test_sums_of_powers_of_two_are_those_of_the_paper() -> None:
    # two terms of two bits: {0, 1, 1/4, 1/16} + {0, 1/2, 1/8, 1/32}, scaled by the largest sum, 3/2
    sums = sorted({a + b for a in (0, 1, 1 / 4, 1 / 16) for b in (0, 1 / 2, 1 / 8, 1 / 32)})
    np.testing.assert_allclose(power_sum_format(5).values()[15:], np.array(sums) / 1.5)


@every_format
def test_a_name_reads_back_as_its_format(format: LevelFormat) -> None:
    assert parse(format.name) == format


@pytest.mark.parametrize("levels", [(1.0,), (1.0, 0.0), (0.0, 0.0), tuple(float(n) for n in range(257))])
def test_lists_that_are_no_format_are_refused(levels: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="ascending levels"):
        LevelFormat("odd", levels)


def test_codes_outside_the_format_are_refused() -> None:
    with pytest.raises(ValueError, match="ternary"):
        TERNARY.decode(np.array([3], np.uint8))


@pytest.mark.parametrize(
    "make", [lambda: log_format(1), lambda: log_format(9), lambda: log_format(4, 0.0), lambda: power_sum_format(4)]
)
def test_impossible_formats_are_refused(make: object) -> None:
    with pytest.raises(ValueError, match="bits"):
        make()  # type: ignore[operator]
