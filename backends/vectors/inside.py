"""The part of a window that lies inside the image: where the padding is zeros, the rest of it adds nothing.

A window of 3x3 over 8x8 pixels lies outside for one tap in six. Rows of taps are left out by a loop's bounds; in a row,
neighbouring windows share the quads that some of them leave out:

      pixel 0      . x x         . : outside         three runs:       quads of the first tap, pixels 1 and 2
      pixel 1        x x x                                             quads of the second tap, all pixels
      pixel 2          x x .                                           quads of the third tap, pixels 0 and 1
"""

from __future__ import annotations

from itertools import groupby, pairwise
from typing import Any, NamedTuple

from bevel.backends.encodings.quads import FLIP, QUAD
from bevel.backends.program.shapes import blocks_of
from bevel.backends.tir.lazy import T
from bevel.backends.vectors.windows import PaddedInput, Windows


class QuadRun(NamedTuple):
    """`size` quads of a segment, from `first` on, and the pixels of a tile that read them."""

    first: int
    size: int
    pixels: tuple[int, ...]


class AlikeTiles(NamedTuple):
    """`times` neighbouring tiles of a row of windows, from `column` on, of so many pixels that read alike."""

    column: int
    times: int
    pixels: int
    quad_runs: tuple[QuadRun, ...]


def padding_is_zero(image: PaddedInput) -> bool:
    """As it is stored."""
    return image.zero_point + (FLIP if image.flipped else 0) == 0


def segments_inside(windows: Windows, row: Any) -> tuple[Any, Any]:
    """TIR: the first row of taps inside the image of windows in `row`, and how many are."""
    image, taps = windows.image, windows.along
    if taps == 1 or not (image.above or image.below) or not padding_is_zero(image):
        return 0, taps
    step, apart = windows.down // image.pitch, windows.next_row // image.pitch
    top = row * step - image.above  # the row of the image that the first tap reads
    first = T.min(T.max((apart - 1 - top) // apart, 0), taps) if image.above else 0
    end = T.max(T.min((image.rows - top + apart - 1) // apart, taps), first) if image.below else taps
    return first, end - first


def tiles_inside(windows: Windows, pixels: int, together: int = 1) -> list[AlikeTiles]:
    """A row of windows in tiles of `pixels`, whose last one may be smaller; quads are taken `together` at a time."""
    whole, rest = divmod(windows.columns, pixels)
    tiles = [(index * pixels, pixels) for index in range(whole)] + [(whole * pixels, rest)] * min(rest, 1)
    read = [(column, count, quad_runs(windows, column, count, together)) for column, count in tiles]
    same = (list(group) for _, group in groupby(read, key=lambda one: one[1:]))
    return [AlikeTiles(column, len(others) + 1, count, found) for (column, count, found), *others in same]


def quad_runs(windows: Windows, column: int, pixels: int, together: int = 1) -> tuple[QuadRun, ...]:
    """Of the windows from `column` on."""
    inside = [quads_inside(windows, column + pixel, together) for pixel in range(pixels)]
    cuts = sorted({cut for one in inside for cut in one})
    parts = [
        QuadRun(first, end - first, tuple(pixel for pixel, (start, stop) in enumerate(inside) if start <= first < stop))
        for first, end in pairwise(cuts)
    ]
    return tuple(one for one in parts if one.pixels)


def quads_inside(windows: Windows, column: int, together: int) -> tuple[int, int]:
    """The first quad of a segment that the image has something of, and the one behind the last."""
    image = windows.image
    if windows.across > 1 or not (image.before or image.behind) or not padding_is_zero(image):
        return 0, windows.quads
    start = max(image.before - column * windows.right, 0)
    end = min(image.before + image.row_bytes - column * windows.right, windows.size)
    size = QUAD * together
    return (start // size * together, blocks_of(end, size) * together) if start < end else (0, 0)
