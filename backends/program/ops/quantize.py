"""QuantizeLinear from float32: y = round_half_even(clamp(x / scale, low - zero_point, high - zero_point)) + zero_point.

Clamping first is what onnxruntime does too; it turns a NaN into the lower bound.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from bevel.backends.program.bands import Banding, Laid, element_by_element
from bevel.backends.program.op import Array, Op, Operand, activation, output


@dataclass(frozen=True)
class Quantize(Op):
    """x: float32 [size]; y: dtype [size], int8, uint8 or int16. scale is a float32 value, zero_point a dtype value.

    Equals onnxruntime's QuantizeLinear on x86-64 and aarch64 for every float32, infinities and NaN included.
    """

    size: int
    scale: float
    zero_point: int
    dtype: str = "int8"

    def __post_init__(self) -> None:
        check_scale(self.scale)

    @property
    def clamp(self) -> tuple[int, int]:
        """What x / scale is clamped to."""
        limits = np.iinfo(self.dtype)
        return int(limits.min) - self.zero_point, int(limits.max) - self.zero_point

    def operands(self) -> tuple[Operand, ...]:
        return activation("x", (self.size,), "float32"), output("y", (self.size,), self.dtype)

    def reference(self, *arrays: Array) -> Array:
        low, high = (np.float32(bound) for bound in self.clamp)
        with np.errstate(all="ignore"):
            steps = arrays[0] / np.float32(self.scale)
        # np.clip would let a NaN through.
        clamped = np.where(steps > low, np.minimum(steps, high), low)
        result: Array = (np.rint(clamped).astype(np.int32) + self.zero_point).astype(self.dtype)
        return result

    def banding(self, laid: Laid) -> Banding | None:
        return element_by_element(laid, self.size, lambda size: replace(self, size=size))

    def example(self, rng: np.random.Generator) -> tuple[Array, ...]:
        """Ties, their neighbours, both bounds and beyond, subnormals, infinities and NaN, as far as there is room."""
        scale = np.float32(self.scale)
        ties = (np.arange(2 * self.clamp[0] - 3, 2 * self.clamp[1] + 4) / 2).astype(np.float32) * scale
        smallest = np.finfo(np.float32).smallest_subnormal
        huge = np.finfo(np.float32).max
        special = np.array([0.0, -0.0, np.nan, np.inf, -np.inf, huge, -huge, smallest, -smallest], np.float32)
        near = [np.nextafter(ties, np.float32(np.inf)), np.nextafter(ties, np.float32(-np.inf))]
        noise = (rng.standard_normal(self.size) * 60).astype(np.float32) * scale
        values = np.concatenate([special, ties, *near, noise])
        return (values[: self.size],)


def check_scale(scale: float) -> None:
    """Raises ValueError unless `scale` is positive, finite and exactly a float32."""
    if not (0 < scale < np.inf and float(np.float32(scale)) == scale):
        raise ValueError(f"a scale must be a positive float32, not {scale!r}")


def cases() -> Iterable[Quantize]:
    for scale in (0.1, 1 / 3, 2.0**-7, 1.0, 7.3e-5, 1e30, 1.5e-38):
        yield Quantize(2400, float(np.float32(scale)), zero_point=-128)
    yield Quantize(2400, float(np.float32(0.1)), zero_point=127)
    yield Quantize(2400, float(np.float32(0.0235294122)), zero_point=0, dtype="uint8")
    yield Quantize(2401, 0.5, zero_point=255, dtype="uint8")
    yield Quantize(1, 1.0, zero_point=3)
    yield Quantize(3, 1.0, zero_point=-7)
    yield Quantize(5000, float(np.float32(0.1)), zero_point=-32768, dtype="int16")
    yield Quantize(5000, float(np.float32(7.3e-5)), zero_point=0, dtype="int16")
