"""Comparisons of two tensors on different scales: y = a * a_multiplier - b * b_multiplier + offset compared with 0."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from operator import eq, ge, gt, le, lt
from typing import Any

import numpy as np

from bevel.backends.program.examples import random_values
from bevel.backends.program.op import Array, Op, Operand, activation, output

RELATIONS: dict[str, Callable[[Any, Any], Any]] = {
    "Equal": eq,
    "Greater": gt,
    "GreaterOrEqual": ge,
    "Less": lt,
    "LessOrEqual": le,
}


@dataclass(frozen=True)
class Compare(Op):
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

    def example(self, rng: np.random.Generator) -> tuple[Array, ...]:
        return random_values(rng, self.a_shape, self.a_dtype), random_values(rng, self.b_shape, self.b_dtype)


def cases() -> Iterable[Compare]:
    for relation in RELATIONS:
        yield Compare(relation, (3, 90), (3, 90), (3, 1), 1, 1, 0)
        yield Compare(relation, (3, 9), (3, 9), (), 2**30, 2**29 + 5, -7 * 2**30, "int16", "int8")
