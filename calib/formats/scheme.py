"""How a tensor is quantized: a format, how many scales there are, and where zero lies.

real = scale * (code - zero_point), computed exactly as ONNX QuantizeLinear and DequantizeLinear compute it. The codes
of a format that is no integer format are here its steps (`bevel.calib.formats.levels`): small integers, in int8 where
they fit it, or in int16 or int32.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bevel.calib.formats.format import INT8, Codes, Format, IntFormat
from bevel.calib.formats.levels import Levels, levels_of, nearest

Floats = NDArray[np.float32]

SIGNED = (np.int8, np.int16, np.int32)


@dataclass(frozen=True)
class PerTensor:
    """One scale; scale shape ()."""


@dataclass(frozen=True)
class PerChannel:
    """One scale for each index along `axis`; scale shape [C]."""

    axis: int


@dataclass(frozen=True)
class PerBlock:
    """One scale for every `size` consecutive elements along `axis`; the last block may be shorter.

    The scale has the tensor's shape with ceil(n / size) along `axis`, as ONNX blocked quantization has it (opset 21).
    """

    axis: int
    size: int

    def __post_init__(self) -> None:
        if self.size < 1:
            raise ValueError(f"a block has at least one element, not {self.size}")


Granularity = PerTensor | PerChannel | PerBlock


@dataclass(frozen=True)
class Scheme:
    """A format and what shares a scale.

    symmetric: the zero point is 0. restricted: codes stay in [-high, high], so that negating a code cannot overflow;
    weights use it. QuantizeLinear saturates to the whole format and cannot restrict, so activations do not use it.
    A zero point of a format that is no integer format says where real 0 lies, which its dense steps then are not
    around. Raises ValueError for a restricted scheme that is not symmetric and of a signed integer format, and for a
    format that is no integer format and whose values are not integer steps below 2**24.
    """

    format: Format
    granularity: Granularity = PerTensor()
    symmetric: bool = False
    restricted: bool = False

    def __post_init__(self) -> None:
        signed = isinstance(self.format, IntFormat) and self.format.signed
        if self.restricted and not (self.symmetric and signed):
            raise ValueError(f"a restricted scheme is symmetric and signed, which {self} is not")
        if self.levels is None and not isinstance(self.format, IntFormat):
            raise ValueError(f"the values of {self.format.name} are not integer steps below 2**24")

    @cached_property
    def levels(self) -> Levels | None:
        """The steps of a format that is no integer format; None where every integer from `low` to `high` is a code."""
        return None if isinstance(self.format, IntFormat) else levels_of(self.format)

    @cached_property
    def dtype(self) -> np.dtype[Any]:
        """The numpy type of codes and zero points."""
        if isinstance(self.format, IntFormat):
            return self.format.dtype
        return next(np.dtype(one) for one in SIGNED if self._steps.steps[-1] <= np.iinfo(one).max)

    @cached_property
    def low(self) -> int:
        if isinstance(self.format, IntFormat):
            return -self.format.high if self.restricted else self.format.low
        return self._steps.steps[0]

    @cached_property
    def high(self) -> int:
        return self.format.high if isinstance(self.format, IntFormat) else self._steps.steps[-1]

    @property
    def _steps(self) -> Levels:
        levels = self.levels
        if levels is None:
            raise TypeError(f"{self.format.name} has every integer as a step")
        return levels

    def round(self, quotient: NDArray[Any], zero_point: NDArray[Any] | int = 0) -> NDArray[Any]:
        """Reals in units of the scale to the nearest code less its zero point, saturating; the type is kept."""
        if self.levels is not None:
            steps = nearest(quotient + zero_point, self.format, self.levels) - zero_point
            return steps.astype(quotient.dtype)
        # Saturating before the zero point is added keeps every number exact in float32.
        rounded: NDArray[Any] = np.clip(np.rint(quotient), self.low - zero_point, self.high - zero_point)
        return rounded


INT8_ACTIVATIONS = Scheme(INT8)
INT8_WEIGHTS = Scheme(INT8, PerChannel(0), symmetric=True, restricted=True)


@dataclass(frozen=True, eq=False)
class TensorQuant:
    """One tensor's scheme and its numbers.

    scale: float32, finite and above 0, shaped as its granularity says. zero_point: the scale's shape, in the format's
    dtype. Raises ValueError for numbers that break this.
    """

    scheme: Scheme
    scale: Floats
    zero_point: Codes

    def __post_init__(self) -> None:
        if self.scale.dtype != np.float32 or not (all_true(self.scale > 0) and all_true(self.scale < np.inf)):
            raise ValueError(f"scales are finite float32 above 0, not {self.scale}")
        if self.zero_point.shape != self.scale.shape or self.zero_point.dtype != self.scheme.dtype:
            raise ValueError(
                f"a zero point for scales {self.scale.shape} of {self.scheme.format.name} cannot be "
                f"{self.zero_point.dtype} {self.zero_point.shape}"
            )
        if not (all_true(self.zero_point >= self.scheme.low) and all_true(self.zero_point <= self.scheme.high)):
            raise ValueError(f"zero points {self.zero_point} lie outside {self.scheme.format.name}")

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, TensorQuant)
            and self.scheme == other.scheme
            and np.array_equal(self.scale, other.scale)
            and np.array_equal(self.zero_point, other.zero_point)
        )

    def __hash__(self) -> int:
        return hash((self.scheme, self.scale.tobytes(), self.zero_point.tobytes()))

    def quantize(self, x: NDArray[Any]) -> Codes:
        """Codes of the float tensor `x`, as QuantizeLinear: float32 division, half to even, zero point, saturation."""
        scale, zero_point = self.spread(x.shape)
        with np.errstate(over="ignore"):  # an overflowing quotient saturates like any other
            quotient = x.astype(np.float32, copy=False) / scale
        codes: Codes = (self.scheme.round(quotient, zero_point).astype(np.int32) + zero_point).astype(self.scheme.dtype)
        return codes

    def dequantize(self, codes: Codes) -> Floats:
        """The reals of `codes`, as DequantizeLinear: one float32 multiplication."""
        scale, zero_point = self.spread(codes.shape)
        reals: Floats = (codes.astype(np.int32) - zero_point).astype(np.float32) * scale
        return reals

    def fake(self, x: NDArray[Any]) -> Floats:
        """What remains of `x` after quantizing and dequantizing it."""
        return self.dequantize(self.quantize(x))

    def spread(self, shape: tuple[int, ...]) -> tuple[Floats, NDArray[np.int32]]:
        """Scale and int32 zero point, broadcastable against a tensor of `shape`."""
        granularity = self.scheme.granularity
        zero_point = self.zero_point.astype(np.int32)
        return spread(self.scale, shape, granularity), spread(zero_point, shape, granularity)


def all_true(flags: NDArray[np.bool_] | np.bool_) -> bool:
    """numpy reduces an array without dimensions at many times the price of reading it."""
    return bool(flags) if flags.ndim == 0 else bool(flags.all())


def spread(parameter: NDArray[Any], shape: tuple[int, ...], granularity: Granularity) -> NDArray[Any]:
    """`parameter`, shaped as `granularity` says, made broadcastable against a tensor of `shape`.

    Raises ValueError where its shape is not the one that such a tensor needs.
    """
    if parameter.shape != (expected := parameter_shape(shape, granularity)):
        raise ValueError(f"{granularity} of a tensor {shape} has parameters {expected}, not {parameter.shape}")
    match granularity:
        case PerTensor():
            return parameter
        case PerChannel(axis):
            return parameter.reshape([-1 if place == axis % len(shape) else 1 for place in range(len(shape))])
        case PerBlock(axis, size):
            repeated = np.repeat(parameter, size, axis)
            return repeated.take(np.arange(shape[axis]), axis)


def parameter_shape(shape: tuple[int, ...], granularity: Granularity) -> tuple[int, ...]:
    """The shape of scales and zero points for a tensor of `shape`. Raises ValueError for an axis it does not have."""
    if isinstance(granularity, PerTensor):
        return ()
    if not -len(shape) <= granularity.axis < len(shape):
        raise ValueError(f"a tensor {shape} has no axis {granularity.axis}")
    axis = granularity.axis % len(shape)
    if isinstance(granularity, PerChannel):
        return (shape[axis],)
    return (*shape[:axis], -(-shape[axis] // granularity.size), *shape[axis + 1 :])
