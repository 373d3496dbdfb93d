"""float32 to integers with bounds of their own: y = round_half_even(clamp(x / scale, low, high)).

As `bevel.backends.tir.kernels.quantize`, with a larger number to round by: between 2**23 and 2**24 a float32 holds only
integers, and 12.5 million has four million of them on each side.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from tvm.script import tirx as T

from bevel.backends.program.kernel import Array, Kernel, Operand, activation, output
from bevel.backends.tir.kernels.quantize import MANTISSA_SPLIT, assembled, check_scale, float_parts

ROUNDER = 12_500_000
LARGEST = 4_000_000


@dataclass(frozen=True)
class QuantizeFixed(Kernel):
    """x: float32 [size]; y: int32 [size], from `low` to `high`, which lie within +-4000000; scale is a float32 value.

    A NaN becomes `low`, as onnxruntime's Clip and Cast make nothing defined of it. Raises ValueError for other bounds.
    """

    size: int
    scale: float
    low: int
    high: int

    def __post_init__(self) -> None:
        check_scale(self.scale)
        if not -LARGEST <= self.low <= self.high <= LARGEST:
            raise ValueError(f"bounds {self.low} and {self.high} do not lie within +-{LARGEST}")

    def operands(self) -> tuple[Operand, ...]:
        return activation("x", (self.size,), "float32"), output("y", (self.size,), "int32")

    @property
    def in_place(self) -> bool:
        return True

    def reference(self, *arrays: Array) -> Array:
        low, high = np.float32(self.low), np.float32(self.high)
        with np.errstate(all="ignore"):
            steps = arrays[0] / np.float32(self.scale)
        # np.clip would let a NaN through.
        result: Array = np.rint(np.where(steps > low, np.minimum(steps, high), low)).astype(np.int32)
        return result

    def build(self, name: str) -> Any:
        size, low, high = self.size, self.low, self.high
        mantissa, factors = float_parts(self.scale)

        @T.prim_func(s_tir=True)
        def quantize_fixed(X: T.Buffer((size,), "float32"), Y: T.Buffer((size,), "int32")):
            T.func_attr({"global_symbol": name, "tirx.noalias": True})
            S = T.sblock_alloc_buffer((3,), "float32")
            S[0] = T.float32(mantissa // MANTISSA_SPLIT)
            S[1] = assembled(S[0], mantissa % MANTISSA_SPLIT, factors)
            for i in T.serial(size):
                # Stored in between: as one expression it would divide anew for each of its uses.
                S[2] = X[i] / S[1]
                S[2] = T.Select(S[2] > T.float32(low), S[2], T.float32(low))
                S[2] = T.Select(S[2] < T.float32(high), S[2], T.float32(high))
                Y[i] = T.cast(S[2] + T.float32(ROUNDER), "int32") - ROUNDER

        return quantize_fixed

    def example(self, rng: np.random.Generator) -> tuple[Array, ...]:
        """Bounds and beyond, ties, their neighbours, small and special values."""
        scale = np.float32(self.scale)
        smallest, huge = np.finfo(np.float32).smallest_subnormal, np.finfo(np.float32).max
        special = np.array([0.0, -0.0, np.nan, np.inf, -np.inf, huge, -huge, smallest, -smallest], np.float32)
        edges = [2 * bound + way for bound in (self.low, self.high) for way in (-1, 1)]
        doubled = np.array([*edges, 1, 3, -1, -3, *rng.integers(2 * self.low - 2, 2 * self.high + 3, self.size)])
        ties = (doubled / 2).astype(np.float32) * scale
        near = np.nextafter(ties, np.float32(0))
        return (np.concatenate([special, np.stack([ties, near], axis=1).ravel()])[: self.size],)


def cases() -> Iterable[QuantizeFixed]:
    for scale in (2.0**-18, 0.1, 1 / 3, 7.3e-5, 1e30):
        yield QuantizeFixed(500, float(np.float32(scale)), -1572864, 1572864)
    yield QuantizeFixed(501, 1.0, -LARGEST, LARGEST)
    yield QuantizeFixed(300, 0.5, 0, 5)
    yield QuantizeFixed(1, 1.0, -3, 3)
