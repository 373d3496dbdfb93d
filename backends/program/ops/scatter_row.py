"""ScatterND of one row of the first axis, at a place that is computed: y = x, but y[place] = row."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from bevel.backends.encodings.nibbles import EACH, pack_nibbles
from bevel.backends.program.examples import random_values
from bevel.backends.program.op import Array, Bounds, Op, Operand, Role, activation, joined, of_type, output


@dataclass(frozen=True)
class ScatterRow(Op):
    """x: dtype [rows, width]; place: int64 [1]; row: dtype [width]; y: dtype [rows, width].

    Negative places count from the end. One outside, for which ONNX has no result, is the first or the last. over: y
    lies where x does, so that the other rows are there already. packed: x and y are uint8 [rows, width / 2], codes of 4
    bits two to a byte, and what the row has beyond those wraps around.
    """

    rows: int
    width: int
    dtype: str = "int8"
    over: bool = False
    packed: bool = False

    def operands(self) -> tuple[Operand, ...]:
        stored = ((self.rows, self.width // EACH), "uint8") if self.packed else ((self.rows, self.width), self.dtype)
        return (
            activation("x", *stored),
            activation("place", (1,), "int64"),
            activation("row", (self.width,), self.dtype),
            output("y", *stored),
        )

    @property
    def in_place(self) -> bool:
        return True

    @property
    def overwriting(self) -> Op:
        return replace(self, over=True)

    def reference(self, *arrays: Array) -> Array:
        x, place, row = arrays
        wanted = int(place[0]) + (self.rows if place[0] < 0 else 0)
        result: Array = x.copy()
        result[min(max(wanted, 0), self.rows - 1)] = pack_nibbles(row) if self.packed else row
        return result

    def bounds(self, inputs: Sequence[Bounds | None], constants: Sequence[Array]) -> Bounds | None:
        return of_type("uint8") if self.packed else joined((inputs[0], inputs[2]))

    def example(self, rng: np.random.Generator) -> tuple[Array, ...]:
        place = rng.integers(-self.rows - 1, self.rows + 1, 1)
        x, _, row = self.roles(Role.INPUT)
        return random_values(rng, x.shape, x.dtype), place, random_values(rng, row.shape, row.dtype)


def cases() -> Iterable[ScatterRow]:
    yield ScatterRow(1, 1)
    yield ScatterRow(7, 5)
    yield ScatterRow(16, 12, "int16")
    yield ScatterRow(3, 4, "float32")
    yield ScatterRow(5, 6, packed=True)
    yield ScatterRow(1, 2, packed=True)
