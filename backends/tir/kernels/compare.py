"""Comparisons of two tensors on different scales: y = a * a_multiplier - b * b_multiplier + offset compared with 0."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from operator import eq, ge, gt, le, lt
from typing import Any

import numpy as np
from tvm.script import tirx as T

from bevel.backends.program.kernel import Array, Kernel, Operand, activation, output
from bevel.backends.tir.kernels.copy import random_values
from bevel.backends.tir.loops import broadcast_axes, offset_of

RELATIONS: dict[str, Callable[[Any, Any], Any]] = {
    "Equal": eq,
    "Greater": gt,
    "GreaterOrEqual": ge,
    "Less": lt,
    "LessOrEqual": le,
}


@dataclass(frozen=True)
class Compare(Kernel):
    """a: a_dtype a_shape; b: b_dtype b_shape; y: bool shape, to which both broadcast. The difference fits int64."""

    relation: str
    shape: tuple[int, ...]
    a_shape: tuple[int, ...]
    b_shape: tuple[int, ...]
    a_multiplier: int
    b_multiplier: int
    offset: int
    a_dtype: str = "int8"
    b_dtype: str = "int8"

    def operands(self) -> tuple[Operand, ...]:
        return (
            activation("a", self.a_shape, self.a_dtype),
            activation("b", self.b_shape, self.b_dtype),
            output("y", self.shape, "bool"),
        )

    def reference(self, *arrays: Array) -> Array:
        a, b = (np.broadcast_to(array, self.shape).astype(np.int64) for array in arrays)
        found: Array = RELATIONS[self.relation](a * self.a_multiplier - b * self.b_multiplier + self.offset, 0)
        return found

    def build(self, name: str) -> Any:
        sizes = tuple(operand.size for operand in self.operands())
        a_size, b_size, y_size = sizes
        extents, (a_strides, b_strides, y_strides) = broadcast_axes(self.shape, self.a_shape, self.b_shape, self.shape)
        a_multiplier, b_multiplier, offset = (
            T.int64(one) for one in (self.a_multiplier, self.b_multiplier, self.offset)
        )
        a_dtype, b_dtype, zero = self.a_dtype, self.b_dtype, T.int64(0)

        def holds(difference: Any) -> Any:
            match self.relation:
                case "Equal":
                    return T.EQ(difference, zero)
                case relation:
                    return RELATIONS[relation](difference, zero)

        @T.prim_func(s_tir=True)
        def compare(A: T.Buffer((a_size,), a_dtype), B: T.Buffer((b_size,), b_dtype), Y: T.Buffer((y_size,), "bool")):
            T.func_attr({"global_symbol": name, "tirx.noalias": True})
            for axis in T.grid(*extents):
                a = T.meta_var(T.cast(A[offset_of(axis, a_strides)], "int64") * a_multiplier)
                b = T.meta_var(T.cast(B[offset_of(axis, b_strides)], "int64") * b_multiplier)
                Y[offset_of(axis, y_strides)] = holds(a - b + offset)

        return compare

    def example(self, rng: np.random.Generator) -> tuple[Array, ...]:
        return random_values(rng, self.a_shape, self.a_dtype), random_values(rng, self.b_shape, self.b_dtype)


def cases() -> Iterable[Compare]:
    for relation in RELATIONS:
        yield Compare(relation, (3, 90), (3, 90), (3, 1), 1, 1, 0)
        yield Compare(relation, (3, 9), (3, 9), (), 2**30, 2**29 + 5, -7 * 2**30, "int16", "int8")
