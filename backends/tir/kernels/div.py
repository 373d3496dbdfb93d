"""Div of two tensors by a table of reciprocals: y = requantize((a - a_zero_point) * reciprocals[b + 128])."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from tvm.script import tirx as T

from bevel.backends.program import examples
from bevel.backends.program.kernel import Array, Kernel, Operand, activation, constant, output
from bevel.backends.tir import arithmetic as tir
from bevel.backends.tir.kernels.table import ENTRIES
from bevel.backends.tir.loops import broadcast_axes, offset_of
from bevel.calib.arithmetic.requantize import Output, fixed_point, requantize


@dataclass(frozen=True)
class Div(Kernel):
    """a: int8 a_shape; b: int8 b_shape; reciprocals: int32 [256], by b + 128, below 2**22 or so in magnitude, so that
    products with 255 stay below 2**30; y: int8 shape, to which both broadcast as in numpy."""

    shape: tuple[int, ...]
    a_shape: tuple[int, ...]
    b_shape: tuple[int, ...]
    a_zero_point: int
    multiplier: int
    shift: int
    output: Output

    def operands(self) -> tuple[Operand, ...]:
        table = constant("reciprocals", (ENTRIES,), "int32")
        return activation("a", self.a_shape), activation("b", self.b_shape), table, output("y", self.shape)

    @property
    def in_place(self) -> bool:
        return self.a_shape == self.shape

    def reference(self, *arrays: Array) -> Array:
        a, b = (np.broadcast_to(array, self.shape).astype(np.int64) for array in arrays[:2])
        product = (a - self.a_zero_point) * arrays[2].astype(np.int64)[b + ENTRIES // 2]
        return requantize(product, np.array(self.multiplier), np.array(self.shift), self.output)

    def build(self, name: str) -> Any:
        sizes = tuple(operand.size for operand in self.operands())
        a_size, b_size, entries, y_size = sizes
        extents, (a_strides, b_strides, y_strides) = broadcast_axes(self.shape, self.a_shape, self.b_shape, self.shape)
        a_zero_point, output, middle = self.a_zero_point, self.output, ENTRIES // 2
        multiplier, shift = self.multiplier, self.shift

        @T.prim_func(s_tir=True)
        def div(
            A: T.Buffer((a_size,), "int8"),
            B: T.Buffer((b_size,), "int8"),
            R: T.Buffer((entries,), "int32"),
            Y: T.Buffer((y_size,), "int8"),
        ):
            T.func_attr({"global_symbol": name, "tirx.noalias": True})
            for axis in T.grid(*extents):
                a = T.meta_var(T.cast(A[offset_of(axis, a_strides)], "int32") - a_zero_point)
                reciprocal = T.meta_var(R[T.cast(B[offset_of(axis, b_strides)], "int32") + middle])
                Y[offset_of(axis, y_strides)] = tir.requantize(a * reciprocal, multiplier, shift, output)

        return div

    def example(self, rng: np.random.Generator) -> tuple[Array, ...]:
        table = rng.integers(-(2**22), 2**22, ENTRIES, dtype=np.int32, endpoint=True)
        return examples.activations(rng, self.a_shape), examples.activations(rng, self.b_shape), table


def cases() -> Iterable[Div]:
    """Ratios on both sides of 1/4, where the arithmetic changes its form."""
    yield Div((1,), (1,), (1,), 0, *fixed_point(1e-6), Output())
    yield Div((2, 5, 3, 7), (2, 5, 3, 7), (2, 5, 1, 1), -128, *fixed_point(3e-6), Output(zero_point=127))
    yield Div((3, 6), (3, 1), (6,), 5, *fixed_point(0.3), Output(4, -100, 90))
