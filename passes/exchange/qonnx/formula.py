"""What the quantizers of QONNX compute, as its specification defines them: the float each input becomes, and the
integer behind it.

    Quant         y = (round(clip(x / scale + zeropt, low, high)) - zeropt) * scale
    BipolarQuant  y = scale where x >= 0, else -scale
    FloatQuant    y = clip(round(x / scale / step) * step, -max, max) * scale,  step = 2**(exponent of x / scale - m)

Source: Pappalardo et al. 2022, "QONNX: Representing Arbitrary-Precision Quantized Neural Networks", section 4, and the
operator descriptions of the qonnx package. All arithmetic is float32, as there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Integers = NDArray[np.int64]
Rounding = Callable[[NDArray[Any]], NDArray[Any]]


def away(x: NDArray[Any]) -> NDArray[Any]:
    result: NDArray[Any] = np.copysign(np.ceil(np.abs(x)), x)
    return result


def half_away(x: NDArray[Any]) -> NDArray[Any]:
    result: NDArray[Any] = np.copysign(np.floor(np.abs(x) + np.float32(0.5)), x)
    return result


def half_toward_zero(x: NDArray[Any]) -> NDArray[Any]:
    result: NDArray[Any] = np.copysign(np.ceil(np.abs(x) - np.float32(0.5)), x)
    return result


ROUND = "ROUND"
HALF_EVEN = (ROUND, "HALF_EVEN")
ROUNDINGS: Mapping[str, Rounding] = {
    **dict.fromkeys(HALF_EVEN, np.rint),
    "CEIL": np.ceil,
    "FLOOR": np.floor,
    "UP": away,
    "DOWN": np.trunc,
    "ROUND_TO_ZERO": np.trunc,
    "HALF_UP": half_away,
    "HALF_DOWN": half_toward_zero,
}


@dataclass(frozen=True, eq=False)
class Quant:
    """Integers of `bits` bits. scale, zero_point: float32, broadcastable against the tensor. narrow: without the lowest
    integer where `signed`, else without the highest. rounding: a key of `ROUNDINGS`."""

    scale: Floats
    zero_point: Floats
    bits: int
    signed: bool = True
    narrow: bool = False
    rounding: str = ROUND

    @property
    def low(self) -> int:
        return self.narrow - 2 ** (self.bits - 1) if self.signed else 0

    @property
    def high(self) -> int:
        return int(2 ** (self.bits - 1) - 1) if self.signed else 2**self.bits - 1 - self.narrow

    @property
    def has_zero(self) -> bool:
        """Whether real 0 is among the values: zero points are whole numbers."""
        return bool(np.array_equal(self.zero_point, np.rint(self.zero_point)))

    def integers(self, x: Floats) -> Integers:
        """The integers of `x`, zero point included."""
        moved = x / self.scale + self.zero_point
        clipped = np.clip(moved, np.float32(self.low), np.float32(self.high))
        return ROUNDINGS[self.rounding](clipped).astype(np.int64)

    def __call__(self, x: Floats) -> Floats:
        result: Floats = (self.integers(x).astype(np.float32) - self.zero_point) * self.scale
        return result


@dataclass(frozen=True, eq=False)
class BipolarQuant:
    """One bit, for 1 and -1. scale: float32, broadcastable against the tensor."""

    scale: Floats

    def integers(self, x: Floats) -> Integers:
        return np.where(x >= 0, 1, -1).astype(np.int64)

    def __call__(self, x: Floats) -> Floats:
        result: Floats = self.integers(x).astype(np.float32) * self.scale
        return result


@dataclass(frozen=True, eq=False)
class FloatQuant:
    """A sign, `exponent` and `mantissa` bits, subnormal numbers, saturating at `maximum` where that is below what the
    bits can say. scale: float32, broadcastable against the tensor."""

    scale: Floats
    exponent: int
    mantissa: int
    bias: int
    maximum: float = np.inf
    rounding: str = ROUND

    @property
    def unit(self) -> float:
        """The smallest number above 0, of which all others are multiples."""
        return 2.0 ** (1 - self.bias - self.mantissa)

    @cached_property
    def steps(self) -> int:
        """The largest number in units."""
        largest = (2.0 - 2.0**-self.mantissa) * 2.0 ** (2**self.exponent - 1 - self.bias)
        return int(min(largest, self.maximum) / self.unit)

    def integers(self, x: Floats) -> Integers:
        """The numbers in units."""
        quotient = x / self.scale / np.float32(self.unit)
        _, above = np.frexp(quotient)  # |quotient| = f * 2**above, f in [0.5, 1)
        shift = np.maximum(above - 1 - self.mantissa, 0)
        rounded = np.ldexp(ROUNDINGS[self.rounding](np.ldexp(quotient, -shift)), shift)
        clipped: Integers = np.clip(rounded, -self.steps, self.steps).astype(np.int64)
        return clipped

    def __call__(self, x: Floats) -> Floats:
        result: Floats = (self.integers(x) * self.unit).astype(np.float32) * self.scale
        return result


Quantizer = Quant | BipolarQuant | FloatQuant
