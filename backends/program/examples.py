"""Seeded operands for `Op.example`: plausible numbers with the extremes among them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from bevel.backends.program.op import Operand
from bevel.calib.arithmetic.requantize import Int8, Int32, Output, fixed_points

HALF_UP = Output()


def activations(rng: np.random.Generator, shape: tuple[int, ...]) -> Int8:
    """int8 of any value, -128 and 127 included where there is room."""
    return integers(rng, shape, "int8", 128)


def integers(rng: np.random.Generator, shape: tuple[int, ...], dtype: str, limit: int) -> NDArray[Any]:
    """From -limit to limit - 1, both included where there is room."""
    values = rng.integers(-limit, limit, shape, dtype=dtype)
    values.flat[0] = -limit
    values.flat[-1] = limit - 1 if values.size > 1 else values.flat[0]
    return values


def random_values(rng: np.random.Generator, shape: tuple[int, ...], dtype: str) -> NDArray[Any]:
    """Values over an integer dtype's whole range, its two ends included; standard normal ones for a float dtype."""
    if not np.issubdtype(dtype, np.integer):
        return np.asarray(rng.standard_normal(shape)).astype(dtype)
    limits = np.iinfo(dtype)
    values = rng.integers(limits.min, limits.max, shape, dtype=dtype, endpoint=True)
    values.flat[0], values.flat[-1] = limits.min, limits.max
    return values


def example_of(rng: np.random.Generator, operand: Operand) -> NDArray[Any]:
    """The whole range of int8 and int16; of int32 what the steps of formats use."""
    values = random_values(rng, operand.shape, operand.dtype)
    return np.asarray(values >> 8) if operand.dtype == "int32" else values


def weights(rng: np.random.Generator, shape: tuple[int, ...]) -> Int8:
    """Symmetric int8, the first channel all -127: the largest accumulators that a quantizer can cause."""
    values = rng.integers(-127, 128, shape, dtype=np.int8)
    if shape[0] > 1:
        values[0] = -127
    return values


def biases(rng: np.random.Generator, channels: int) -> Int32:
    return rng.integers(-(2**15), 2**15, channels, dtype=np.int32)


def rescaling(
    rng: np.random.Generator,
    shape: tuple[int, ...],
    taps: int,
    deviation: float = 74.0 * 74.0,
    output: Output = HALF_UP,
) -> tuple[Int32, Int8]:
    """Multipliers and shifts that spread sums of `taps` terms of the given standard deviation over the
    output's type.

    Where there is room, one ratio above 1, one in [1/4, 1), and one too small for any accumulator to survive. Where
    `output.even`, sums lie on halves: ratios are powers of two, but one unless `output.power`.
    """
    spread = np.iinfo(output.dtype).max / np.iinfo(np.int8).max
    ratios = rng.uniform(20, 120, shape) * spread / (deviation * np.sqrt(taps))
    if ratios.size >= 4:
        ratios.flat[1:4] = 1.37, 0.61, 2.0**-40
    if output.even:
        ratios = np.exp2(np.rint(np.log2(ratios)))
    if output.power:
        ratios = np.clip(ratios, 2.0**-30, 0.5)
    elif output.even and ratios.size >= 4:
        ratios.flat[2:4] = 0.5, 3 / 128
    return fixed_points(ratios)
