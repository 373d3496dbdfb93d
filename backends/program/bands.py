"""A call on a band of its output's rows: which input rows it reads, and the kernel that computes just them.

    x rows     0 1 2 3 4 5 6 7        a 3x3 convolution, stride 1, one row of padding above and below
    y rows     0 1 2 3 4 5 6 7
    band       . . . 3 4 . . .        reads x rows 2..5 and has no padding: a kernel for an image of height 4
    band       0 1 . . . . . .        reads x rows 0..2, with the padding above

Bands inside an image are equal kernels, so they share one function. A band computes exactly what the whole call does,
because a row's arithmetic does not depend on where the row lies. Row by row: images of batch 1, channels last.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import prod
from typing import NamedTuple

from bevel.backends.program.op import Array, Op
from bevel.backends.program.program import Call, Program

Shape = tuple[int, ...]
Pads = tuple[int, int, int, int]
IMAGE = 4  # axes of [N, H, W, C]


@dataclass(frozen=True)
class Window:
    """Output row y needs the input rows from y * stride - top on, `reach` of them, as far as there are such rows."""

    rows: int  # of the input
    reach: int = 1
    stride: int = 1
    top: int = 0  # rows of padding above; negative where rows are never read

    def first(self, row: int) -> int:
        """The first input row that output rows from `row` on need."""
        return max(row * self.stride - self.top, 0)

    def end(self, row: int) -> int:
        """Behind the last input row that output rows before `row` need."""
        return min((row - 1) * self.stride - self.top + self.reach, self.rows) if row > 0 else 0

    def mirrored(self, rows: int) -> Window:
        """The same window, with the rows of the input and the `rows` of the output counted from the bottom."""
        return replace(self, top=(rows - 1) * self.stride - self.top + self.reach - self.rows)

    def padding(self, first: int, end: int) -> tuple[int, int]:
        """Rows of padding above and below that output rows [first, end) need."""
        above = self.top - first * self.stride
        below = (end - 1) * self.stride - self.top + self.reach - self.rows
        return max(above, 0), max(below, 0)


class Piece(NamedTuple):
    op: Op
    constants: tuple[Array, ...]


@dataclass(frozen=True)
class Banding:
    """How a call can be cut. An input without a window is read whole by every band. `piece(first, end)` computes output
    rows [first, end)."""

    rows: int  # of the output
    windows: tuple[Window | None, ...]
    piece: Callable[[int, int], Piece]


class Laid(NamedTuple):
    """What a cut depends on besides the operator: the shapes of the call's buffers, and its constants."""

    inputs: tuple[Shape, ...]
    output: Shape
    constants: tuple[Array, ...]

    @property
    def image(self) -> Shape | None:
        """The shape of the first input and the output, where both are the same image, alone in its batch."""
        source = self.inputs[0]
        return source if source == self.output and len(source) == IMAGE and source[0] == 1 else None


def banding(program: Program, call: Call) -> Banding | None:
    """How `call` can be computed row by row, or None where it cannot."""
    if any(call.input_starts) or call.output_start or call.more or call.states:
        return None
    shapes = tuple(program.buffers[name].shape for name in call.inputs)
    return call.kernel.banding(Laid(shapes, program.buffers[call.output].shape, call.constants))


class Band(NamedTuple):
    """Output rows [first, end) of a window's image: the rows of their lower image, and its padding."""

    first: int
    end: int
    height: int
    pads: Pads


def in_windows(batch: int, window: Window, pads: Pads, rows: int, cut: Callable[[Band], Piece]) -> Banding | None:
    """A band is the same window over a lower image, with the padding that the band's rows reach.

    `pads`: (top, left, bottom, right); `rows`: of the output.
    """
    top, left, bottom, right = pads
    if batch != 1 or max(top, bottom) >= window.reach:
        return None

    def piece(first: int, end: int) -> Piece:
        above, below = window.padding(first, end)
        return cut(Band(first, end, window.end(end) - window.first(first), (above, left, below, right)))

    return Banding(rows, (window,), piece)


def broadcast(laid: Laid, shapes: tuple[Shape, ...], cut: Callable[..., Op]) -> Banding | None:
    """`shapes`: of the output and of each input that broadcasts to it; `cut`: the operator for others.

    An input that is the same in all rows is read whole.
    """
    shape, *inputs = shapes
    if len(shape) != IMAGE or shape[0] != 1:
        return None
    rows = shape[1]
    images = [shape, *((1,) * (IMAGE - len(one)) + one for one in inputs)]

    def piece(first: int, end: int) -> Piece:
        lower = ((*one[:1], end - first, *one[2:]) if one[1] == rows else one for one in images)
        return Piece(cut(*lower), laid.constants)

    return Banding(rows, tuple(Window(rows) if one[1] == rows else None for one in images[1:]), piece)


def element_by_element(laid: Laid, size: int, resized: Callable[[int], Op]) -> Banding | None:
    """Rows are those of the buffers, where both are the same image; `resized`: the operator for fewer elements."""
    image = laid.image
    if image is None or size != prod(image) or size % image[1]:
        return None
    rows = image[1]

    def piece(first: int, end: int) -> Piece:
        return Piece(resized(size // rows * (end - first)), laid.constants)

    return Banding(rows, (Window(rows),), piece)


def pixel_by_pixel(laid: Laid, pixels: int, channels: int, of_pixels: Callable[[int], Op]) -> Banding | None:
    """The same, of operators that look at all channels of a pixel; `of_pixels`: the operator for fewer."""
    if laid.image is None or laid.image[3] != channels:
        return None
    return element_by_element(laid, pixels * channels, lambda size: of_pixels(size // channels))
