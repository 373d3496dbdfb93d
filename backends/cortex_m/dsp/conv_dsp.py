"""Conv for the DSP extension: two neighbouring pixels by four output channels at a time, four products in two
multiplications.

A row of a window is a run of kw * Cin bytes, as channels come last. The runs of two neighbouring windows are widened to
int16 side by side, once for all output channels, and for all output rows of a band: where windows overlap, the runs of
a strip serve several output rows, each from where its window starts:

        input rows      strip of a pixel pair           windows (3x3, stride 1)
        0  .........    run 0, pair of pixels           row 0
        1  .........    run 1                           row 0, 1
        2  .........    run 2                           row 0, 1, 2
        3  .........    run 3                              1, 2, 3

Padding is filled in when widening, so that no window has borders. An odd last column goes alone. Packed weights, and
what a block of them is: `bevel.backends.encodings.packing`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from bevel.backends.cortex_m.dsp.gemm_dsp import channels_of, packed_operands, shared_output
from bevel.backends.cortex_m.dsp.tiles import Tiled, Tiles, call
from bevel.backends.encodings import packing
from bevel.backends.encodings.packing import Channels
from bevel.backends.program.kernel import Special
from bevel.backends.program.op import Array, Op, Operand, Role, scratch
from bevel.backends.program.ops.conv import Conv
from bevel.backends.program.program import Call
from bevel.backends.program.rates import Rates
from bevel.backends.target import Target
from bevel.backends.tir.lazy import T
from bevel.calib.arithmetic.requantize import UPPER_WORD, Output

STRIP_BYTES = 3072  # a strip holds one window, however large, and more output rows up to this size


@dataclass(frozen=True)
class ConvDsp(Tiled):
    """`plain`, neither grouped nor dilated, with packed weights: x: int8 [N, H, W, Cin]; packed: int32 [blocks, words];
    y: int8 [N, OH, OW, Cout].

    The output's zero point is part of packed, so that layers that differ in it share a function. Where ratios, or ties
    to even, need the general formula (`apart`), the kernel has it, and multiplier: int32 [Cout] and shift: int8 [Cout]
    come after packed.
    """

    rates: ClassVar[Rates] = Rates(mac=0.79, output=15, code=920)

    plain: Conv
    apart: bool = False

    @property
    def run(self) -> int:
        """Elements of one row of a window."""
        return self.plain.kernel[1] * self.plain.channels_in

    @property
    def run_words(self) -> int:
        return packing.row_words(self.run)

    @property
    def taps(self) -> int:
        return packing.padded_taps(2 * self.run_words * self.plain.kernel[0])

    @property
    def band(self) -> int:
        """Output rows that share a strip: a divisor of OH."""
        rows = self.plain.positions[0]
        fitting = [
            band for band in range(1, rows + 1) if rows % band == 0 and self.strip_words(band) * 4 <= STRIP_BYTES
        ]
        return max(fitting, default=1)

    def strip_rows(self, band: int) -> int:
        return (band - 1) * self.plain.strides[0] + self.plain.kernel[0]

    def strip_words(self, band: int) -> int:
        """A strip's words for two pixels, with what the last window's padded taps read past its end."""
        beyond = self.taps - 2 * self.run_words * self.plain.kernel[0]
        return 2 * self.run_words * self.strip_rows(band) + beyond

    @property
    def tiles(self) -> Tiles:
        return Tiles(self.plain.channels_out, self.taps, self.strip_words(self.band), self.plain.output, self.apart)

    def operands(self) -> tuple[Operand, ...]:
        (x,), (y,) = self.plain.roles(Role.INPUT), self.plain.roles(Role.OUTPUT)
        return x, *self.packed_operands(), y, scratch("strip", (self.tiles.scratch_words,), "int32")

    @property
    def op(self) -> Op:
        return self.plain

    def reference(self, *arrays: Array) -> Array:
        x, packed, *rescaling = arrays
        channels = packing.unpack(packed, self.plain.channels_out)
        multiplier, shift = rescaling or (channels.multiplier, channels.shift)
        w = packing.from_widened_order(channels.w, self.plain.kernel[0], self.run)
        output = self.plain.output
        output = output if self.apart else replace(output, zero_point=packing.zero_point(packed))
        plain = replace(self.plain, output=output)
        return plain.reference(x, w.reshape(plain.operands()[1].shape), channels.bias, multiplier, shift)

    @property
    def image(self) -> tuple[int, int]:
        return self.plain.batch * self.plain.height, self.plain.width * self.plain.channels_in

    def pixels(self, tiles: Tiles) -> Any:
        """A TIR macro (X, W, M, S, Y, A, lead): for each band and pair of columns, a strip, and from it the outputs of
        W's blocks, from `lead` on."""
        (rows, columns), band, down = self.plain.positions, self.band, self.plain.strides[0]
        channels, run_words, batch = self.plain.channels_out, self.run_words, self.plain.batch
        two, one, widen_two, widen_one = tiles.macro(2), tiles.macro(1), self._widen(2), self._widen(1)

        @T.macro
        def bands(X, W, M, S, Y, A, lead):
            for n in T.serial(batch):
                for first in T.serial(rows // band):
                    for pair in T.serial(columns // 2):
                        widen_two(X, A, n, first * band, pair * 2)
                        for row in T.serial(band):
                            place = T.meta_var(((n * rows + first * band + row) * columns + pair * 2) * channels)
                            two(A, row * down * run_words * 2, W, M, S, Y, place, lead)
                    if columns % 2 > 0:
                        widen_one(X, A, n, first * band, columns - 1)
                        for row in T.serial(band):
                            place = T.meta_var(((n * rows + first * band + row) * columns + columns - 1) * channels)
                            one(A, row * down * run_words, W, M, S, Y, place, lead)

        return bands

    def _widen(self, lanes: int) -> Any:
        """A TIR macro (X, A, n, row, column): the strip of `lanes` pixels, of output rows from `row` on."""
        plain, run_words, strip_rows = self.plain, self.run_words, self.strip_rows(self.band)
        height, (down, right), outside = plain.height, plain.strides, plain.x_zero_point
        top, left, bottom, _ = plain.pads
        padded_above_or_below, image_row = top > 0 or bottom > 0, self._image_row(lanes)

        @T.macro
        def widen(X, A, n, row, column):
            for k in T.serial(strip_rows):
                y = T.meta_var(row * down + k - top)
                at = T.meta_var(k * run_words * lanes)
                if padded_above_or_below:
                    if T.And(y >= 0, y < height):
                        image_row(X, A, at, n * height + y, column * right - left)
                    else:
                        T.evaluate(call("fill", T.address_of(A[at]), 1, run_words * lanes, outside))
                else:
                    image_row(X, A, at, n * height + y, column * right - left)

        return widen

    def _image_row(self, lanes: int) -> Any:
        """A TIR macro (X, A, at, row, column): the runs of `lanes` pixels in a row of the image, from a column on."""
        plain, run, left = self.plain, self.run, self.plain.pads[1]
        width, depth, right, outside = plain.width, plain.channels_in, plain.strides[1], plain.x_zero_point
        last = width - plain.kernel[1]  # the last column at which a window is whole
        columns_may_leave, step = left > 0 or (plain.positions[1] - 1) * right - left > last, right * depth

        def whole_run(X: Any, A: Any, at: Any, row: Any, start: Any) -> Any:
            starts = [T.address_of(X[row, start + lane * step]) for lane in range(lanes)]
            return call(f"widen_{lanes}", T.address_of(A[at]), *starts, run)

        def edge_run(X: Any, A: Any, at: Any, row: Any, start: Any) -> Any:
            image = T.address_of(X[row, 0])
            return call("widen_edge", T.address_of(A[at]), lanes, image, start, width * depth, run, outside)

        @T.macro
        def image_row(X, A, at, row, column):
            if columns_may_leave:
                if T.And(column >= 0, column + (lanes - 1) * right <= last):
                    T.evaluate(whole_run(X, A, at, row, column * depth))
                else:
                    for lane in T.serial(lanes):
                        T.evaluate(edge_run(X, A, at + lane, row, column * depth + lane * step))
            else:
                T.evaluate(whole_run(X, A, at, row, column * depth))

        return image_row

    def example(self, rng: np.random.Generator) -> tuple[Array, ...]:
        x, w, bias, multiplier, shift = self.plain.example(rng)
        if not self.apart:
            shift = np.clip(shift, UPPER_WORD, UPPER_WORD - packing.HIGH_BITS + packing.LARGEST_SHIFT)
        given = Channels(w.reshape(w.shape[0], -1), bias, multiplier, shift.astype(np.int8))
        return x, *packed_operands(given, self.run, self.taps, self.plain.output, self.apart)


def specialize(call: Call, target: Target) -> Special | str:
    """The rule: a Conv that is neither grouped nor dilated, whose sums are known to fit."""
    conv = call.kernel
    if "dsp" not in target.abilities:
        return "the target has no DSP extension"
    if not isinstance(conv, Conv):
        return "no convolution"
    if conv.groups != 1 or conv.dilations != (1, 1):
        return "grouped or dilated"
    given = channels_of(call)
    if reason := packing.obstacle(given):
        return reason
    apart = conv.output.even or packing.stored_shifts(given.shift) is None
    kernel = ConvDsp(shared(conv, apart), apart)
    if kernel.taps > packing.MAX_TAPS:
        return f"{conv.taps} taps are more than a packed block can count"
    return Special(kernel, packed_operands(given, kernel.run, kernel.taps, conv.output, kernel.apart))


def shared(conv: Conv, apart: bool) -> Conv:
    """`conv` as the function's code depends on it: without padding, nothing of it is the input's zero point."""
    x_zero_point = conv.x_zero_point if any(conv.pads) else 0
    return replace(conv, x_zero_point=x_zero_point, output=shared_output(conv.output, apart))


def cases() -> Iterable[ConvDsp]:
    """Strides, uneven pads, windows as wide as the image, odd widths and channels, bounds, ratios of every kind."""

    def conv(
        size: tuple[int, ...], channels: tuple[int, int], kernel: tuple[int, int], apart: bool = False, **changes: Any
    ) -> ConvDsp:
        batch, height, width = size
        plain: dict[str, Any] = {"strides": (1, 1), "dilations": (1, 1), "pads": (0, 0, 0, 0), "groups": 1}
        plain |= {"x_zero_point": 0, "output": Output(zero_point=-3)}
        return ConvDsp(Conv(batch, height, width, *channels, kernel, **(plain | changes)), apart)

    relu = Output(zero_point=-128)
    yield conv((1, 8, 8), (16, 16), (3, 3), pads=(1, 1, 1, 1), x_zero_point=-128, output=relu)
    yield conv((2, 9, 8), (3, 8), (3, 3), strides=(2, 2), pads=(0, 0, 1, 1), x_zero_point=127)
    yield conv((1, 12, 10), (1, 8), (10, 4), strides=(2, 2), pads=(4, 1, 5, 1), x_zero_point=83, output=relu)
    yield conv((2, 5, 7), (5, 6), (1, 1), strides=(2, 2), output=Output(7, -9, 100))
    yield conv((1, 9, 7), (4, 3), (2, 3), pads=(0, 3, 2, 1), x_zero_point=5)
    yield conv((1, 1, 19), (3, 7), (1, 5), strides=(1, 2), pads=(0, 2, 0, 2), x_zero_point=-7)
    yield conv((1, 3, 2), (6, 4), (3, 4), strides=(1, 1), pads=(2, 2, 2, 2), x_zero_point=-128)
    yield conv((1, 6, 5), (7, 5), (3, 3), pads=(1, 1, 1, 1), x_zero_point=11, apart=True)
    yield conv((1, 6, 9), (2, 5), (3, 3), apart=True, output=Output(-3, even=True))
    yield conv((1, 6, 9), (2, 5), (3, 3), apart=True, output=Output(-3, even=True, power=True))
    yield conv((1, 4, 1), (4, 4), (3, 1), pads=(1, 0, 1, 0), x_zero_point=-128)
    yield conv((1, 5, 5), (2, 4), (2, 2), strides=(3, 3), x_zero_point=-128)
