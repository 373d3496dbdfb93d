"""Mul of two tensors: y = requantize((a - a_zero_point) * (b - b_zero_point))."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from tvm.script import tirx as T

from bevel.backends.program import examples
from bevel.backends.program.kernel import Array, Kernel, Operand, activation, output
from bevel.backends.tir import arithmetic as tir
from bevel.backends.tir.loops import broadcast_axes, offset_of
from bevel.calib.arithmetic.requantize import Output, fixed_point, requantize


@dataclass(frozen=True)
class Mul(Kernel):
    """a: int8 a_shape; b: int8 b_shape; y: int8 shape, to which both broadcast as in numpy."""

    shape: tuple[int, ...]
    a_shape: tuple[int, ...]
    b_shape: tuple[int, ...]
    a_zero_point: int
    b_zero_point: int
    multiplier: int
    shift: int
    output: Output

    def operands(self) -> tuple[Operand, ...]:
        return activation("a", self.a_shape), activation("b", self.b_shape), output("y", self.shape)

    @property
    def in_place(self) -> bool:
        return self.a_shape == self.shape

    def reference(self, *arrays: Array) -> Array:
        a, b = (np.broadcast_to(array, self.shape).astype(np.int64) for array in arrays)
        product = (a - self.a_zero_point) * (b - self.b_zero_point)
        return requantize(product, np.array(self.multiplier), np.array(self.shift), self.output)

    def build(self, name: str) -> Any:
        sizes = tuple(operand.size for operand in self.operands())
        a_size, b_size, y_size = sizes
        extents, (a_strides, b_strides, y_strides) = broadcast_axes(self.shape, self.a_shape, self.b_shape, self.shape)
        a_zero_point, b_zero_point, output = self.a_zero_point, self.b_zero_point, self.output
        multiplier, shift = self.multiplier, self.shift

        @T.prim_func(s_tir=True)
        def mul(A: T.Buffer((a_size,), "int8"), B: T.Buffer((b_size,), "int8"), Y: T.Buffer((y_size,), "int8")):
            T.func_attr({"global_symbol": name, "tirx.noalias": True})
            for axis in T.grid(*extents):
                a = T.meta_var(T.cast(A[offset_of(axis, a_strides)], "int32") - a_zero_point)
                b = T.meta_var(T.cast(B[offset_of(axis, b_strides)], "int32") - b_zero_point)
                Y[offset_of(axis, y_strides)] = tir.requantize(a * b, multiplier, shift, output)

        return mul

    def example(self, rng: np.random.Generator) -> tuple[Array, ...]:
        return examples.activations(rng, self.a_shape), examples.activations(rng, self.b_shape)


def cases() -> Iterable[Mul]:
    """Ratios on both sides of 1/4, where the arithmetic changes its form."""
    yield Mul((1,), (1,), (1,), 0, 0, *fixed_point(0.01), Output())
    yield Mul((2, 5, 3, 7), (2, 5, 3, 7), (2, 5, 3, 7), -128, 127, *fixed_point(0.004), Output(zero_point=127))
    yield Mul((2, 4, 3, 5), (2, 4, 3, 5), (2, 1, 1, 5), 3, -128, *fixed_point(0.004), Output(zero_point=-128))
    yield Mul((3, 6), (3, 1), (6,), -1, 5, *fixed_point(0.3), Output(4, -100, 90))
    yield Mul((9,), (9,), (1,), 0, -2, *fixed_point(1.8), Output(zero_point=-2))
    yield Mul((9,), (9,), (9,), 0, 0, *fixed_point(900.0), Output())
