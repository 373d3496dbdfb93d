"""Slice: y[i, j, ...] = x[starts[0] + i * steps[0], starts[1] + j * steps[1], ...]. Split is several of these."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from bevel.backends.program.examples import random_values
from bevel.backends.program.op import Array, Bounds, Op, Operand, activation, joined, output


@dataclass(frozen=True)
class Slice(Op):
    """x: dtype `shape`; y: dtype `sizes`. One start, size and step an axis; a step may be negative.

    Every index reached lies inside `shape`: ONNX's clamping and negative starts are resolved before.
    """

    shape: tuple[int, ...]
    starts: tuple[int, ...]
    sizes: tuple[int, ...]
    steps: tuple[int, ...]
    dtype: str = "int8"

    def __post_init__(self) -> None:
        for length, start, size, step in zip(self.shape, self.starts, self.sizes, self.steps, strict=True):
            last = start + (size - 1) * step
            if not (0 <= start < length and 0 <= last < length):
                raise ValueError(f"a slice from {start} to {last} leaves an axis of {length}: {self}")

    def operands(self) -> tuple[Operand, ...]:
        return activation("x", self.shape, self.dtype), output("y", self.sizes, self.dtype)

    def reference(self, *arrays: Array) -> Array:
        result: Array = arrays[0]
        for axis, (start, size, step) in enumerate(zip(self.starts, self.sizes, self.steps, strict=True)):
            result = result.take(start + step * np.arange(size), axis=axis)
        return result

    def bounds(self, inputs: Sequence[Bounds | None], constants: Sequence[Array]) -> Bounds | None:
        return joined(inputs)

    def example(self, rng: np.random.Generator) -> tuple[Array, ...]:
        return (random_values(rng, self.shape, self.dtype),)


def cases() -> Iterable[Slice]:
    yield Slice(shape=(7,), starts=(6,), sizes=(7,), steps=(-1,))
    yield Slice(shape=(2, 5, 6, 3), starts=(0, 1, 0, 0), sizes=(2, 3, 6, 3), steps=(1, 1, 1, 1))
    yield Slice(shape=(2, 5, 7, 3), starts=(1, 4, 6, 2), sizes=(2, 2, 3, 1), steps=(-1, -3, -2, 1))
    yield Slice(shape=(1, 9, 4), starts=(0, 0, 1), sizes=(1, 5, 2), steps=(1, 2, 2), dtype="float32")
    yield Slice(shape=(3, 1), starts=(2, 0), sizes=(1, 1), steps=(5, 1), dtype="uint8")
