"""Gemm with constant int8 weights: y = requantize(x @ w.T + bias)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from tvm.script import tirx as T

from bevel.backends.program import examples
from bevel.backends.program.kernel import Array, Kernel, Operand, activation, constant, output
from bevel.backends.tir import arithmetic as tir
from bevel.backends.tir.loops import register_tile
from bevel.calib.arithmetic.requantize import Output, requantize


@dataclass(frozen=True)
class Gemm(Kernel):
    """x: int8 [rows, k]; w: int8 [n, k]; bias, multiplier: int32 [n]; shift: int8 [n]; y: int8 [rows, n].

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
            output("y", (self.rows, self.n)),
        )

    @property
    def macs(self) -> int:
        return self.rows * self.k * self.n

    def reference(self, *arrays: Array) -> Array:
        x, w, bias, multiplier, shift = arrays
        # float64 is exact here, integers below 2**53 throughout, and much faster than numpy's integer product.
        accumulator = (x.astype(np.float64) @ w.astype(np.float64).T).astype(np.int64) + bias
        return requantize(accumulator, multiplier, shift, self.output)

    def build(self, name: str) -> Any:
        rows, k, n, output = self.rows, self.k, self.n, self.output
        tile = register_tile(n)

        @T.prim_func(s_tir=True)
        def gemm(
            X: T.Buffer((rows, k), "int8"),
            W: T.Buffer((n, k), "int8"),
            B: T.Buffer((n,), "int32"),
            M: T.Buffer((n,), "int32"),
            S: T.Buffer((n,), "int8"),
            Y: T.Buffer((rows, n), "int8"),
        ):
            T.func_attr({"global_symbol": name, "tirx.noalias": True})
            for i, block in T.grid(rows, n // tile):
                A = T.alloc_buffer((tile,), "int32")
                for u in T.unroll(tile):
                    A[u] = B[block * tile + u]
                for r in T.serial(k):
                    for u in T.unroll(tile):
                        A[u] = A[u] + T.cast(X[i, r], "int32") * T.cast(W[block * tile + u, r], "int32")
                for u in T.unroll(tile):
                    Y[i, block * tile + u] = tir.requantize(A[u], M[block * tile + u], S[block * tile + u], output)

        return gemm

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
    for power in (False, True, True):
        yield Gemm(rows=40, k=3, n=9, output=Output(zero_point=3, low=-90, even=True, power=power))
