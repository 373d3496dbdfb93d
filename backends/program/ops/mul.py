"""Mul of two tensors: y = requantize((a - a_zero_point) * (b - b_zero_point))."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from bevel.backends.program.op import Array, Operand, stored
from bevel.backends.program.pairs import Pair
from bevel.calib.arithmetic.requantize import Output, fixed_point, requantize


@dataclass(frozen=True)
class Mul(Pair):
    """The product of both, less their zero points, times the multiplier stays below 2**62."""

    a_zero_point: int
    b_zero_point: int
    multiplier: int
    shift: int
    output: Output

    def result(self) -> Operand:
        return stored("y", self.shape, self.output)

    def reference(self, *arrays: Array) -> Array:
        a, b = self.broadcast(*arrays)
        product = (a - self.a_zero_point) * (b - self.b_zero_point)
        return requantize(product, np.array(self.multiplier), np.array(self.shift), self.output)


def cases() -> Iterable[Mul]:
    """Ratios on both sides of 1/4, where the arithmetic changes its form."""
    yield Mul((1,), (1,), (1,), 0, 0, *fixed_point(0.01), Output())
    yield Mul((2, 5, 3, 7), (2, 5, 3, 7), (2, 5, 3, 7), -128, 127, *fixed_point(0.004), Output(zero_point=127))
    yield Mul((2, 4, 3, 5), (2, 4, 3, 5), (2, 1, 1, 5), 3, -128, *fixed_point(0.004), Output(zero_point=-128))
    yield Mul((3, 6), (3, 1), (6,), -1, 5, *fixed_point(0.3), Output(4, -100, 90))
    yield Mul((9,), (9,), (1,), 0, -2, *fixed_point(1.8), Output(zero_point=-2))
    yield Mul((9,), (9,), (9,), 0, 0, *fixed_point(900.0), Output())
    yield from wide_cases()


def wide_cases() -> Iterable[Mul]:
    def mul(shape: tuple[int, ...], a: tuple[int, ...], b: tuple[int, ...], ratio: float, **changes: Any) -> Mul:
        plain: dict[str, Any] = {"output": Output(0, -(2**15), 2**15 - 1, "int16")}
        plain |= {"a_zero_point": 0, "b_zero_point": 0, "a_dtype": "int16", "b_dtype": "int16"}
        multiplier, shift = fixed_point(ratio, 24)
        return Mul(shape, a, b, multiplier=multiplier, shift=shift, **(plain | changes))

    yield mul((1,), (1,), (1,), 2.0**-15)
    yield mul((2, 5, 3, 7), (2, 5, 3, 7), (2, 5, 3, 7), 2.0**-16, a_zero_point=-(2**15), b_zero_point=2**15 - 1)
    yield mul((2, 4, 3, 5), (2, 4, 3, 5), (2, 1, 1, 5), 3e-6, output=Output(9, -100, 90), b_zero_point=-300)
    yield mul((3, 6), (3, 1), (6,), 0.004, a_dtype="int8", a_zero_point=-128)
    yield mul((9,), (9,), (1,), 2.0**-11, b_dtype="int8", b_zero_point=5)
    yield mul((9,), (9,), (9,), 1.3, a_dtype="int8", b_dtype="int8")
    yield mul((4, 3), (4, 3), (4, 3), 2.0**-24, a_dtype="int32", output=Output(0, -(2**30), 2**30, "int32"))
