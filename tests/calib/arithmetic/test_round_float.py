"""Rounding to steps in integers is the format's own rounding of the same numbers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bevel.calib.arithmetic.round_float import FloatSteps, float_steps
from bevel.calib.formats.format import parse
from bevel.calib.formats.levels import wide_levels

FORMATS = ("e3m2", "e4m3", "e2m1", "e3m4", "e4m0", "e2m3", "e4m3ieee")


def steps_of(name: str) -> FloatSteps:
    steps = float_steps(parse(name))
    assert steps is not None
    return steps


def expected(name: str, reals: np.ndarray) -> np.ndarray:
    """The format's rounding of numbers in steps."""
    levels = wide_levels(parse(name))
    assert levels is not None
    return np.rint(parse(name).round(reals * levels.unit) / levels.unit).astype(np.int64)


@pytest.mark.parametrize("fraction", [0, 1, 5])
@pytest.mark.parametrize("name", FORMATS)
def test_every_multiple_of_a_fraction_rounds_as_the_format_does(name: str, fraction: int) -> None:
    steps = steps_of(name)
    limit = min(steps.high + 3, 5000) << fraction
    fine = np.arange(-limit, limit + 1)
    np.testing.assert_array_equal(steps.round_fine(fine, fraction), expected(name, fine / 2**fraction))


@given(st.sampled_from(FORMATS), st.lists(st.integers(-(2**31), 2**31), min_size=1))
def test_large_integers_round_as_the_format_does(name: str, values: list[int]) -> None:
    steps, fine = steps_of(name), np.array(values)
    found = steps.round_fine(fine, steps.fraction)
    np.testing.assert_array_equal(found, expected(name, fine / 2**steps.fraction))
    assert (steps.round_fine(found, 0) == found).all()


@given(st.sampled_from(FORMATS), st.lists(st.floats(width=32, allow_nan=False), min_size=1))
def test_floats_round_as_the_format_does(name: str, values: list[float]) -> None:
    x = np.array(values, np.float32)
    with np.errstate(invalid="ignore", over="ignore"):
        bounded = np.clip(x.astype(np.float64), -1e9, 1e9)
    np.testing.assert_array_equal(steps_of(name).round_float(x), expected(name, bounded))


@pytest.mark.parametrize("name", FORMATS)
def test_ties_go_to_even(name: str) -> None:
    levels = wide_levels(parse(name))
    assert levels is not None
    ties = (levels.array[1:] + levels.array[:-1]) / 2
    np.testing.assert_array_equal(steps_of(name).round_float(ties.astype(np.float32)), expected(name, ties))


def test_a_nan_becomes_the_lowest_step() -> None:
    assert steps_of("e3m2").round_float(np.array([np.nan], np.float32)) == -448


@pytest.mark.parametrize("name", ["e3m2", "e4m3", "e4m7"])
def test_bits_behind_the_point_fit_their_type(name: str) -> None:
    steps = steps_of(name)
    assert steps.fraction >= 1
    assert steps.high << steps.fraction <= np.iinfo(steps.fine_dtype).max


def test_steps_of_few_bits_are_rounded_from_int16() -> None:
    assert (steps_of("e3m2").fine_dtype, steps_of("e4m3").fine_dtype) == ("int16", "int32")


@pytest.mark.parametrize("name", ["int8", "ternary", "e5m2", "bfloat16"])
def test_other_formats_have_no_such_steps(name: str) -> None:
    assert float_steps(parse(name)) is None
