"""Mul of tensors of which one may be int16 or int32: as `bevel.backends.program.ops.mul`, in int64."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from bevel.backends.program.bands import Banding, Laid, Shape, broadcast
from bevel.backends.program.examples import example_of
from bevel.backends.program.op import Array, Op, Operand, activation, stored
from bevel.calib.arithmetic.requantize import Output, fixed_point, requantize


@dataclass(frozen=True)
class WideMul(Op):
    """a: a_dtype a_shape; b: b_dtype b_shape; y: output.dtype shape, to which both broadcast as in numpy.

    The product of both, less their zero points, times the multiplier stays below 2**62.
    """

    shape: tuple[int, ...]
    a_shape: tuple[int, ...]
    b_shape: tuple[int, ...]
    a_zero_point: int
    b_zero_point: int
    multiplier: int
    shift: int
    output: Output
    a_dtype: str = "int16"
    b_dtype: str = "int16"

    def operands(self) -> tuple[Operand, ...]:
        return (
            activation("a", self.a_shape, self.a_dtype),
            activation("b", self.b_shape, self.b_dtype),
            stored("y", self.shape, self.output),
        )

    @property
    def in_place(self) -> bool:
        return self.a_shape == self.shape and self.a_dtype == self.output.dtype

    def reference(self, *arrays: Array) -> Array:
        a, b = (np.broadcast_to(array, self.shape).astype(np.int64) for array in arrays)
        product = (a - self.a_zero_point) * (b - self.b_zero_point)
        return requantize(product, np.array(self.multiplier), np.array(self.shift), self.output)

    def banding(self, laid: Laid) -> Banding | None:
        def cut(shape: Shape, a_shape: Shape, b_shape: Shape) -> Op:
            return replace(self, shape=shape, a_shape=a_shape, b_shape=b_shape)

        return broadcast(laid, (self.shape, self.a_shape, self.b_shape), cut)

    def example(self, rng: np.random.Generator) -> tuple[Array, ...]:
        a, b, _ = self.operands()
        return example_of(rng, a), example_of(rng, b)


def cases() -> Iterable[WideMul]:
    def mul(shape: tuple[int, ...], a: tuple[int, ...], b: tuple[int, ...], ratio: float, **changes: Any) -> WideMul:
        plain: dict[str, Any] = {"output": Output(0, -(2**15), 2**15 - 1, "int16")}
        plain |= {"a_zero_point": 0, "b_zero_point": 0}
        multiplier, shift = fixed_point(ratio, 24)
        return WideMul(shape, a, b, multiplier=multiplier, shift=shift, **(plain | changes))

    yield mul((1,), (1,), (1,), 2.0**-15)
    yield mul((2, 5, 3, 7), (2, 5, 3, 7), (2, 5, 3, 7), 2.0**-16, a_zero_point=-(2**15), b_zero_point=2**15 - 1)
    yield mul((2, 4, 3, 5), (2, 4, 3, 5), (2, 1, 1, 5), 3e-6, output=Output(9, -100, 90), b_zero_point=-300)
    yield mul((3, 6), (3, 1), (6,), 0.004, a_dtype="int8", a_zero_point=-128)
    yield mul((9,), (9,), (1,), 2.0**-11, b_dtype="int8", b_zero_point=5)
    yield mul((9,), (9,), (9,), 1.3, a_dtype="int8", b_dtype="int8")
    yield mul((4, 3), (4, 3), (4, 3), 2.0**-24, a_dtype="int32", output=Output(0, -(2**30), 2**30, "int32"))
