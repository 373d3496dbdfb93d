"""From float32 to the steps of a minifloat: y = round(clamp(x / scale, -high, high)), ties to even.

The distance of neighbouring steps doubles with every power of two.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from bevel.backends.program.bands import Banding, Laid, element_by_element
from bevel.backends.program.op import Array, Op, Operand, activation, output
from bevel.backends.program.ops.quantize import check_scale
from bevel.calib.arithmetic.round_float import FloatSteps


@dataclass(frozen=True)
class QuantizeFloat(Op):
    """x: float32 [size]; y: dtype [size], steps of a minifloat. scale, a float32 value, is the size of a step."""

    size: int
    scale: float
    mantissa: int
    high: int
    dtype: str = "int16"

    def __post_init__(self) -> None:
        check_scale(self.scale)

    @property
    def steps(self) -> FloatSteps:
        return FloatSteps(self.mantissa, self.high)

    def operands(self) -> tuple[Operand, ...]:
        return activation("x", (self.size,), "float32"), output("y", (self.size,), self.dtype)

    def reference(self, *arrays: Array) -> Array:
        with np.errstate(all="ignore"):
            quotient = (arrays[0] / np.float32(self.scale)).astype(np.float32)
            return self.steps.round_float(quotient).astype(self.dtype)

    def banding(self, laid: Laid) -> Banding | None:
        return element_by_element(laid, self.size, lambda size: replace(self, size=size))

    def example(self, rng: np.random.Generator) -> tuple[Array, ...]:
        """Multiples of half a step and their neighbours, both bounds and beyond, infinities, NaN, and noise."""
        scale, reach = np.float32(self.scale), 4 * 2 ** (self.mantissa + 1)
        small = np.arange(-reach, reach + 1) / 2
        ties = np.concatenate([small * 2.0**step for step in range(self.steps.exponents)]).astype(np.float32) * scale
        top = np.array([self.high, 2 * self.high, 1e30], np.float32) * scale
        special = np.array([0.0, -0.0, np.nan, np.inf, -np.inf, *top, *-top], np.float32)
        near = [np.nextafter(ties, np.float32(np.inf)), np.nextafter(ties, np.float32(-np.inf))]
        noise = (rng.standard_normal(self.size) * self.high / 2).astype(np.float32) * scale
        return (np.concatenate([special, ties, *near, noise])[: self.size],)


def cases() -> Iterable[QuantizeFloat]:
    e3m2, e4m3 = (2, 448), (3, 229376)
    for scale in (0.1, 1 / 3, 2.0**-7, 7.3e-5):
        yield QuantizeFloat(1500, float(np.float32(scale)), *e3m2)
        yield QuantizeFloat(6000, float(np.float32(scale)), *e4m3, dtype="int32")
    yield QuantizeFloat(1, 1.0, *e3m2)
