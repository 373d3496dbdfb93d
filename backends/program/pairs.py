"""What operators on two tensors share: both broadcast to the result as in numpy, each of its own width."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, field, replace

import numpy as np

from bevel.backends.program.bands import Banding, Laid, Shape, broadcast
from bevel.backends.program.examples import example_of
from bevel.backends.program.op import Array, Op, Operand, accumulator, activation


@dataclass(frozen=True)
class Pair(Op):
    """a: a_dtype a_shape; b: b_dtype b_shape; y: of the shape to which both broadcast."""

    shape: Shape
    a_shape: Shape
    b_shape: Shape
    a_dtype: str = field(default="int8", kw_only=True)
    b_dtype: str = field(default="int8", kw_only=True)

    @abstractmethod
    def result(self) -> Operand:
        """The operand y."""

    @property
    def sum_dtype(self) -> str:
        return accumulator(self.a_dtype, self.b_dtype, self.result().dtype)

    @property
    def in_place(self) -> bool:
        return self.a_shape == self.shape and self.a_dtype == self.result().dtype

    def operands(self) -> tuple[Operand, ...]:
        a, b = activation("a", self.a_shape, self.a_dtype), activation("b", self.b_shape, self.b_dtype)
        return a, b, self.result()

    def banding(self, laid: Laid) -> Banding | None:
        def cut(shape: Shape, a_shape: Shape, b_shape: Shape) -> Op:
            return replace(self, shape=shape, a_shape=a_shape, b_shape=b_shape)

        return broadcast(laid, (self.shape, self.a_shape, self.b_shape), cut)

    def broadcast(self, a: Array, b: Array) -> tuple[Array, Array]:
        """Both as int64 of y's shape."""
        return np.broadcast_to(a, self.shape).astype(np.int64), np.broadcast_to(b, self.shape).astype(np.int64)

    def example(self, rng: np.random.Generator) -> tuple[Array, ...]:
        a, b = self.operands()[:2]
        return example_of(rng, a), example_of(rng, b)
