"""Pad with a constant: y is filled with the value, then x is copied to its middle.

Filling everything first writes the middle twice, and in exchange no element asks whether it is padding.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import tvm.script.ir_builder.tirx as I
from tvm import tirx
from tvm.script.ir_builder import IRBuilder

from bevel.backends.program.kernel import Array, Kernel, Operand, activation, output
from bevel.backends.tir.kernels.copy import random_values


@dataclass(frozen=True)
class Pad(Kernel):
    """x: dtype `shape`; y: dtype, each axis longer by its `pads_before` and `pads_after`, none of them negative."""

    shape: tuple[int, ...]
    pads_before: tuple[int, ...]
    pads_after: tuple[int, ...]
    value: int
    dtype: str = "int8"

    def __post_init__(self) -> None:
        if min((*self.pads_before, *self.pads_after), default=0) < 0:
            raise ValueError(f"a negative pad is a Slice: {self}")

    @property
    def padded(self) -> tuple[int, ...]:
        lengths = zip(self.pads_before, self.shape, self.pads_after, strict=True)
        return tuple(sum(parts) for parts in lengths)

    def operands(self) -> tuple[Operand, ...]:
        return activation("x", self.shape, self.dtype), output("y", self.padded, self.dtype)

    def reference(self, *arrays: Array) -> Array:
        pads = list(zip(self.pads_before, self.pads_after, strict=True))
        return np.pad(arrays[0], pads, constant_values=self.value)

    def build(self, name: str) -> Any:
        value = tirx.const(self.value, self.dtype)
        with IRBuilder() as builder, I.prim_func(s_tir=True):
            I.func_name(name)
            I.func_attr({"global_symbol": name, "tirx.noalias": True})
            x = I.arg("x", I.Buffer(self.shape, self.dtype))
            y = I.arg("y", I.Buffer(self.padded, self.dtype))
            with I.grid(*self.padded) as position:
                I.buffer_store(y, value, indices(position))
            with I.grid(*self.shape) as position:
                inside = indices(position)
                middle = [index + before for index, before in zip(inside, self.pads_before, strict=True)]
                I.buffer_store(y, x[tuple(inside)], middle)
        return builder.get()

    def example(self, rng: np.random.Generator) -> tuple[Array, ...]:
        return (random_values(rng, self.shape, self.dtype),)


def indices(position: Any) -> list[Any]:
    """The loop variables of an `I.grid`, which hands a single one over bare."""
    return [position] if isinstance(position, tirx.Var) else list(position)


def cases() -> Iterable[Pad]:
    yield Pad(shape=(1,), pads_before=(0,), pads_after=(0,), value=5)
    yield Pad(shape=(3,), pads_before=(2,), pads_after=(0,), value=-128)
    yield Pad(shape=(2, 3, 5, 3), pads_before=(0, 1, 2, 0), pads_after=(0, 0, 3, 0), value=127)
    yield Pad(shape=(1, 2, 2), pads_before=(1, 0, 3), pads_after=(0, 2, 1), value=255, dtype="uint8")
    yield Pad(shape=(2, 2), pads_before=(0, 1), pads_after=(1, 0), value=-7, dtype="float32")
