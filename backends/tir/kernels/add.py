"""Add and Sub of two tensors: y = store((a * a_multiplier + b * b_multiplier + offset) >> shift), in int32.

Both inputs are brought to a common scale by small multipliers, so one rounding, whose half is in the offset, serves
the sum. Sub has a negative b_multiplier.
"""

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
from bevel.calib.arithmetic.requantize import Output


@dataclass(frozen=True)
class Add(Kernel):
    """a: int8 a_shape; b: int8 b_shape; y: int8 shape, to which both broadcast as in numpy.

    offset holds 2**(shift - 1) and both zero points' share. The sum must stay within int32, and after its shift 128
    away from the ends of int32.
    """

    shape: tuple[int, ...]
    a_shape: tuple[int, ...]
    b_shape: tuple[int, ...]
    a_multiplier: int
    b_multiplier: int
    offset: int
    shift: int
    output: Output

    def operands(self) -> tuple[Operand, ...]:
        return activation("a", self.a_shape), activation("b", self.b_shape), output("y", self.shape)

    @property
    def in_place(self) -> bool:
        return self.a_shape == self.shape

    def reference(self, *arrays: Array) -> Array:
        a, b = (np.broadcast_to(array, self.shape).astype(np.int64) for array in arrays)
        total = a * self.a_multiplier + b * self.b_multiplier + self.offset
        return self.output.store(total >> self.shift)

    def build(self, name: str) -> Any:
        sizes = tuple(operand.size for operand in self.operands())
        a_size, b_size, y_size = sizes
        extents, (a_strides, b_strides, y_strides) = broadcast_axes(self.shape, self.a_shape, self.b_shape, self.shape)
        a_multiplier, b_multiplier, offset, shift = self.a_multiplier, self.b_multiplier, self.offset, self.shift
        output = self.output

        @T.prim_func(s_tir=True)
        def add(A: T.Buffer((a_size,), "int8"), B: T.Buffer((b_size,), "int8"), Y: T.Buffer((y_size,), "int8")):
            T.func_attr({"global_symbol": name, "tirx.noalias": True})
            for axis in T.grid(*extents):
                a = T.meta_var(T.cast(A[offset_of(axis, a_strides)], "int32"))
                b = T.meta_var(T.cast(B[offset_of(axis, b_strides)], "int32"))
                total = T.meta_var(a * a_multiplier + b * b_multiplier + offset)
                Y[offset_of(axis, y_strides)] = tir.store(total >> shift, output)

        return add

    def example(self, rng: np.random.Generator) -> tuple[Array, ...]:
        return examples.activations(rng, self.a_shape), examples.activations(rng, self.b_shape)


def cases() -> Iterable[Add]:
    def add(shape: tuple[int, ...], a_shape: tuple[int, ...], b_shape: tuple[int, ...], **changes: Any) -> Add:
        scaled: dict[str, Any] = {"a_multiplier": 700_001, "b_multiplier": 523_456, "shift": 20, "output": Output(-7)}
        scaled |= {"offset": 2**19 + 128 * 700_001} | changes
        return Add(shape, a_shape, b_shape, **scaled)

    yield add((1,), (1,), (1,))
    yield add((2, 5, 3, 7), (2, 5, 3, 7), (2, 5, 3, 7))
    yield add((1, 64), (1, 64), (1, 64), b_multiplier=-999_999, output=Output(zero_point=127))
    yield add((2, 4, 3, 5), (2, 4, 3, 5), (5,), output=Output(-128))
    yield add((2, 4, 3, 5), (2, 1, 1, 5), (2, 4, 3, 5))
    yield add((2, 3, 4, 5), (3, 1, 5), (2, 1, 4, 1), a_multiplier=-3, b_multiplier=2, offset=1, shift=1)
    yield add((3, 4), (3, 4), (), a_multiplier=1, b_multiplier=-1, offset=0, shift=0, output=Output(3, -50, 60))
    yield add((2, 3, 2, 3, 2), (2, 1, 2, 1, 2), (1, 3, 1, 3, 1))
