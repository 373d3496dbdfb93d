"""Floats that are found for outputs rescale every sum of products as the integer rule does."""

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bevel.backends.cpu.x86 import floats
from bevel.backends.cpu.x86.floats import BITS, Floats
from bevel.calib.arithmetic.requantize import Output, requantize

OUTPUTS = [Output(-128), Output(5), Output(-7, -128, 90), Output(0, -20, 127), Output(3, even=True)]


def found(bias: int, span: int, multiplier: int, shift: int, output: Output) -> Floats:
    words = (np.array([bias], np.int32), np.array([span], np.int64), np.array([multiplier], np.int32))
    return floats.found(*words, np.array([shift], np.int8), output)


def in_floats(one: Floats, total: int, output: Output) -> int:
    """What a fused multiplication and addition, a subtraction and saturation make of a sum."""
    word = np.array([int(one.start[0]) + total], np.int64).astype(np.int32)
    exact = Fraction(float(word.view(np.float32)[0])) * Fraction(float(one.scale[0])) + Fraction(float(one.added[0]))
    assert exact > 0  # patterns of positive floats are ordered as they are
    rounded = round(exact) if exact < 2**24 else 2**24
    return min(max(rounded - floats.MIDDLE, output.low), output.high)


def by_rule(bias: int, total: int, multiplier: int, shift: int, output: Output) -> int:
    rest: list[Any] = [np.array([one]) for one in (bias + total, multiplier, shift)]
    return int(requantize(*rest, output)[0])


@given(
    st.integers(-(2**28), 2**28), st.integers(0, 2**23), st.floats(-26, 0.9), st.data(), st.sampled_from(OUTPUTS)
)  # fmt: skip
def test_what_is_found_equals_the_rule(bias: int, span: int, ratio: float, data: st.DataObject, output: Output) -> None:
    """Around each sum where a result begins, at the ends, and anywhere."""
    multiplier, shift = data.draw(st.integers(2**30, 2**31 - 1)), int(30 - ratio)
    bias = bias if data.draw(st.booleans()) else bias % 2**16
    one = found(bias, span, multiplier, shift, output)
    if not one.exact[0]:
        return
    begins = [((2 * result - 1) * 2**shift // (2 * multiplier)) - bias for result in floats.results(output).tolist()]
    near = {total + beside for total in begins for beside in (-1, 0, 1, 2)}
    for total in {*near, -span, span, 0, data.draw(st.integers(-span, span))}:
        if -span <= total <= span:
            assert in_floats(one, total, output) == by_rule(bias, total, multiplier, shift, output)


def test_layers_like_those_of_networks_are_found() -> None:
    """Of 256 outputs, cut off at 0, whose multipliers have all their bits."""
    rng = np.random.default_rng(0)
    n = 256
    bias, span = rng.integers(-(2**15), 2**15, n, dtype=np.int32), rng.integers(2**18, 2**21, n)
    multiplier = rng.integers(2**30, 2**31 - 1, n).astype(np.int32)
    assert floats.found(bias, span, multiplier, np.full(n, 40, np.int8), Output(-128)).exact.all()


@pytest.mark.parametrize(("bias", "value"), [(2**28, 127), (-(2**28), -128), (1000, 4)])
def test_outputs_without_weights_are_constants(bias: int, value: int) -> None:
    one = found(bias, 0, 2**30 + 12345, 40, Output(3))
    assert one.exact[0] and (one.start[0], one.scale[0]) == (BITS, 0) and one.added[0] == floats.MIDDLE + value


def test_outputs_that_are_multiplied_by_nothing_are_their_zero_point() -> None:
    one = found(1 << 27, 2**24, 0, 62, Output(-9))
    assert one.exact[0] and one.scale[0] == 0 and one.added[0] == floats.MIDDLE - 9


@pytest.mark.parametrize(("span", "ratio"), [(2**29, 2.0**-10), (2**23, 2.0**-16), (100, 2.0)])
def test_sums_or_scales_beyond_floats_are_not_found(span: int, ratio: float) -> None:
    assert not found(0, span, 2**30, int(30 - np.log2(ratio)), Output()).exact[0]
