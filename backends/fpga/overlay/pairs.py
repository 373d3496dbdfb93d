"""Sums and products of two tensors, of which one may be repeated, and of a tensor and what is constant for a channel.

A product of two tensors less their zero points is

    (a - za) * (b - zb) = a * b - za * b - zb * a + za * zb

The unit multiplies by weights, or by the elements that it has read a step before: b and a are read in turns, and the
last time a is multiplied by b. Weights for both add the rest, those for a before that last time: as digits, whose sums
are shifted, where the last digit for a is 0 (zero points of 0 and -128), else whole, and those for b as a sum of two.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product
from math import prod

import numpy as np

from bevel.backends.fpga.nodes.mul import repetition
from bevel.backends.fpga.overlay.layout import PixelLayout
from bevel.backends.fpga.overlay.tile import ComputeTile, PairedWords, TileLoop, TileWalk
from bevel.backends.fpga.overlay.windows import ChannelScaling, ElementSums, OverlaySums, digits_of
from bevel.backends.fpga.stages.multiply import Repeated
from bevel.backends.program.op import Array
from bevel.backends.program.pairs import Pair

BYTES = (-128, 127)


@dataclass(frozen=True, eq=False)
class SumsOfTwo(OverlaySums):
    """factors: of the tensor that is as large as the result, and of the other one; multiplied: their product is added;
    first: whether the larger one is the first input.

    repeated: whether the other one is repeated as a whole, each `pixels` pixels, or each element of it for as many
    neighbours.
    """

    factors: tuple[int, int]
    multiplied: bool
    repeated: Repeated = "never"
    pixels: int = 1
    first: bool = True

    @property
    def given(self) -> tuple[PixelLayout, ...]:
        if self.repeated == "never":
            return ()
        channels, turns = self.made.channels, self.made.pixels // self.pixels
        other = PixelLayout(self.pixels, channels) if self.repeated == "whole" else PixelLayout(turns, 1)
        return (self.made, other) if self.first else (other, self.made)

    @property
    def sums(self) -> tuple[int, int]:
        large, other = self.factors
        if self.multiplied:
            found = [(a + other) * (b + large) for a, b in product(BYTES, BYTES)]
            return min(found), max(found)
        reach, bias = 128 * (abs(large) + abs(other)), self.rescaling.bias
        return int(bias.min()) - reach, int(bias.max()) + reach

    @property
    def spread(self) -> bool:
        """Whether only the first element of the other one's words counts."""
        return self.repeated == "each"

    def steps(self) -> tuple[list[tuple[int, int]], bool]:
        """Weights of both tensors, at each turn of theirs, and whether those are digits."""
        large, other = self.factors
        digits = [(one[0], one[1]) for one in digits_of((large, other))]
        if not self.multiplied or digits[-1][0] == 0:
            return digits, True
        part = min(other, BYTES[1])
        return [(large, part), (0, other - part)], False

    def tiles(self, lanes: int, places: Sequence[int], out: int) -> Iterator[ComputeTile]:
        turns, digits = self.steps()
        eye = np.eye(lanes, dtype=np.int8)
        others = np.zeros_like(eye)
        others[:, 0] = 1
        each = others if self.spread else eye
        weights = np.array([one for large, other in turns for one in (each * other, eye * large)]).astype(np.int8)
        large, other = places if self.first else (places[1], places[0])
        inner = (
            TileLoop(2, x=1),
            TileLoop(1 if digits else len(turns)),
            TileLoop(),
            TileLoop(len(turns) if digits else 1),
        )
        for first, results, step, place, moves in self.parts(lanes):
            walk = TileWalk(large + first, (*inner, TileLoop(results, step), TileLoop()), width=2)
            pair = PairedWords(other + place, moves, self.spread, self.multiplied)
            yield replace(self.tile(lanes, 0, walk, weights, out + first, step), pair=pair)

    def parts(self, lanes: int) -> Iterator[tuple[int, int, int, int, bool]]:
        """Words with others of the same place, or of places behind each other: the first, how many, how far from each
        other, the first of the others, and whether they move."""
        words, turns = self.made.words(lanes), self.made.pixels // self.pixels
        if self.repeated == "never":
            yield 0, words, 1, 0, True
        elif self.spread and turns == 1:
            yield 0, words, 1, 0, False
        else:
            step = words // turns
            for first in range(step):
                yield first, turns, step, 0 if self.spread else first, self.spread


@dataclass(frozen=True, eq=False)
class ChannelSums(OverlaySums):
    """Each channel times a factor of its own: int [channels]."""

    factors: Array

    @property
    def given(self) -> tuple[PixelLayout, ...]:
        return (self.made,)

    @property
    def sums(self) -> tuple[int, int]:
        reach, bias = 128 * np.abs(self.factors.astype(np.int64)), self.rescaling.bias
        return int((bias - reach).min()), int((bias + reach).max())

    def tiles(self, lanes: int, places: Sequence[int], out: int) -> Iterator[ComputeTile]:
        depth = self.made.depth(lanes)
        for number in range(depth):
            factors = [int(one) for one in self.factors[number * lanes : (number + 1) * lanes]]
            digits = np.array(digits_of(factors + [0] * (lanes - len(factors))))
            weights = (np.eye(lanes, dtype=np.int64) * digits[:, np.newaxis]).astype(np.int8)
            loops = (*(TileLoop(),) * 3, TileLoop(len(digits)), TileLoop(self.made.pixels, depth), TileLoop())
            walk = TileWalk(places[0] + number, loops)
            yield self.tile(lanes, number, walk, weights, out + number, depth)


def pair_sums(
    op: Pair, given: tuple[PixelLayout, ...], factors: tuple[int, int], multiplied: bool, rescaling: ChannelScaling
) -> OverlaySums | str:
    """Of two tensors; factors: in their order."""
    shapes = (op.a_shape, op.b_shape)
    whole = next((place for place in (0, 1) if shapes[place] == op.shape), None)
    if whole is None:
        return "both of its inputs are repeated"
    found = repetition(op.shape, shapes[1 - whole])
    if found is None:
        return "one of its inputs is repeated along axes between others"
    repeated, length = found
    ordered = (factors[whole], factors[1 - whole])
    if repeated == "never":
        if multiplied:
            return SumsOfTwo(given[0], rescaling, ordered, multiplied)
        return ElementSums(given[0], rescaling, factors)
    made = PixelLayout(prod(op.shape[:-1]), op.shape[-1])
    return SumsOfTwo(made, rescaling, ordered, multiplied, repeated, max(1, length // made.channels), whole == 0)


def channel_sums(
    op: Pair, given: PixelLayout, factors: Array, biases: Array, rescaling: ChannelScaling
) -> OverlaySums | str:
    """Of a tensor and a constant. factors, biases: what an element is multiplied by, and what is added; int64,
    broadcast to the result."""
    channels = op.shape[-1] if op.shape else 1
    rows = [np.broadcast_to(one, op.shape).reshape(-1, channels) for one in (factors, biases)]
    if not any(np.ptp(one) for one in rows):
        factor, bias = (int(one[0, 0]) for one in rows)
        return ElementSums(given, replace(rescaling, bias=np.array([bias])), (factor,))
    if any(np.ptp(one, axis=0).any() for one in rows):
        return "its constant is another at each pixel"
    made = PixelLayout(prod(op.shape[:-1]), channels)
    return ChannelSums(made, replace(rescaling, bias=rows[1][0]), rows[0][0])
