"""A rotary position embedding: pairs of channels, turned by coefficients of their position.

    y0 = requantize(a0 * (x0 - zx) + b0 * (x1 - zx)),    y1 = requantize(a1 * (x1 - zx) + b1 * (x0 - zx))

Products are exact and rounded once: Su et al. 2021, "RoFormer: Enhanced Transformer with Rotary Position Embedding",
section 3.4.2, where a0 = a1 = cos and b1 = -b0 = sin.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import prod

import numpy as np

from bevel.backends.program.examples import random_values
from bevel.backends.program.op import Array, Op, Operand, activation, constant, stored
from bevel.calib.arithmetic.requantize import Output, fixed_point, requantize


@dataclass(frozen=True)
class RotaryEmbedding(Op):
    """x: x_dtype [*shape, outer, 2, inner]; coefficients: int16 [*coefficient_shape, outer, 2, inner, 2], which
    broadcast to x, of each element its own and that of the other of its pair; y: as x, of output.dtype.

    `constant`: whether coefficients are. Sums of both products fit int32.
    """

    shape: tuple[int, ...]
    coefficient_shape: tuple[int, ...]
    outer: int
    inner: int
    x_zero_point: int
    multiplier: int
    shift: int
    output: Output
    x_dtype: str = "int8"
    constant: bool = True

    @property
    def n(self) -> int:
        return 2 * self.outer * self.inner

    def operands(self) -> tuple[Operand, ...]:
        size, count = prod(self.shape) * self.n, prod(self.coefficient_shape) * self.n * 2
        coefficients = (constant if self.constant else activation)("coefficients", (count,), "int16")
        return activation("x", (size,), self.x_dtype), coefficients, stored("y", (size,), self.output)

    def reference(self, *arrays: Array) -> Array:
        x, coefficients = arrays
        steps = x.astype(np.int64).reshape(*self.shape, self.outer, 2, self.inner) - self.x_zero_point
        wide = coefficients.astype(np.int64).reshape(*self.coefficient_shape, self.outer, 2, self.inner, 2)
        sums = wide[..., 0] * steps + wide[..., 1] * steps[..., ::-1, :]
        return requantize(sums.reshape(-1), np.array(self.multiplier), np.array(self.shift), self.output)

    def example(self, rng: np.random.Generator) -> tuple[Array, ...]:
        """Coefficients as large as sums have room for, the first pair's of one sign."""
        x, coefficients = self.operands()[:2]
        most = (2**31 - 1) // (np.iinfo(self.x_dtype).max + 1 + abs(self.x_zero_point)) // 2
        most = min(most, 2**15 - 1)
        given = rng.integers(-most, most + 1, coefficients.shape).astype(np.int16)
        given[:2] = most
        codes = random_values(rng, x.shape, self.x_dtype)
        codes[: self.n] = np.iinfo(self.x_dtype).min
        return codes, given

    @property
    def any_codes(self) -> bool:
        return self.constant


def cases() -> Iterable[RotaryEmbedding]:
    """Halves, neighbours, pairs alone; positions along any axis; every pair of widths; coefficients that come in."""
    int16 = Output(-300, -(2**15), 2**15 - 1, "int16")
    small, large = fixed_point(2.0**-15), fixed_point(2.0**-8)
    yield RotaryEmbedding((1, 5, 3), (1, 5, 1), 1, 4, -7, *small, Output(3))
    yield RotaryEmbedding((2, 3, 5), (1, 1, 5), 4, 1, 11, *large, int16)
    yield RotaryEmbedding((6,), (6,), 1, 1, 300, *small, int16, "int16")
    yield RotaryEmbedding((4, 2), (1, 2), 1, 3, -(2**15), *fixed_point(2.0**-23), Output(-3, -100, 90), "int16")
    yield RotaryEmbedding((1, 8), (1, 1), 1, 4, 5, *small, Output(), constant=False)
    yield RotaryEmbedding((1, 8), (1, 1), 4, 1, -70, *small, int16, "int16", constant=False)
