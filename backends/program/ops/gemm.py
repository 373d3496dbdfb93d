"""Gemm with constant int8 weights: y = requantize(x @ w.T + bias)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from bevel.backends.program import examples
from bevel.backends.program.op import Array, Op, Operand, activation, constant, stored
from bevel.calib.arithmetic.requantize import Output, requantize


@dataclass(frozen=True)
class Gemm(Op):
    """x: int8 [rows, k]; w: int8 [n, k]; bias, multiplier: int32 [n]; shift: int8 [n]; y: output.dtype
    [rows, n], int8 or int16.

    bias already holds b - x_zero_point * sum(w), so that the product is taken of the codes themselves.
    """

    rows: int
    k: int
    n: int
    output: Output

    def operands(self) -> tuple[Operand, ...]:
        return (
            activation("x", (self.rows, self.k)),
            constant("w", (self.n, self.k), "int8"),
            constant("bias", (self.n,), "int32"),
            constant("multiplier", (self.n,), "int32"),
            constant("shift", (self.n,), "int8"),
            stored("y", (self.rows, self.n), self.output),
        )

    @property
    def macs(self) -> int:
        return self.rows * self.k * self.n

    def reference(self, *arrays: Array) -> Array:
        x, w, bias, multiplier, shift = arrays
        # float64 is exact here, integers below 2**53 throughout, and much faster than numpy's integer product.
        accumulator = (x.astype(np.float64) @ w.astype(np.float64).T).astype(np.int64) + bias
        return requantize(accumulator, multiplier, shift, self.output)

    def example(self, rng: np.random.Generator) -> tuple[Array, ...]:
        return (
            examples.activations(rng, (self.rows, self.k)),
            examples.weights(rng, (self.n, self.k)),
            examples.biases(rng, self.n),
            *examples.rescaling(rng, (self.n,), taps=self.k, output=self.output),
        )


def cases() -> Iterable[Gemm]:
    yield Gemm(rows=1, k=1, n=1, output=Output())
    yield Gemm(rows=1, k=640, n=128, output=Output(zero_point=-128))
    yield Gemm(rows=3, k=17, n=5, output=Output(zero_point=127))
    yield Gemm(rows=2, k=33, n=6, output=Output(zero_point=-5, low=-5))
    yield Gemm(rows=1, k=3, n=9, output=Output(zero_point=3, low=-20, high=90))
    yield Gemm(rows=3, k=17, n=9, output=Output(-300, -(2**15), 2**15 - 1, "int16"))
    yield Gemm(rows=1, k=64, n=8, output=Output(2**15 - 1, -2000, 2**15 - 1, "int16"))
    for power in (False, True, True):
        yield Gemm(rows=40, k=3, n=9, output=Output(zero_point=3, low=-90, even=True, power=power))
