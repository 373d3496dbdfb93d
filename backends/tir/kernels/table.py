"""Any function of one int8 value, looked up: y = table[x + 128]. The entries are int8, or int16 for int16 results."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from tvm import te

from bevel.backends.program.kernel import Array, Kernel, Operand, activation, constant, output

ENTRIES = 256


@dataclass(frozen=True)
class Table(Kernel):
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

    def build(self, name: str) -> Any:
        x = te.placeholder((self.size,), "int8", "x")
        table = te.placeholder((ENTRIES,), self.dtype, "table")
        y = te.compute((self.size,), lambda i: table[x[i].astype("int32") + 128], "y")
        return te.create_prim_func([x, table, y]).with_attr("global_symbol", name)

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
