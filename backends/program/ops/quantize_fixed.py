"""float32 to integers with bounds of their own: y = round_half_even(clamp(x / scale, low, high))."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from bevel.backends.program.bands import Banding, Laid, element_by_element
from bevel.backends.program.op import Array, Op, Operand, activation, output
from bevel.backends.program.ops.quantize import check_scale

LARGEST = 4_000_000


@dataclass(frozen=True)
class QuantizeFixed(Op):
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

    def banding(self, laid: Laid) -> Banding | None:
        return element_by_element(laid, self.size, lambda size: replace(self, size=size))

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
