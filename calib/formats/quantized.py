"""A constant tensor as integers: the reals it may be rounded to (`Grid`), and what it was rounded to (`Quantized`).

    real = scale * factor * (code - zero_point)

The scale is the tensor's or a channel's, the factor a block's, a whole number; formats without blocks have none. The
zero point belongs to the scale, or to the block. Codes
of a format that is no integer format are its steps (`bevel.calib.formats.levels`). Who rounds chooses codes on a grid
(`bevel.calib.rounding`); they are then a value that is made once and handed on.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from bevel.calib.formats.coded import MAX_CODES, Coded, at_levels, coded
from bevel.calib.formats.format import Codes
from bevel.calib.formats.levels import levels_of
from bevel.calib.formats.scheme import Floats, PerBlock, PerChannel, PerTensor, Scheme, TensorQuant, spread
from bevel.calib.formats.tensor_format import fits_int8

Reals = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Factors:
    """By how much the scale of each block exceeds its channel's: table[codes], at least 1; and its zero point,
    zeros[codes], where blocks have their own.

    blocks: PerTensor where every channel is one block, whose factor is 1. codes: uint8, shaped as
    `bevel.calib.formats.scheme.parameter_shape` says. table: int32, ascending; zeros: int32, as long.
    """

    blocks: PerTensor | PerBlock
    codes: NDArray[np.uint8]
    table: NDArray[np.int32]
    zeros: NDArray[np.int32] | None = None

    @staticmethod
    def of(blocks: PerBlock, values: NDArray[np.int64], zeros: NDArray[np.int64] | None = None) -> Factors:
        """values, zeros: of each block. Raises ValueError for more than 256 that differ, or pairs of both that do."""
        if zeros is None:
            found = coded(values)
            return Factors(blocks, found.codes, found.table)
        pairs, codes = np.unique(np.stack((values.ravel(), zeros.ravel())), axis=1, return_inverse=True)
        if pairs.shape[1] > MAX_CODES:
            raise ValueError(f"{pairs.shape[1]} factors with zero points do not fit codes of 8 bits")
        factors, points = pairs.astype(np.int32)
        return Factors(blocks, codes.reshape(values.shape).astype(np.uint8), factors, points)

    @staticmethod
    def none() -> Factors:
        """Of channels that are one block each."""
        return Factors(PerTensor(), np.zeros((), np.uint8), np.ones(1, np.int32))

    def spread(self, shape: tuple[int, ...]) -> NDArray[np.int64]:
        """Broadcastable against a tensor of `shape`."""
        factors: NDArray[np.int64] = spread(self.table.astype(np.int64)[self.codes], shape, self.blocks)
        return factors

    def zero_points(self, shape: tuple[int, ...]) -> NDArray[np.int32]:
        """Broadcastable against a tensor of `shape`."""
        zeros = np.zeros(len(self.table), np.int32) if self.zeros is None else self.zeros
        return spread(zeros[self.codes], shape, self.blocks)


@dataclass(frozen=True, eq=False)
class Grid:
    """The reals that a constant tensor may be rounded to. quant: one scale a tensor or channel; factors: of blocks."""

    quant: TensorQuant
    factors: Factors | None = None

    @property
    def scheme(self) -> Scheme:
        return self.quant.scheme

    def with_scale(self, scale: Floats) -> Grid:
        """The same with another scale, shaped like the one before."""
        return replace(self, quant=TensorQuant(self.scheme, scale, self.quant.zero_point))

    def steps(self, shape: tuple[int, ...]) -> tuple[Floats, NDArray[np.int32]]:
        """What a code is worth at each place, float32, and the zero point; both broadcast to a tensor of `shape`."""
        scale, zero_point = self.quant.spread(shape)
        if self.factors is None:
            return scale, zero_point
        return (scale * self.factors.spread(shape)).astype(np.float32), zero_point + self.factors.zero_points(shape)

    def nearest(self, x: NDArray[np.float32]) -> Codes:
        """The codes of the nearest reals, rounded as QuantizeLinear: float32 division, half to even, saturation."""
        step, zero_point = self.steps(x.shape)
        with np.errstate(over="ignore"):  # an overflowing quotient saturates like any other
            quotient = x.astype(np.float32, copy=False) / step
        codes = self.scheme.round(quotient, zero_point).astype(np.int32) + zero_point
        return codes.astype(self.scheme.dtype)


@dataclass(frozen=True, eq=False)
class Quantized:
    """codes: in the scheme's dtype, the tensor's shape. Raises ValueError for codes that the scheme has not."""

    grid: Grid
    codes: Codes

    def __post_init__(self) -> None:
        scheme = self.scheme
        if self.codes.dtype != scheme.dtype:
            raise ValueError(f"codes of {scheme.format.name} are {scheme.dtype}, not {self.codes.dtype}")
        if self.codes.size and (self.codes.min() < scheme.low or self.codes.max() > scheme.high):
            raise ValueError(f"codes from {self.codes.min()} to {self.codes.max()} lie outside {scheme.format.name}")

    @property
    def scheme(self) -> Scheme:
        return self.grid.scheme

    @property
    def scale(self) -> Floats:
        return self.grid.quant.scale

    @property
    def zero_point(self) -> Codes:
        return self.grid.quant.zero_point

    @property
    def axis(self) -> int | None:
        """Along which every index has a scale of its own; None where the tensor has one."""
        granularity = self.scheme.granularity
        return granularity.axis if isinstance(granularity, PerChannel) else None

    @property
    def integers(self) -> NDArray[np.int64]:
        """What the scale multiplies: codes less their zero point, times the factors of their blocks."""
        _, zero_point = self.grid.steps(self.codes.shape)
        integers = self.codes.astype(np.int64) - zero_point
        factors = self.grid.factors
        return integers if factors is None else integers * factors.spread(self.codes.shape)

    def dequantize(self) -> Floats:
        """The reals, as DequantizeLinear: one float32 multiplication."""
        scale, _ = self.grid.quant.spread(self.codes.shape)
        reals: Floats = self.integers.astype(np.float32) * scale
        return reals

    @property
    def coded(self) -> Coded | None:
        """The same by the places of codes among all of the format's, as it is stored; None for what is stored as it is:
        integers of one scale a channel within int8."""
        factors, levels = self.grid.factors, levels_of(self.scheme.format)
        if levels is None or (factors is None and (self.scheme.levels is None or fits_int8(self.scheme.format))):
            return None
        inner = at_levels(self.codes, levels)
        if factors is None:
            return inner
        return Coded(inner.codes, inner.bits, inner.table, factors.blocks, factors.codes, factors.table, factors.zeros)
