"""Mul of tensors of which one may be int16 or int32: as `bevel.backends.tir.kernels.mul`, in int64."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from tvm.script import tirx as T

from bevel.backends.program.kernel import Array, Kernel, Operand, activation, output
from bevel.backends.tir import arithmetic as tir
from bevel.backends.tir.kernels.wide_add import example_of
from bevel.backends.tir.loops import broadcast_axes, offset_of
from bevel.calib.arithmetic.requantize import Output, fixed_point, requantize


@dataclass(frozen=True)
class WideMul(Kernel):
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
            output("y", self.shape, self.output.dtype),
        )

    @property
    def in_place(self) -> bool:
        return self.a_shape == self.shape and self.a_dtype == self.output.dtype

    def reference(self, *arrays: Array) -> Array:
        a, b = (np.broadcast_to(array, self.shape).astype(np.int64) for array in arrays)
        product = (a - self.a_zero_point) * (b - self.b_zero_point)
        return requantize(product, np.array(self.multiplier), np.array(self.shift), self.output)

    def build(self, name: str) -> Any:
        sizes = tuple(operand.size for operand in self.operands())
        a_size, b_size, y_size = sizes
        extents, (a_strides, b_strides, y_strides) = broadcast_axes(self.shape, self.a_shape, self.b_shape, self.shape)
        a_zero_point, b_zero_point = T.int64(self.a_zero_point), T.int64(self.b_zero_point)
        multiplier, shift, output = T.int64(self.multiplier), self.shift, self.output
        a_dtype, b_dtype, y_dtype = self.a_dtype, self.b_dtype, self.output.dtype

        @T.prim_func(s_tir=True)
        def wide_mul(A: T.Buffer((a_size,), a_dtype), B: T.Buffer((b_size,), b_dtype), Y: T.Buffer((y_size,), y_dtype)):
            T.func_attr({"global_symbol": name, "tirx.noalias": True})
            for axis in T.grid(*extents):
                a = T.meta_var(T.cast(A[offset_of(axis, a_strides)], "int64") - a_zero_point)
                b = T.meta_var(T.cast(B[offset_of(axis, b_strides)], "int64") - b_zero_point)
                product = T.meta_var(tir.rounding_shift_right(a * b * multiplier, shift))
                Y[offset_of(axis, y_strides)] = tir.store(product, output)

        return wide_mul

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
