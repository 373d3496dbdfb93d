"""Conv on Helium: sixteen products an instruction, two pixels by four output channels at a time.

A window's pixels are gathered side by side (im2col) into scratch for two outputs at a time, padding included, and all
output channels are computed from there; a convolution of one tap reads its pixels where they are.

      x, channels last                scratch: one window a row                         w, in blocks (helium.py)
      .--------------.                [ row 0 of the window | row 1 | row 2 | unused ]  *  4 channels
      |  #####       |  kh rows of    [ row 0               | row 1 | row 2 | unused ]
      |  #####       |  kw * Cin
      |  #####       |  bytes each       two rows, whole vectors of 16 bytes
      '--------------'

Where w was filled up with zeros to whole vectors it does not matter what x has there. An odd pixel at the end is
computed together with its predecessor, a second time.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from bevel.backends.cortex_m.mve.packed_mve import PackedMve, packed_constants
from bevel.backends.encodings.helium import (
    LANES,
    WORDS,
)
from bevel.backends.program.kernel import Special
from bevel.backends.program.op import Operand, scratch
from bevel.backends.program.ops import conv
from bevel.backends.program.ops.conv import Conv
from bevel.backends.program.program import Call
from bevel.backends.program.rates import Rates
from bevel.backends.program.shapes import blocks_of
from bevel.backends.target import Target
from bevel.backends.tir.lazy import T, tirx
from bevel.backends.tir.loops import without

PIXELS = 2  # in a register tile


@dataclass(frozen=True)
class ConvMve(PackedMve):
    """Packed `plain`, with scratch for two windows where pixels are not read in place. The function computes two
    pixels."""

    rates: ClassVar[Rates] = Rates(mac=0.121, output=4.6, code=630)

    plain: Conv

    tile: ClassVar = WORDS

    @property
    def n(self) -> int:
        return self.plain.channels_out

    @property
    def k(self) -> int:
        return self.plain.taps

    @property
    def function(self) -> str:
        return "bevel_mve_pixels"

    @property
    def pointwise(self) -> bool:
        """Whether windows are pixels that fill whole vectors."""
        plain = self.plain
        return plain.kernel == (1, 1) and not any(plain.pads) and plain.channels_in % LANES == 0

    @property
    def _second(self) -> int:
        """How many pixels after the first one of a tile the second one is: 0 where there is only one."""
        batch, (rows, columns) = self.plain.batch, self.plain.positions
        return min(1, batch * rows * columns - 1)

    def operands(self) -> tuple[Operand, ...]:
        packed = self.packed_operands()
        return packed if self.pointwise else (*packed, scratch("windows", self.windows, "int8"))

    @property
    def windows(self) -> tuple[int, int]:
        return PIXELS, self.blocks * LANES

    def build(self, name: str) -> Any:
        plain, pointwise = self.plain, self.pointwise
        x, w, rescaling, y, *_ = self.operands()
        convolve, pixels = self.convolution(plain.channels_out), y.size // plain.channels_out
        windows = self.windows

        @T.prim_func(s_tir=True)
        def conv_mve(
            X: T.Buffer(x.shape, "int8"),
            W: T.Buffer(w.shape, "int8"),
            R: T.Buffer(rescaling.shape, "int32"),
            Y: T.Buffer((pixels, plain.channels_out), "int8"),
            C: T.Buffer(windows, "int8"),
        ):
            T.func_attr({"global_symbol": name, "tirx.noalias": True})
            convolve(X, W, R, Y, C, 0)

        return without(conv_mve, ("C",)) if pointwise else conv_mve

    def convolution(self, count: Any) -> Any:
        """A TIR macro (X, W, R, Y, C, lead): `count` channels of all pixels, from `lead` on, the first ones of W.

        `count` is a number, or one as a function of `lead`.
        """
        return self._in_place(count) if self.pointwise else self._by_windows(count)

    def _pixels(self, y: Any, first: Any, x: tuple[Any, Any], w: Any, rescaling: Any, lead: Any, count: Any) -> Any:
        """TIR that computes `count` channels, from `lead` on, of the pixel `first` and the one after it."""
        places = tirx.address_of(y[first, lead]), self._second * self.plain.channels_out
        channels = count(lead) if callable(count) else count
        return self.called(places, x, w, tirx.address_of(rescaling[lead // WORDS, 0]), channels)

    def _in_place(self, count: Any) -> Any:
        plain, pixels_of, next_pixel = self.plain, self._pixels, self._second
        (rows, columns), (down, right) = plain.positions, plain.strides
        pixels = plain.batch * rows * columns

        def pixel(x: Any, index: Any) -> Any:
            place = index // (rows * columns), index // columns % rows * down, index % columns * right
            return tirx.address_of(x[(*place, 0)])

        @T.macro
        def convolve(X, W, R, Y, C, lead):
            for pair in T.serial(blocks_of(pixels, PIXELS)):
                first = T.meta_var(first_pixel(pair, pixels))
                x = T.meta_var((pixel(X, first), pixel(X, first + next_pixel)))
                T.evaluate(pixels_of(Y, first, x, W, R, lead, count))

        return convolve

    def _by_windows(self, count: Any) -> Any:
        plain, pixels_of, next_pixel = self.plain, self._pixels, self._second
        batch, height, width, channels = plain.operands()[0].shape
        (rows, columns), (down, right) = plain.positions, plain.strides
        (kh, kw), row_step, (top, left, bottom, right_of) = plain.kernel, plain.dilations[0], plain.pads
        pixels, zero, row_bytes = batch * rows * columns, plain.x_zero_point, kw * channels

        def window_row(x: Any, windows: Any, which: Any, index: Any, i: Any) -> Any:
            row = index // columns % rows * down + i * row_step - top
            inside = T.And(row >= 0, row < height) if top or bottom else True
            return tirx.call_extern(
                "int32",
                "bevel_mve_window_row",
                tirx.address_of(windows[which, i * row_bytes]),
                tirx.address_of(x[index // (rows * columns), row, 0, 0]),
                index % columns * right - left,
                width,
                kw,
                channels,
                inside,
                bool(left or right_of),
                zero,
            )

        @T.macro
        def convolve(X, W, R, Y, C, lead):
            for pair in T.serial(blocks_of(pixels, PIXELS)):
                first = T.meta_var(first_pixel(pair, pixels))
                for which, i in T.grid(PIXELS, kh):
                    T.evaluate(window_row(X, C, which, first + which * next_pixel, i))
                x = T.meta_var((tirx.address_of(C[0, 0]), tirx.address_of(C[1, 0])))
                T.evaluate(pixels_of(Y, first, x, W, R, lead, count))

        return convolve


def first_pixel(pair: Any, pixels: int) -> Any:
    """The first of the two pixels that iteration `pair` computes."""
    return T.min(pair * PIXELS, pixels - PIXELS) if pixels % PIXELS and pixels > 1 else pair * PIXELS


def specialize(call: Call, target: Target) -> Special | str:
    plain = call.kernel
    if not isinstance(plain, Conv):
        return "not a Conv"
    if "mve" not in target.abilities:
        return f"{target.name} has no Helium"
    if plain.groups != 1:
        return f"{plain.groups} groups"
    if plain.dilations[1] != 1 and plain.kernel[1] > 1:
        return "taps that are not neighbours in a row"
    found = packed_constants(plain, call, WORDS)
    return found if isinstance(found, str) else Special(ConvMve(plain, found[0]), found[1])


def cases() -> Iterable[ConvMve]:
    """What the plain kernel has, without groups and dilated rows; then whole vectors, and window rows of every length:
    shorter than a vector, a whole one, longer; odd numbers of pixels and channels."""
    for index, plain in enumerate(conv.cases()):
        if plain.groups == 1 and plain.output.even == plain.output.power:
            yield ConvMve(replace(plain, dilations=(plain.dilations[0], 1)), lifted=index % 2 == 0)
    base = next(iter(conv.cases()))
    output = replace(base.output, zero_point=127)
    padded = replace(base, height=5, width=5, kernel=(3, 3), pads=(1, 1, 1, 1), output=output)
    yield ConvMve(replace(padded, channels_in=16, channels_out=12, x_zero_point=-128), lifted=False)
    yield ConvMve(replace(padded, channels_in=4, channels_out=7, strides=(2, 2), pads=(0, 0, 2, 2)), lifted=True)
    yield ConvMve(replace(padded, channels_in=1, channels_out=4, kernel=(5, 4), pads=(2, 1, 2, 2)), lifted=False)
    yield ConvMve(replace(padded, channels_in=32, channels_out=5, kernel=(1, 1), pads=(0, 0, 0, 0)), lifted=False)
    pointwise = replace(base, batch=2, height=4, width=7, channels_in=64, channels_out=8, strides=(2, 3))
    yield ConvMve(replace(pointwise, output=replace(base.output, zero_point=-128)), lifted=False)
    yield ConvMve(replace(padded, height=4, channels_in=64, channels_out=8), lifted=False)
