"""Any function of one int8 value, looked up: y = table[x + 128]. The entries are int8, or int16 for int16 results."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from bevel.backends.program.bands import Banding, Laid, element_by_element
from bevel.backends.program.op import Array, Bounds, Op, Operand, activation, constant, of_values, output

ENTRIES = 256


@dataclass(frozen=True)
class Table(Op):
    """x: int8 [size]; table: dtype [256], entry q + 128 is the answer for q; y: dtype [size]."""

    size: int
    dtype: str = "int8"

    def operands(self) -> tuple[Operand, ...]:
        shape = (self.size,)
        return activation("x", shape), constant("table", (ENTRIES,), self.dtype), output("y", shape, self.dtype)

    @property
    def in_place(self) -> bool:
        return self.dtype == "int8"

    def reference(self, *arrays: Array) -> Array:
        x, table = arrays
        result: Array = table[x.astype(np.int32) + 128]
        return result

    def bounds(self, inputs: Sequence[Bounds | None], constants: Sequence[Array]) -> Bounds | None:
        low, high = inputs[0] or (-ENTRIES // 2, ENTRIES // 2 - 1)
        return of_values(constants[0][low + ENTRIES // 2 : high + ENTRIES // 2 + 1])

    def banding(self, laid: Laid) -> Banding | None:
        return element_by_element(laid, self.size, lambda size: replace(self, size=size))

    def example(self, rng: np.random.Generator) -> tuple[Array, ...]:
        x = rng.integers(-128, 128, self.size, dtype=np.int8)
        x[0], x[-1] = -128, 127
        limits = np.iinfo(self.dtype)
        return x, rng.permutation(np.linspace(limits.min, limits.max, ENTRIES).astype(self.dtype))


def cases() -> Iterable[Table]:
    yield Table(1)
    yield Table(2)
    yield Table(263)
    yield Table(300, "int16")
