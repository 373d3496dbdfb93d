"""Formats as integers times a unit: exact where they say so, and none where int8 is too small."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bevel.calib.formats.format import parse
from bevel.calib.formats.levels import integer_levels, nearest, wide_levels

EXACT = {
    "int2": (2, 1),
    "int8": (128, 1),
    "uint7": (127, 1),
    "binary": (1, 1),
    "ternary": (1, 1),
    "e2m1": (12, 0.5),
    "e2m3": (60, 0.125),
    "e3m0": (64, 0.25),
    "log3": (4, 0.25),
    "log4": (64, 2.0**-6),
    "apot5k2": (48, 1 / 48),
}


@pytest.mark.parametrize(("name", "expected"), EXACT.items(), ids=EXACT)
def test_values_are_steps_times_the_unit(name: str, expected: tuple[int, float]) -> None:
    format, levels = parse(name), integer_levels(parse(name))
    assert (np.abs(levels.array).max(), levels.unit) == pytest.approx(expected)
    np.testing.assert_allclose(levels.array * levels.unit, format.values(), rtol=1e-12)


@pytest.mark.parametrize("name", ["uint8", "int9", "e3m2", "e4m3", "e5m2", "log5", "log4s0.5", "apot7k2", "bfloat16"])
def test_formats_beyond_int8_have_no_levels(name: str) -> None:
    assert integer_levels(parse(name)) is None


@given(st.sampled_from(sorted(EXACT)), st.lists(st.floats(-300, 300), min_size=1))
def test_nearest_step_is_a_step_and_none_is_nearer(name: str, reals: list[float]) -> None:
    format, levels, x = parse(name), integer_levels(parse(name)), np.array(reals)
    found = nearest(x, format, levels)
    assert np.isin(found, levels.array).all()
    least = np.abs(x[:, np.newaxis] - levels.array).min(axis=1)
    np.testing.assert_allclose(np.abs(x - found), least, atol=1e-9)


@pytest.mark.parametrize(
    ("name", "largest", "unit"),
    [
        ("e3m2", 448, 2**-4),
        ("e4m3", 229376, 2**-9),
        ("e2m1", 12, 0.5),
        ("log5", 2**14, 2**-14),
        ("apot7k2", 448, 1 / 448),
    ],
)
def test_wide_levels_are_multiples_of_the_smallest_value(name: str, largest: int, unit: float) -> None:
    levels = wide_levels(parse(name))
    assert levels is not None and (levels.unit, levels.steps[-1]) == pytest.approx((unit, largest))
    np.testing.assert_allclose(levels.array * levels.unit, parse(name).values(), rtol=1e-12)


@pytest.mark.parametrize("name", ["e5m2", "bfloat16", "log4s0.5", "log6", "ternary", "int12"])
def test_formats_with_steps_beyond_float32_have_no_wide_levels(name: str) -> None:
    assert wide_levels(parse(name)) is None
