"""What an operator is to the overlay: sums of products over windows of an image, or of two tensors, rescaled.

The unit sums over whole words of channels. So whatever is not dense is dense by zeros: depthwise and grouped weights
are blocks of a matrix, pools, sums of tensors and tables its diagonal. A weight of more than 8 bits is several digits:

    x * w  ==  (x * w1) * 2**7 + x * w0
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from bevel.backends.fpga.overlay.layout import PixelLayout
from bevel.backends.fpga.overlay.tile import ComputeTile, TileLoop, TileWalk
from bevel.backends.program.op import Array
from bevel.backends.program.ops.round_even import RoundEven
from bevel.calib.arithmetic.requantize import Output, even_shift_right

DIGIT = 7  # bits that a sum is shifted by between digits
WORD_SPAN = 1 << 31  # what sums are within
NEAR = 1 << 17  # of products, before their shift


@dataclass(frozen=True)
class WindowedImage:
    """OverlaySums of a tensor of height x width pixels. before: rows and columns of padding; positions: of results."""

    height: int
    width: int
    channels: int
    kernel: tuple[int, int]
    positions: tuple[int, int]
    strides: tuple[int, int] = (1, 1)
    dilations: tuple[int, int] = (1, 1)
    before: tuple[int, int] = (0, 0)
    fill: int = 0

    @property
    def layout(self) -> PixelLayout:
        return PixelLayout(self.height * self.width, self.channels)

    def walk(self, at: int, depth: int, first: int, words: int) -> TileWalk:
        """Over `words` words of each pixel, of `depth`, from its `first` on."""
        (dy, dx), (sy, sx), row = self.dilations, self.strides, self.width * depth
        loops = (
            TileLoop(words, 1),
            TileLoop(self.kernel[1], dx * depth, x=dx),
            TileLoop(self.kernel[0], dy * row, y=dy),
            TileLoop(),
            TileLoop(self.positions[1], sx * depth, x=sx),
            TileLoop(self.positions[0], sy * row, y=sy),
        )
        top, left = self.before
        start = at + first - top * row - left * depth
        return TileWalk(start, loops, -left, -top, self.width, self.height, self.fill)


@dataclass(frozen=True, eq=False)
class ChannelScaling:
    """Of each channel, or of all by one: bias, multiplier, shift; and where results end. A shift of 0 is one of 1 by
    twice the multiplier. wide: products nearer than `NEAR` to between two integers lie there."""

    bias: Array
    multiplier: Array
    shift: Array
    output: Output
    wide: bool = False

    @classmethod
    def of(cls, bias: Array, multiplier: Array, shift: Array, output: Output) -> ChannelScaling:
        factor, none = np.atleast_1d(multiplier).astype(np.int64), np.atleast_1d(shift) == 0
        shifts = np.where(none, 1, np.atleast_1d(shift)).astype(np.int64)
        return cls(np.atleast_1d(bias).astype(np.int64), np.where(none, 2 * factor, factor), shifts, output)

    @property
    def refused(self) -> str | None:
        if self.output.dtype != "int8":
            return f"results of {self.output.dtype}"
        if not 0 <= int(self.multiplier.min()) <= int(self.multiplier.max()) < WORD_SPAN:
            return "a rescaling by more than 31 bits"
        return None

    def rounded(self, op: RoundEven) -> ChannelScaling | str:
        """Of sums that stay as they are, rounded then as `op` says."""
        if (self.multiplier != 1 << self.shift).any() or self.output.zero_point:
            return "sums of another scale than its own"
        sums = np.arange(-op.reach, op.reach + 1) if op.reach < NEAR else np.zeros(0, np.int64)
        found = sums * op.multiplier
        near = (found + NEAR) // (2 * NEAR) * (2 * NEAR)
        if (even_shift_right(found, op.shift, op.tolerance) != even_shift_right(near, op.shift)).any():
            return "ties that are no nearer than other sums"
        if not sums.size or op.shift < NEAR.bit_length() + 2:
            return "sums of too many bits to tell ties from"
        scaled = ChannelScaling.of(self.bias, np.array([op.multiplier]), np.array([op.shift]), op.output)
        return replace(scaled, output=replace(op.output, even=True), wide=True)

    def part(self, first: int, lanes: int) -> ChannelScaling:
        """Of `lanes` channels from `first` on; what is beyond the last is 0."""

        def some(values: Array, otherwise: int) -> Array:
            if len(values) == 1:
                return np.repeat(values, lanes)
            taken = values[first : first + lanes]
            return np.concatenate([taken, np.full(lanes - len(taken), otherwise)])

        return replace(self, bias=some(self.bias, 0), multiplier=some(self.multiplier, 0), shift=some(self.shift, 1))


AS_IT_IS = ChannelScaling(np.array([0]), np.array([2]), np.array([1]), Output())


@dataclass(frozen=True, eq=False)
class OverlaySums(ABC):
    """made: how its result lies."""

    made: PixelLayout
    rescaling: ChannelScaling

    @property
    @abstractmethod
    def given(self) -> tuple[PixelLayout, ...]:
        """How its inputs must lie; none where any will do, all in the same way."""

    @abstractmethod
    def tiles(self, lanes: int, places: Sequence[int], out: int) -> Iterator[ComputeTile]:
        """Of inputs at `places`, results from `out` on."""

    @property
    def sums(self) -> tuple[int, int]:
        """What its sums, the bias included, lie in."""
        return 0, 0

    @property
    def refused(self) -> str | None:
        low, high = self.sums
        if low < -WORD_SPAN or high >= WORD_SPAN:
            return "sums of more than 32 bits"
        return self.rescaling.refused

    def tile(self, lanes: int, group: int, walk: TileWalk, weights: Array, out: int, step: int) -> ComputeTile:
        one = self.rescaling.part(group * lanes, lanes)
        return ComputeTile(walk, weights, one.bias, one.multiplier, one.shift, one.output, out, step, wide=one.wide)


@dataclass(frozen=True, eq=False)
class WindowProducts(OverlaySums):
    """weights: [outputs, kh, kw, inputs of a group]."""

    image: WindowedImage
    weights: Array
    groups: int = 1

    @property
    def given(self) -> tuple[PixelLayout, ...]:
        return (self.image.layout,)

    @property
    def sums(self) -> tuple[int, int]:
        flat, bias = self.weights.reshape(len(self.weights), -1).astype(np.int64), self.rescaling.bias
        down, up = np.minimum(flat, 0).sum(1), np.maximum(flat, 0).sum(1)
        return int((127 * down - 128 * up + bias).min()), int((127 * up - 128 * down + bias).max())

    def tiles(self, lanes: int, places: Sequence[int], out: int) -> Iterator[ComputeTile]:
        of_group, depth = self.weights.shape[3], self.image.layout.depth(lanes)
        outputs = len(self.weights) // self.groups
        for number in range(self.made.depth(lanes)):
            first, end = number * lanes, min((number + 1) * lanes, len(self.weights))
            low = first // outputs * of_group // lanes
            words = -(-((end - 1) // outputs + 1) * of_group // lanes) - low
            dense = np.zeros((lanes, *self.image.kernel, words * lanes), np.int8)
            for channel in range(first, end):
                start = channel // outputs * of_group - low * lanes
                dense[channel - first, :, :, start : start + of_group] = self.weights[channel]
            split = dense.reshape(lanes, -1, lanes).transpose(1, 0, 2)
            walk = self.image.walk(places[0], depth, low, words)
            yield self.tile(lanes, number, walk, split, out + number, self.made.depth(lanes))


@dataclass(frozen=True, eq=False)
class WindowReduction(OverlaySums):
    """The sum of each channel of a window, or the largest."""

    image: WindowedImage
    maximum: bool = False

    @property
    def given(self) -> tuple[PixelLayout, ...]:
        return (self.image.layout,)

    @property
    def sums(self) -> tuple[int, int]:
        taps, bias = int(np.prod(self.image.kernel)), self.rescaling.bias
        return int(bias.min()) - 128 * taps, int(bias.max()) + 128 * taps

    def tiles(self, lanes: int, places: Sequence[int], out: int) -> Iterator[ComputeTile]:
        depth, eye = self.made.depth(lanes), np.eye(lanes, dtype=np.int8)[np.newaxis]
        for number in range(depth):
            walk = self.image.walk(places[0], depth, number, 1)
            one = self.tile(lanes, number, walk, eye, out + number, depth)
            yield replace(one, hold=True, maximum=self.maximum)


@dataclass(frozen=True, eq=False)
class ElementSums(OverlaySums):
    """Element by element: a factor for each input, and a table behind the sum."""

    factors: tuple[int, ...] = (1,)
    table: Array | None = None

    @property
    def given(self) -> tuple[PixelLayout, ...]:
        return ()

    @property
    def sums(self) -> tuple[int, int]:
        reach = 128 * sum(map(abs, self.factors))
        return int(self.rescaling.bias.min()) - reach, int(self.rescaling.bias.max()) + reach

    def tiles(self, lanes: int, places: Sequence[int], out: int) -> Iterator[ComputeTile]:
        digits = digits_of(self.factors)
        weights = np.array([np.eye(lanes) * factor for row in digits for factor in row]).astype(np.int8)
        step = places[1] - places[0] if len(places) > 1 else 0
        loops = (
            TileLoop(),
            TileLoop(len(places), step),
            TileLoop(),
            TileLoop(len(digits)),
            TileLoop(self.made.words(lanes), 1),
            TileLoop(),
        )
        one = self.tile(lanes, 0, TileWalk(places[0], loops), weights, out, 1)
        yield replace(one, table=self.table)


def digits_of(factors: Sequence[int]) -> list[tuple[int, ...]]:
    """Factors as sums of digits of 8 bits times powers of 2**DIGIT, the highest first: [digits][factors]."""
    rest, found = list(factors), list[tuple[int, ...]]()
    half = 1 << (DIGIT - 1)
    while any(rest) or not found:
        row = tuple((one + half) % (2 * half) - half for one in rest)
        rest = [(one - digit) >> DIGIT for one, digit in zip(rest, row, strict=True)]
        found.insert(0, row)
    return found
