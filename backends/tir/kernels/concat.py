"""Concat of tensors that already share one scale: each input's slab is copied to its place."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import tvm.script.ir_builder.tirx as I
from tvm.script.ir_builder import IRBuilder

from bevel.backends.program.kernel import Array, Kernel, Operand, activation, output
from bevel.backends.tir.kernels.copy import random_values


@dataclass(frozen=True)
class Concat(Kernel):
    """x0, x1, ...: `shapes`, equal but for `axis` (counted from 0); y: their concatenation along it."""

    axis: int
    shapes: tuple[tuple[int, ...], ...]
    dtype: str = "int8"

    @property
    def shape(self) -> tuple[int, ...]:
        length = sum(shape[self.axis] for shape in self.shapes)
        first = self.shapes[0]
        return (*first[: self.axis], length, *first[self.axis + 1 :])

    def operands(self) -> tuple[Operand, ...]:
        inputs = (activation(f"x{number}", shape, self.dtype) for number, shape in enumerate(self.shapes))
        return *inputs, output("y", self.shape, self.dtype)

    def reference(self, *arrays: Array) -> Array:
        return np.concatenate(arrays, axis=self.axis)

    def build(self, name: str) -> Any:
        # Seen from the axis outwards every input is [outer, slab], contiguous, whatever its rank.
        outer = prod(self.shape[: self.axis])
        slabs = [prod(shape[self.axis :]) for shape in self.shapes]
        with IRBuilder() as builder, I.prim_func(s_tir=True):
            I.func_name(name)
            I.func_attr({"global_symbol": name, "tirx.noalias": True})
            inputs = [I.arg(f"x{i}", I.Buffer((outer, slab), self.dtype)) for i, slab in enumerate(slabs)]
            y = I.arg("y", I.Buffer((outer, sum(slabs)), self.dtype))
            start = 0
            for x, slab in zip(inputs, slabs, strict=True):
                with I.grid(outer, slab) as (i, j):
                    I.buffer_store(y, x[i, j], [i, j + start])
                start += slab
        return builder.get()

    def example(self, rng: np.random.Generator) -> tuple[Array, ...]:
        return tuple(random_values(rng, shape, self.dtype) for shape in self.shapes)


def cases() -> Iterable[Concat]:
    yield Concat(axis=0, shapes=((3,),))
    yield Concat(axis=3, shapes=((2, 3, 5, 1), (2, 3, 5, 3)))
    yield Concat(axis=1, shapes=((2, 1, 3), (2, 4, 3), (2, 2, 3)))
    yield Concat(axis=0, shapes=((1, 7), (2, 7)), dtype="float32")
    yield Concat(axis=2, shapes=((1, 1, 1), (1, 1, 1)), dtype="uint8")
