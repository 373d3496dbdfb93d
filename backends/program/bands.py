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

from bevel.backends.program.kernel import Array, Kernel
from bevel.backends.program.program import Buffer, Call, Program
from bevel.backends.tir.kernels.add import Add
from bevel.backends.tir.kernels.average_pool import AveragePool
from bevel.backends.tir.kernels.clip import Clip
from bevel.backends.tir.kernels.coded_conv import CodedConv
from bevel.backends.tir.kernels.conv import Conv
from bevel.backends.tir.kernels.copy import ConvertSign, Copy
from bevel.backends.tir.kernels.dequantize import Dequantize
from bevel.backends.tir.kernels.div import Div
from bevel.backends.tir.kernels.extreme import Extreme
from bevel.backends.tir.kernels.max_pool import MaxPool
from bevel.backends.tir.kernels.mul import Mul
from bevel.backends.tir.kernels.prelu import PRelu
from bevel.backends.tir.kernels.quantize import Quantize
from bevel.backends.tir.kernels.quantize_fixed import QuantizeFixed
from bevel.backends.tir.kernels.quantize_float import QuantizeFloat
from bevel.backends.tir.kernels.round_even import RoundEven
from bevel.backends.tir.kernels.round_float import RoundFloat
from bevel.backends.tir.kernels.round_mx import RoundMx
from bevel.backends.tir.kernels.table import Table
from bevel.backends.tir.kernels.wide_add import WideAdd
from bevel.backends.tir.kernels.wide_div import WideDiv
from bevel.backends.tir.kernels.wide_mul import WideMul
from bevel.backends.tir.kernels.wide_rescale import WideRescale
from bevel.backends.tir.kernels.wide_table import WideTable

Windowed = Conv | MaxPool | AveragePool
Broadcast = Add | Mul | Div | Extreme | PRelu | WideAdd | WideDiv | WideMul
Quantizing = Quantize | QuantizeFixed | QuantizeFloat | Dequantize
Elementwise = Clip | ConvertSign | Copy | Quantizing | RoundEven | RoundFloat | Table | WideRescale | WideTable
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
    kernel: Kernel
    constants: tuple[Array, ...]


@dataclass(frozen=True)
class Banding:
    """How a call can be cut. An input without a window is read whole by every band. `piece(first, end)` computes output
    rows [first, end)."""

    rows: int  # of the output
    windows: tuple[Window | None, ...]
    piece: Callable[[int, int], Piece]


def banding(program: Program, call: Call) -> Banding | None:
    """How `call` can be computed row by row, or None where it cannot."""
    kernel = call.kernel
    if any(call.input_starts) or call.output_start:
        return None
    if isinstance(kernel, Conv | MaxPool | AveragePool):
        return of_window(kernel, call.constants)
    if isinstance(kernel, CodedConv):
        return of_coded(kernel, call.constants)
    if isinstance(kernel, RoundMx):
        return of_blocks(kernel, program.buffers[call.inputs[0]], program.buffers[call.output])
    if isinstance(kernel, Broadcast):
        return of_broadcast(call, kernel)
    if isinstance(kernel, Elementwise):
        return of_elementwise(call, kernel, program.buffers[call.inputs[0]], program.buffers[call.output])
    return None


def of_window(kernel: Windowed, constants: tuple[Array, ...]) -> Banding | None:
    """A band is the same window over a lower image, with the padding that the band's rows reach."""
    top, left, bottom, right = kernel.pads
    dilation = 1 if isinstance(kernel, AveragePool) else kernel.dilations[0]
    window = Window(kernel.height, (kernel.kernel[0] - 1) * dilation + 1, kernel.strides[0], top)
    if kernel.batch != 1 or max(top, bottom) >= window.reach:
        return None

    def piece(first: int, end: int) -> Piece:
        above, below = window.padding(first, end)
        height = window.end(end) - window.first(first)
        band = replace(kernel, height=height, pads=(above, left, below, right))
        # An average's divisors belong to positions, so a band takes its rows of them.
        positions = isinstance(kernel, AveragePool)
        return Piece(band, tuple(array[first:end].copy() for array in constants) if positions else constants)

    return Banding(kernel.positions[0], (window,), piece)


def of_coded(kernel: CodedConv, constants: tuple[Array, ...]) -> Banding | None:
    """As the plain convolution; but single pixels, which bands of a narrow image are, have codes in another order."""
    found = of_window(kernel.plain, constants)
    if found is None or kernel.plain.width == 1:
        return None

    def piece(first: int, end: int) -> Piece:
        plain = found.piece(first, end).kernel
        assert isinstance(plain, Conv)
        return Piece(replace(kernel, plain=plain), constants)

    return replace(found, piece=piece)


def of_broadcast(call: Call, kernel: Broadcast) -> Banding | None:
    """An input that is the same in all rows is read whole."""
    if len(kernel.shape) != IMAGE or kernel.shape[0] != 1:
        return None
    rows = kernel.shape[1]
    shapes = [(1,) * (IMAGE - len(shape)) + shape for shape in (kernel.a_shape, kernel.b_shape)]

    def cut(shape: tuple[int, ...], count: int) -> tuple[int, ...]:
        return (*shape[:1], count, *shape[2:]) if shape[1] == rows else shape

    def piece(first: int, end: int) -> Piece:
        a_shape, b_shape = (cut(shape, end - first) for shape in shapes)
        shape = cut(kernel.shape, end - first)
        return Piece(replace(kernel, shape=shape, a_shape=a_shape, b_shape=b_shape), call.constants)

    return Banding(rows, tuple(Window(rows) if shape[1] == rows else None for shape in shapes), piece)


def of_blocks(kernel: RoundMx, source: Buffer, output: Buffer) -> Banding | None:
    """Blocks lie within pixels."""
    if source.shape != output.shape or len(source.shape) != IMAGE or source.shape[0] != 1:
        return None
    _, rows, width, channels = source.shape
    if (kernel.rows, kernel.channels) != (rows * width, channels):
        return None
    return Banding(rows, (Window(rows),), lambda first, end: Piece(replace(kernel, rows=width * (end - first)), ()))


def of_elementwise(call: Call, kernel: Elementwise, source: Buffer, output: Buffer) -> Banding | None:
    """Rows are those of the buffers, where both are the same image."""
    if source.shape != output.shape or len(source.shape) != IMAGE or source.shape[0] != 1:
        return None
    rows, size = source.shape[1], kernel.size
    if size != prod(output.shape) or size % rows:
        return None

    def piece(first: int, end: int) -> Piece:
        return Piece(replace(kernel, size=size // rows * (end - first)), call.constants)

    return Banding(rows, (Window(rows),), piece)
