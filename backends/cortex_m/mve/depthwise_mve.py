"""Depthwise Conv on Helium: a channel's whole window in one vector, one instruction for up to sixteen products.

VMLADAV adds up sixteen products of bytes, and a depthwise window has 9. In a channels-last image the window of one
channel is spread over memory, so for each strip of output rows up to four image rows, padding included, are first
interleaved into scratch (VST4), where the four bytes of one channel and column are a word:

      4 rows of x: a, b, c, d              scratch, a word for each column and channel
      a0 a1 a2 ..  (0, 1: channels)        column 0: [a0 b0 c0 d0] [a1 b1 c1 d1] ..
      b0 b1 b2 ..                    ->    column 1: [a0 b0 c0 d0] [a1 b1 c1 d1] ..

A gather of the words of four columns is then a window of up to 4 x 4, and at stride 1 four windows of up to 3 x 3: the
weights moved by a byte give the output one row below, and moved by a word the one to the right.

      weights, lane by lane      . is 0
      w00   a b c . | d e f . | g h i . | . . . .           a d g
      w10   . a b c | . d e f | . g h i | . . . .           b e h     the kernel, column by column
      w01   . . . . | a b c . | d e f . | g h i .           c f i
      w11   . . . . | . a b c | . d e f | . g h i

The weights are stored as they come, a few bytes a channel: `lanes` says which of them goes where.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from bevel.backends.encodings.helium import LANES, TIES, needs_lift, scaling, without_lift
from bevel.backends.program.kernel import Kernel, Special
from bevel.backends.program.op import Array, Op, Operand, constant, scratch
from bevel.backends.program.ops import conv
from bevel.backends.program.ops.conv import Conv
from bevel.backends.program.program import Call
from bevel.backends.program.rates import Rates
from bevel.backends.program.shapes import blocks_of
from bevel.backends.target import Target
from bevel.backends.tir.lazy import T, tirx
from bevel.calib.arithmetic.requantize import Output

ROWS = 4  # of the image, interleaved
COLUMNS = 4  # in a vector
NOTHING = 255  # in `lanes`: no weight here


@dataclass(frozen=True)
class DepthwiseMve(Kernel):
    """`plain`, a convolution of each channel by itself, with its constants, then `lanes` uint8 [16] (see `lanes_of`),
    and scratch for four padded rows. `lifted`: some shift is below 33."""

    rates: ClassVar[Rates] = Rates(mac=0.61, byte=0.69, call=4550, code=620)

    plain: Conv
    lifted: bool

    @property
    def squares(self) -> bool:
        """Whether one vector of x serves two rows of two outputs."""
        plain, (rows, columns) = self.plain, self.plain.positions
        dense = plain.strides == (1, 1) and plain.dilations == (1, 1) and max(plain.kernel) < ROWS
        return dense and rows > 1 and columns > 1

    @property
    def padded_columns(self) -> int:
        """Columns of scratch: the image's with padding, or as many as the last vectors reach."""
        plain, (_, columns) = self.plain, self.plain.positions
        first = (columns - 2) if self.squares else (blocks_of(columns, 4) * 4 - 1) * plain.strides[1]
        return max(plain.pads[1] + plain.width, first + (COLUMNS - 1) * plain.dilations[1] + 1)

    @property
    def op(self) -> Op:
        return self.plain

    @property
    def header(self) -> str:
        return "bevel_mve_depthwise.h"

    def operands(self) -> tuple[Operand, ...]:
        *given, y = self.plain.operands()
        rows = scratch("rows", (self.padded_columns * self.plain.channels_out,), "int32")
        return (*given, constant("lanes", (LANES,), "uint8"), y, rows)

    def reference(self, *arrays: Array) -> Array:
        return self.plain.reference(*arrays[:-1])

    def build(self, name: str) -> Any:
        plain, convolve = self.plain, self.convolution()
        x, w, y, (size,) = *plain.operands()[:2], plain.operands()[-1], self.operands()[-1].shape
        channels = plain.channels_out

        @T.prim_func(s_tir=True)
        def depthwise_mve(
            X: T.Buffer((x.size,), "int8"),
            W: T.Buffer(w.shape, "int8"),
            B: T.Buffer((channels,), "int32"),
            M: T.Buffer((channels,), "int32"),
            S: T.Buffer((channels,), "int8"),
            L: T.Buffer((LANES,), "uint8"),
            Y: T.Buffer(y.shape, "int8"),
            I: T.Buffer((size,), "int32"),  # noqa: E741
        ):
            T.func_attr({"global_symbol": name, "tirx.noalias": True})
            convolve(X, W, B, M, S, L, Y, I)

        return depthwise_mve

    def convolution(self) -> Any:
        """A TIR macro (X, W, B, M, S, L, Y, I): the whole call."""
        plain, channel_of, row_of = self.plain, self._channel, self._row
        batch, height, width, channels = plain.operands()[0].shape
        rows, kh, row_step = plain.positions[0], plain.kernel[0], plain.dilations[0]
        (top, left, bottom, _), down, zero, squares = plain.pads, plain.strides[0], plain.x_zero_point, self.squares
        size = self.padded_columns * channels
        strip = 2 if squares else 1
        slots = kh + strip - 1  # rows of the image that a strip needs
        margin = left * channels
        after = size - margin - width * channels

        @T.macro
        def convolve(X, W, B, M, S, L, Y, I):  # noqa: E741
            for n in T.serial(batch):
                T.evaluate(fill(I, 0, margin * 4, zero))
                T.evaluate(fill(I, margin + width * channels, after * 4, zero))
                for block in T.serial(blocks_of(rows, strip)):
                    y = T.meta_var(T.min(block * strip, rows - strip))
                    T.evaluate(
                        tirx.call_extern(
                            "int32",
                            "bevel_mve_interleave",
                            tirx.address_of(I[margin]),
                            *[row_of(X, n, y * down + min(slot, slots - 1) * row_step - top) for slot in range(ROWS)],
                            width * channels,
                        )
                    )
                    for slot in T.unroll(slots):
                        row = T.meta_var(y * down + slot * row_step - top)
                        if (top > 0 or bottom > 0) and T.Or(row < 0, row >= height):
                            T.evaluate(fill_row(I, margin, slot, width * channels, zero))
                    for c in T.serial(channels):
                        T.evaluate(channel_of(Y, n, y, c, I, W, L, B[c], M[c], T.cast(S[c], "int32")))

        return convolve

    def _row(self, x: Any, n: Any, row: Any) -> Any:
        """The address of a row of the image, or of the nearest one to it."""
        _, height, width, channels = self.plain.operands()[0].shape
        inside = T.max(T.min(row, height - 1), 0)
        return tirx.address_of(x[(n * height + inside) * width * channels])

    def _channel(self, y: Any, n: Any, row: Any, c: Any, rows: Any, w: Any, lanes: Any, *rescaling: Any) -> Any:
        """TIR that computes one channel of a strip; `rescaling` is its bias, multiplier and shift."""
        plain, output = self.plain, self.plain.output
        spread = () if self.squares else (plain.strides[1], plain.dilations[1])
        return tirx.call_extern(
            "int32",
            "bevel_mve_depthwise_2x2" if self.squares else "bevel_mve_depthwise_1x4",
            tirx.address_of(y[n, row, 0, c]),
            tirx.address_of(rows[c]),
            tirx.address_of(w[c, 0, 0, 0]),
            tirx.address_of(lanes[0]),
            *rescaling,
            plain.channels_out,
            plain.positions[1],
            *spread,
            output.zero_point,
            output.low,
            output.high,
            scaling(self.lifted, output),
        )

    def example(self, rng: np.random.Generator) -> tuple[Array, ...]:
        *arrays, shift = self.plain.example(rng)
        return (*arrays, shift if self.lifted else without_lift(shift), lanes_of(self.plain.kernel))


def fill(rows: Any, first: int, count: int, value: int) -> Any:
    return tirx.call_extern("int32", "bevel_mve_fill", tirx.address_of(rows[first]), value, count)


def fill_row(rows: Any, first: int, slot: Any, count: int, value: int) -> Any:
    return tirx.call_extern("int32", "bevel_mve_fill_row", tirx.address_of(rows[first]), slot, value, count)


def lanes_of(kernel: tuple[int, int]) -> Array:
    """uint8 [16]: the place in a channel's weights [kh, kw] of each byte of the vector [column, row]."""
    lanes = np.full((COLUMNS, ROWS), NOTHING, np.uint8)
    kh, kw = kernel
    lanes[:kw, :kh] = np.arange(kh * kw).reshape(kh, kw).T
    return lanes.reshape(-1)


def specialize(call: Call, target: Target) -> Special | str:
    plain = call.kernel
    if not isinstance(plain, Conv):
        return "not a Conv"
    if "mve" not in target.abilities:
        return f"{target.name} has no Helium"
    if plain.output.even and not plain.output.power:
        return TIES
    if not plain.channels_in == plain.channels_out == plain.groups:
        return f"{plain.groups} groups of {plain.channels_in} channels"
    if max(plain.kernel) > ROWS:
        return f"a kernel of {plain.kernel[0]} x {plain.kernel[1]} is more than a vector"
    w, bias, _, shift = call.constants
    lifted = needs_lift(w.reshape(plain.channels_out, -1), bias, shift)
    if isinstance(lifted, str):
        return lifted
    return Special(DepthwiseMve(plain, lifted), (*call.constants, lanes_of(plain.kernel)))


def cases() -> Iterable[DepthwiseMve]:
    """Squares and rows, odd sizes, every corner of the padding; fewer outputs than a vector has."""
    plain = next(case for case in conv.cases() if case.groups == case.channels_in == 8)
    full = replace(plain.output, zero_point=-128)
    yield DepthwiseMve(plain, lifted=True)
    yield DepthwiseMve(replace(plain, batch=1, height=7, width=7, output=full), lifted=False)
    yield DepthwiseMve(replace(plain, height=2, width=2, x_zero_point=127), lifted=False)
    yield DepthwiseMve(replace(plain, kernel=(2, 3), pads=(0, 2, 3, 0), x_zero_point=3), lifted=False)
    strided = replace(plain, strides=(2, 2), pads=(0, 0, 1, 1), output=replace(full, zero_point=5, low=-60, high=99))
    yield DepthwiseMve(replace(strided, height=12, width=18), lifted=False)
    yield DepthwiseMve(replace(strided, kernel=(4, 4), dilations=(2, 3), height=9, width=11), lifted=False)
    yield DepthwiseMve(replace(plain, height=1, width=9, kernel=(1, 3), pads=(0, 1, 0, 1)), lifted=True)
    odd = replace(plain, channels_in=3, channels_out=3, groups=3)
    yield DepthwiseMve(replace(odd, kernel=(4, 2), strides=(3, 1), pads=(2, 1, 1, 0)), lifted=True)
    even = Output(3, -90, 90, even=True, power=True)
    for lifted in (False, True):
        yield DepthwiseMve(replace(plain, batch=1, height=9, width=9, output=even), lifted=lifted)
        yield DepthwiseMve(replace(odd, batch=1, height=9, width=9, strides=(2, 2), output=even), lifted=lifted)
    yield DepthwiseMve(replace(odd, height=3, width=3, strides=(2, 2)), lifted=False)
