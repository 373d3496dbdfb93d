"""Convolutions as sums over quads of bytes: where windows lie in an image.

The input is copied once into scratch, as uint8 (`quads.FLIP`) or as it is, with its padding around it, which costs a
few percent of the products and leaves them without conditions. A window then is some segments of neighbouring bytes: a
row of taps, or a tap where columns are dilated.

      scratch, channels last           one window: three segments of 3 * Cin bytes, in quads
      .------------------.             [ x x x x | x x x x | x . . . ]      . : bytes behind it, times weights of 0
      |   #####          |             [ x x x x | x x x x | x . . . ]
      |   #####          |             [ x x x x | x x x x | x . . . ]
      |   #####          |
      '------------------'
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from bevel.backends.encodings.quads import FLIP, QUAD
from bevel.backends.program.op import Operand, scratch
from bevel.backends.program.ops.conv import Conv
from bevel.backends.program.ops.gemm import Gemm
from bevel.backends.program.shapes import blocks_of
from bevel.backends.tir.lazy import statements
from bevel.backends.vectors.expressions import copied, fill

TOGETHER = 16  # quads that a level may take at once


@dataclass(frozen=True)
class Picked:
    """The pixels that windows of one pixel read, `size` bytes each: in each image `rows`, `down` bytes apart, of
    `columns`, `right` bytes apart; images: bytes from one to the next."""

    rows: int
    columns: int
    size: int
    right: int
    down: int
    images: int


@dataclass(frozen=True)
class PaddedInput:
    """The input in scratch: `batch` images of rows of bytes, and how many bytes of padding lie around them. What is
    said of bytes holds for elements where they are int16. flipped: int8 as the uint8 that are `FLIP` more. picked: of
    the input, where only some of its pixels are taken."""

    batch: int
    rows: int
    row_bytes: int
    above: int = 0  # rows
    below: int = 0
    before: int = 0  # bytes
    behind: int = 0
    zero_point: int = 0
    dtype: str = "uint8"
    flipped: bool = True
    picked: Picked | None = None

    @property
    def pitch(self) -> int:
        """Bytes from one row to the next."""
        return self.before + self.row_bytes + self.behind

    @property
    def bytes(self) -> int:
        """Of one image."""
        return (self.above + self.rows + self.below) * self.pitch

    @property
    def padded(self) -> bool:
        return self.bytes > self.rows * self.row_bytes or self.picked is not None

    def operand(self, slack: int) -> Operand:
        """With bytes behind it that may be read."""
        return scratch("image", (self.batch * self.bytes + slack,), self.dtype)

    def copy(self, image: Any, x: Any) -> None:
        """TIR that fills it in."""
        if self.picked is not None:
            p = self.picked
            with statements.grid(self.rows // p.rows, p.rows, p.columns) as (one, row, column):
                source = one * p.images + row * p.down + column * p.right
                copied(image, ((one * p.rows + row) * p.columns + column) * p.size, x, source, p.size, self.flipped)
            return
        if not self.padded:
            copied(image, 0, x, 0, self.batch * self.bytes, self.flipped)
            return
        zero = self.zero_point + (FLIP if self.flipped else 0)
        with statements.grid(self.batch, self.rows) as (one, row):
            first = one * self.bytes + (row + self.above) * self.pitch
            fill(image, first, self.before, zero)
            source = (one * self.rows + row) * self.row_bytes
            copied(image, first + self.before, x, source, self.row_bytes, self.flipped)
            fill(image, first + self.before + self.row_bytes, self.behind, zero)
        if self.above or self.below:
            with statements.serial(self.batch) as one:
                fill(image, one * self.bytes, self.above * self.pitch, zero)
                fill(image, one * self.bytes + (self.above + self.rows) * self.pitch, self.below * self.pitch, zero)


@dataclass(frozen=True)
class Windows:
    """Windows over an image: `rows` by `columns` in each of `batch` images, `down` and `right` bytes apart; segments of
    `size` bytes, `across` of them `next_segment` bytes apart, and that again every `next_row` bytes for `along`."""

    image: PaddedInput
    rows: int
    columns: int
    down: int
    right: int
    along: int
    across: int
    next_row: int
    next_segment: int
    size: int

    @property
    def segments(self) -> int:
        return self.along * self.across

    @property
    def quads(self) -> int:
        """Of one segment, filled up so that equal parts of it have 16 at most."""
        least = blocks_of(self.size, QUAD)
        parts = blocks_of(least, TOGETHER)
        return blocks_of(least, parts) * parts

    @property
    def slack(self) -> int:
        """Bytes that the last quad may reach behind the image."""
        return self.quads * QUAD - self.size


def of_conv(conv: Conv, flat: bool = True, pick: bool = False) -> Windows:
    """Those of the first group. pick: where windows are pixels that lie apart, the image has these alone; flat: rows
    that are neighbours in the image become one, where windows are pixels."""
    (kh, kw), (down, right), (row_step, column_step) = conv.kernel, conv.strides, conv.dilations
    (rows, columns), channels = conv.positions, conv.channels_in
    above, left, below, right_of = conv.pads
    if pick and conv.groups == 1 and conv.kernel == (1, 1) and conv.strides != (1, 1) and not any(conv.pads):
        image_bytes = conv.height * conv.width * channels
        picked = Picked(rows, columns, channels, right * channels, down * conv.width * channels, image_bytes)
        image = PaddedInput(1, conv.batch * rows, columns * channels, picked=picked)
        return Windows(image, 1, conv.batch * rows * columns, 0, channels, 1, 1, 0, 0, channels)
    row_bytes = conv.width * channels
    image = PaddedInput(conv.batch, conv.height, row_bytes, above, below, left * channels, right_of * channels)
    image = replace(image, zero_point=conv.x_zero_point)
    whole = conv.groups == 1 and (column_step == 1 or kw == 1)
    across, size = (1, kw * channels) if whole else (kw, channels // conv.groups)
    found = Windows(
        image,
        rows,
        columns,
        down * image.pitch,
        right * channels,
        kh,
        across,
        row_step * image.pitch,
        column_step * channels,
        size,
    )
    if flat and found.segments == 1 and columns * found.right == found.down and rows * found.down == image.bytes:
        return replace(found, image=replace(image, batch=1, rows=conv.batch * conv.height), rows=1,
                       columns=conv.batch * rows * columns)  # fmt: skip
    return found


def of_gemm(gemm: Gemm) -> Windows:
    image = PaddedInput(1, gemm.rows, gemm.k)
    return Windows(image, 1, gemm.rows, 0, gemm.k, 1, 1, 0, 0, gemm.k)


def of(plain: Conv | Gemm, pick: bool = False) -> Windows:
    return of_conv(plain, pick=pick) if isinstance(plain, Conv) else of_gemm(plain)


@dataclass(frozen=True)
class Buffers:
    """TIR buffers, all of one axis: the image, packed weights, bias, rescaling, and the output."""

    image: Any
    weights: Any
    bias: Any
    rescaling: Any
    y: Any
