"""Lines between 16-bit codes stay within their tolerance of the function, whatever it is."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from bevel.calib.arithmetic.piecewise import LOWEST, MOST_SEGMENTS, TOLERANCE, Piecewise, evaluate, piecewise
from bevel.calib.arithmetic.requantize import Output

Reals = NDArray[np.float64]
Function = Callable[[Reals], Reals]
CODES = np.arange(2**16) + LOWEST
INT16, INT8 = Output(0, -(2**15), 2**15 - 1, "int16"), Output()


def sigmoid(x: Reals) -> Reals:
    return 1 / (1 + np.exp(-x))


SMOOTH: dict[str, Function] = {
    "silu": lambda x: x * sigmoid(x),
    "sigmoid": sigmoid,
    "tanh": np.tanh,
    "hard swish": lambda x: x * np.clip(x + 3, 0, 6) / 6,
    "mish": lambda x: x * np.tanh(np.log1p(np.exp(x))),
    "exp": np.exp,
    "square": np.square,
}
SHARP: dict[str, Function] = {
    "root of what is positive": lambda x: np.sqrt(np.maximum(x, 0)),
    "logarithm": lambda x: np.log(np.maximum(x, 1e-3)),
    "reciprocal": lambda x: np.clip(1 / np.where(x == 0, 1e-9, x), -30, 30),
    "steps": np.round,
    "sign": np.sign,
}


def in_steps(function: Function, output: Output, reach: float = 8.0) -> Reals:
    """The function of x in [-reach, reach), spread over all codes of the output."""
    y = function(CODES * (reach / 2**15))
    scale = (y.max() - y.min()) / (output.high - output.low)
    return output.low + (y - y.min()) / scale


def distance(made: Piecewise, wanted: Reals, output: Output) -> float:
    results = output.store(evaluate(CODES, made.blocks, made.ends, made.block, made.fraction))
    return float(np.abs(results - np.clip(wanted, output.low, output.high)).max())


@pytest.mark.parametrize("output", [INT16, INT8], ids=["int16", "int8"])
@pytest.mark.parametrize("function", (SMOOTH | SHARP).values(), ids=SMOOTH | SHARP)
def test_every_code_is_within_the_tolerance(function: Function, output: Output) -> None:
    wanted = in_steps(function, output)
    made = piecewise(wanted, output)
    assert distance(made, wanted, output) == pytest.approx(made.error)
    assert made.error <= TOLERANCE[output.dtype]


@pytest.mark.parametrize("function", SMOOTH.values(), ids=SMOOTH)
def test_functions_of_networks_take_less_than_three_kilobytes(function: Function) -> None:
    assert piecewise(in_steps(function, INT16), INT16).bytes < 3000


def test_straight_lines_take_the_fewest_segments_there_are() -> None:
    assert len(piecewise(0.5 * CODES, INT16).ends) == 16


def test_a_function_that_needs_too_many_segments_is_coarser_and_says_so() -> None:
    noise = np.random.default_rng(0).uniform(-30000, 30000, 2**16)
    made = piecewise(noise, INT16)
    assert len(made.ends) <= MOST_SEGMENTS
    assert made.error > 1000
    assert distance(made, noise, INT16) == pytest.approx(made.error)


def test_values_beyond_the_codes_saturate() -> None:
    wanted = np.linspace(-1e6, 1e6, 2**16)
    made = piecewise(wanted, Output(0, -1000, 1000, "int16"))
    results = evaluate(CODES, made.blocks, made.ends, made.block, made.fraction)
    assert made.error <= TOLERANCE["int16"]
    assert set(results[:30000].tolist()) == {-1000}


@given(st.lists(st.floats(-40000, 40000), min_size=2, max_size=40), st.sampled_from([INT16, INT8]))
def test_any_broken_line_is_within_the_tolerance(knots: list[float], output: Output) -> None:
    places = np.linspace(0, 2**16 - 1, len(knots))
    wanted = np.interp(np.arange(2**16), places, np.array(knots) / (2**15 / (output.high + 1)))
    made = piecewise(wanted, output)
    assert distance(made, wanted, output) <= TOLERANCE[output.dtype]
