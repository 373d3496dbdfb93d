"""Windows of an image as bit planes: each pixel is cut once, and the taps of each output pixel are put side by side.

        unit     the bits of one pixel's channels in one plane: 8, 16, 32 or 64, or several units where that is too few
        word     one unit, or where a pixel has less channels, those of several taps

The padding is part of the cut image, so that windows ask no questions.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any

from bevel.backends.program.ops.conv import Conv
from bevel.backends.tir.bitplanes import nibble
from bevel.backends.tir.lazy import T
from bevel.backends.tir.loops import inside_image

QUAD = 4  # input channels that are cut together
LEAST_UNIT = 8


@dataclass(frozen=True)
class PlaneWindows:
    """The windows of `plain`, ungrouped, for x in [x_low, x_low + 2**x_bits), in words of `word` bits."""

    plain: Conv
    x_low: int
    x_bits: int
    word: int

    @property
    def unit(self) -> int:
        """Bits in a row that belong to one pixel: a word, or where it has less channels, a part of one."""
        channels = self.plain.channels_in
        return min(self.word, max(LEAST_UNIT, 1 << (channels - 1).bit_length()))

    @property
    def units(self) -> int:
        """Of one pixel."""
        return -(-self.plain.channels_in // self.unit)

    @property
    def words(self) -> int:
        """Of one plane of a window."""
        return -(-prod(self.plain.kernel) * self.units * self.unit // self.word)

    @property
    def image(self) -> tuple[int, int]:
        """Height and width of the padded image, as far as windows reach."""
        p = self.plain
        reach = [(size - 1) * step + 1 for size, step in zip(p.kernel, p.dilations, strict=True)]
        height, width = ((n - 1) * step for n, step in zip(p.positions, p.strides, strict=True))
        return height + reach[0], width + reach[1]

    def cut(self) -> Any:
        """A TIR macro (X, P, n): the planes of image n, with its padding."""
        p, (height, width), unit, x_bits = self.plain, self.image, self.unit, self.x_bits
        (top, left, _, _), (whole, rest), typed = p.pads, divmod(p.channels_in, unit), f"uint{unit}"
        units, pads, outside = self.units, any(p.pads), self._padding()

        @T.macro
        def cut(X, P, n):  # type: ignore[no-untyped-def]
            for y, x in T.grid(height, width):
                row, column = T.meta_var(y - top), T.meta_var(x - left)
                if inside_image(row, column, p.height, p.width, p.pads):
                    F = T.alloc_buffer((1,), "uint32")
                    Q = T.alloc_buffer((x_bits,), typed)
                    for number in T.serial(whole):
                        self._unit(X, F, Q, (n, row, column, number * unit), unit)
                        for i in T.unroll(x_bits):
                            P[i, y, x, number] = Q[i]
                    if rest > 0:
                        self._unit(X, F, Q, (n, row, column, whole * unit), rest)
                        for i in T.unroll(x_bits):
                            P[i, y, x, whole] = Q[i]
                elif pads:
                    for i in T.unroll(x_bits):
                        for number in T.serial(units):
                            P[i, y, x, number] = outside(i, number)

        return cut

    def _unit(self, X: Any, F: Any, Q: Any, place: tuple[Any, ...], channels: int) -> None:
        """Statements: the planes of up to `unit` channels from `place` on into Q; F is for four of them."""
        *pixel, first = place
        typed, low = f"uint{self.unit}", self.x_low & 0xFF
        for start in range(0, channels, QUAD):
            four: Any = T.uint32(0)
            for k in range(QUAD):
                byte = T.cast(X[(*pixel, first + start + k)], "uint8") if start + k < channels else T.uint8(low)
                four = four | (T.cast(byte, "uint32") << T.uint32(8 * k))
            T.buffer_store(F, self._above_low(four), [0])
            for i in range(self.x_bits):
                bits = T.cast(nibble(F[0], i), typed) << T.IntImm(typed, start)
                T.buffer_store(Q, Q[i] | bits if start else bits, [i])

    def _above_low(self, four: Any) -> Any:
        """x - x_low of four bytes, as far as the bits of planes go; no byte borrows from the next."""
        if self.x_low % (1 << self.x_bits) == 0:
            return four
        return (four ^ T.uint32(0x80808080)) - T.uint32((self.x_low + 128) * 0x01010101)

    def _padding(self) -> Any:
        """The words of a pixel in the padding, as an expression of the plane and the unit's number."""
        value, channels, typed = self.plain.x_zero_point - self.x_low, self.plain.channels_in, f"uint{self.unit}"
        rest = (1 << (channels - (self.units - 1) * self.unit)) - 1
        whole = (1 << self.unit) - 1

        def outside(plane: Any, number: Any) -> Any:
            ones = T.if_then_else(number == self.units - 1, unsigned(typed, rest), unsigned(typed, whole))
            return T.if_then_else((T.int32(value) >> plane) & 1 == 1, ones, unsigned(typed, 0))

        return outside

    def gather(self) -> Any:
        """A TIR macro (P, V, y, x): the taps of one output pixel, from one end of V to the other."""
        (kh, kw), (down, right), (row_step, column_step) = self.plain.kernel, self.plain.strides, self.plain.dilations
        units, x_bits, whole = self.units, self.x_bits, self.unit == self.word

        @T.macro
        def gather(P, V, y, x):  # type: ignore[no-untyped-def]
            for i in T.unroll(x_bits):
                if whole:
                    for r, c, number in T.grid(kh, kw, units):
                        V[i, (r * kw + c) * units + number] = P[
                            i, y * down + r * row_step, x * right + c * column_step, number
                        ]
                else:
                    self._joined(P, V, i, (y * down, x * right))

        return gather

    def _joined(self, P: Any, V: Any, plane: Any, place: tuple[Any, Any]) -> None:
        """Statements: several taps, of one unit each, into every word."""
        word, (kh, kw), (row_step, column_step) = f"uint{self.word}", self.plain.kernel, self.plain.dilations
        of_word = self.word // self.unit
        for first in range(0, kh * kw, of_word):
            joined: Any = None
            for k, tap in enumerate(range(first, min(first + of_word, kh * kw))):
                y, x = place[0] + tap // kw * row_step, place[1] + tap % kw * column_step
                bits = T.cast(P[plane, y, x, 0], word) << T.IntImm(word, k * self.unit)
                joined = bits if joined is None else joined | bits
            T.buffer_store(V, joined, [plane, first // of_word])


def unsigned(dtype: str, value: int) -> Any:
    """A constant of an unsigned type, also above the largest int64."""
    if value < 1 << 63:
        return T.IntImm(dtype, value)
    return ~T.IntImm(dtype, (1 << 64) - 1 - value)
