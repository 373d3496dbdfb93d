"""Blocks that share a power of two: integers equal reals, and no exponent would have served a block better."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bevel.calib.formats.format import parse
from bevel.calib.formats.mx import MxRounding, mx_rounding, round_reals
from bevel.calib.formats.tensor_format import MX_BLOCK, BlockFormat, parse_tensor_format

NAMES = ("e2m1", "e2m3", "e3m2", "int8")
TYPES = {"e2m1": ml_dtypes.float4_e2m1fn, "e2m3": ml_dtypes.float6_e2m3fn, "e3m2": ml_dtypes.float6_e3m2fn}


def rounding(name: str) -> MxRounding:
    found = mx_rounding(BlockFormat(parse(name), MX_BLOCK, "e8m0"))
    assert found is not None
    return found


def parts(made: MxRounding, shape: tuple[int, ...], seed: int) -> np.ndarray:
    """Blocks of all sizes, with many ties."""
    rng = np.random.default_rng(seed)
    size = 2.0 ** rng.uniform(0, np.log2(made.limit), (shape[0], *[1] * (len(shape) - 1)))
    normal = np.rint(rng.standard_normal(shape) * size)
    ties = rng.integers(-64, 65, shape) << rng.integers(0, 14, shape)
    mixed = np.where(rng.random(shape) < 0.4, ties, normal)
    return np.clip(mixed, -made.limit, made.limit).astype(np.int32)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("shape", "axis"), [((6, 70, 3), 1), ((5, 4, 32), -1), ((40, 3), 0), ((3, 1), 1)])
def test_integers_are_rounded_as_reals_are(name: str, shape: tuple[int, ...], axis: int) -> None:
    made = rounding(name)
    q = parts(made, shape, seed=len(name) + axis)
    # Exponents below 0 are left to reals: larger numbers have none.
    large = np.where(np.abs(q) < 2 ** (made.fraction + made.top + 1), 0, q)
    steps = made.round(large, axis)
    assert steps.dtype == np.int16 and steps.shape == shape
    unit = round_reals(large / 2.0**made.fraction, parse(name), axis)
    fits = np.abs(unit) <= made.largest << made.exponents
    assert fits.mean() > 0.9
    assert np.array_equal(steps[fits], unit[fits])


@pytest.mark.parametrize("name", NAMES)
def test_a_rounded_tensor_stays_as_it_is(name: str) -> None:
    made = rounding(name)
    steps = made.round(parts(made, (20, 70), seed=1), 1)
    again = made.round(steps.astype(np.int32) << made.fraction, 1)
    assert np.array_equal(again, steps)
    reals = round_reals(np.random.default_rng(1).standard_normal((9, 70)), parse(name), 1)
    assert np.array_equal(round_reals(reals, parse(name), 1), reals)


@pytest.mark.parametrize("name", NAMES)
def test_the_largest_values_saturate_at_the_limit(name: str) -> None:
    made = rounding(name)
    q = np.array([[made.limit, -made.limit, 0, 1]], np.int32)
    assert made.round(q, 1)[0, :2].tolist() == [made.largest << made.exponents, -(made.largest << made.exponents)]
    assert made.parts(np.array([1e30, -1e30, 0.0]), 2.0**-10).tolist() == [made.limit, -made.limit, 0]


@given(st.lists(st.integers(-(12 << 17), 12 << 17), min_size=1, max_size=MX_BLOCK))
def test_no_other_exponent_is_better_for_a_block(values: list[int]) -> None:
    made = rounding("e2m1")
    q = np.array([values], np.int64)

    def error(steps: np.ndarray) -> int:
        return int(np.square((steps.astype(np.int64) << made.fraction) - q).sum())

    def by(exponent: int) -> np.ndarray:
        shift = np.array([[exponent + made.fraction]])
        return np.sign(q) * made.elements(np.abs(q), shift) >> made.fraction

    assert error(made.round(q, 1)) <= min(error(by(exponent)) for exponent in range(made.exponents + 1))


@pytest.mark.parametrize("name", TYPES)
def test_elements_and_their_ties_are_those_of_ml_dtypes(name: str) -> None:
    made = rounding(name)
    smallest = float(parse(name).values()[parse(name).values() > 0][0])
    q = np.arange(0, (made.largest << made.fraction) + 1, 8)
    steps = made.elements(q, np.array(made.fraction)) >> made.fraction
    wanted = (q / 2.0**made.fraction * smallest).astype(TYPES[name]).astype(np.float64) / smallest
    assert np.array_equal(steps, wanted)


def test_searching_the_exponent_beats_the_rule_of_the_specification_where_it_clips() -> None:
    x = np.random.default_rng(2).standard_normal((200, 32))
    x *= 7.9 / np.abs(x).max(axis=1, keepdims=True)
    plain = parse("e2m1").round(x)  # its largest element is 6
    found = round_reals(x, parse("e2m1"), 1)
    assert np.square(found - x).sum() < 0.9 * np.square(plain - x).sum()


def test_a_step_is_a_power_of_two_with_room_above_what_was_seen() -> None:
    made = rounding("e2m1")
    for largest in (1e-6, 0.3, 1.0, 77.0):
        step = made.step(largest)
        assert np.frexp(step)[0] == 0.5
        assert 2 <= made.limit * step / 2**made.fraction / largest <= 4
    assert made.step(0.0) == 1.0


def test_formats_beyond_int16_have_no_blocks() -> None:
    for name in ("mxfp8", "mxfp8e5m2", "nvfp4", "int4:block32"):
        format = parse_tensor_format(name)
        assert isinstance(format, BlockFormat) and mx_rounding(format) is None
    assert rounding("int8") == MxRounding(6, 127, 8)
    with pytest.raises(ValueError, match="int16"):
        MxRounding(1, 12, 12)
    with pytest.raises(ValueError, match="NaN"):
        round_reals(np.array([[np.nan]]), parse("e2m1"), 1)
