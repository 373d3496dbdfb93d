"""`Conv` and `Gemm` by tensor cores: the 32 threads of a warp multiply 16 pixels by 8 output channels at a time, over
32 or 16 input channels of a tap (PTX ISA, "mma", m16n8k32 and m16n8k16 of s8).

A thread is number `group * 4 + quad` of its warp, and holds of each matrix what the instruction gives it:

    pixels x channels   word `quad` of the row `group`, and of the row 8 below; of 32, both again 4 words to the right
    weights             word `quad` of the channel `group`; of 32, again 4 words to the right
    sums                channels 2 * quad and 2 * quad + 1 of the row `group`, and of the row 8 below

so that loops over pixels, channels, groups and quads, a thread an iteration, are whole warps in step: their number is a
multiple of 32, and no condition parts them. A warp takes a few blocks of channels, for which it reads pixels once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import product
from typing import Any, ClassVar

from bevel.backends.gpu.chip import chip_of
from bevel.backends.gpu.kernels.words import WORD, as_conv, tiles_of, within, word_of
from bevel.backends.program.kernel import WIDER, Special, Unpacked
from bevel.backends.program.ops.conv import Conv
from bevel.backends.program.ops.gemm import Gemm
from bevel.backends.program.program import Call
from bevel.backends.program.rates import Rates
from bevel.backends.program.resources import Resource
from bevel.backends.program.shapes import blocks_of, register_tile
from bevel.backends.target import Target
from bevel.backends.tir import arithmetic
from bevel.backends.tir.functions import Given, function
from bevel.backends.tir.lazy import T, statements
from bevel.backends.tir.loops import inside_image
from bevel.calib.arithmetic.requantize import Output

ROWS, COLUMNS = 16, 8  # of the sums
GROUPS, QUADS = 8, 4  # of a warp's threads
FEWEST, MOST = 16, 32  # channels of a step
STEP = "bevel_mma{channels}"
TALL = (2, 4)  # blocks of pixels that are tried


@dataclass(frozen=True)
class MatrixDots(Unpacked):
    """`sums`: blocks of output channels of a warp, 0: as many as any core keeps in registers; `tall`: blocks of pixels
    of a warp, which multiply the weights that it has read once."""

    rates: ClassVar[Rates] = Rates(mac=0.05, input=1.0, output=1.0, code=2000, unit=Resource.MACS)  # estimates

    plain: Conv | Gemm
    sums: int = 0
    tall: int = 1

    @property
    def conv(self) -> Conv:
        """With as few axes of pixels as there can be."""
        conv = as_conv(self.plain)
        if (conv.kernel, conv.strides, conv.pads) == ((1, 1), (1, 1), (0, 0, 0, 0)):
            return replace(conv, batch=1, height=1, width=conv.batch * conv.height * conv.width)
        return conv

    @property
    def pixels(self) -> int:
        return self.conv.batch * self.conv.positions[0] * self.conv.positions[1]

    @property
    def channels(self) -> int:
        """Of a step."""
        return MOST if self.conv.channels_in % MOST == 0 else FEWEST

    @property
    def tiles(self) -> int:
        """Blocks of output channels that a warp computes."""
        return self.sums or register_tile(self.conv.channels_out // COLUMNS)

    def variants(self) -> Iterable[MatrixDots]:
        """More or fewer blocks of either kind."""
        yield from (replace(self, sums=tiles) for tiles in tiles_of(self.conv.channels_out // COLUMNS, self.tiles))
        if self.pixels > ROWS:
            yield from (replace(self, tall=tall) for tall in TALL)

    def build(self, name: str) -> Any:
        op, words = self.conv, self.conv.channels_in // WORD
        channels, blocks = (op.channels_out,), op.channels_out // COLUMNS // self.tiles
        given: list[Given] = [("X", (op.batch, op.height, op.width, words), "int32")]
        given += [("W", (op.channels_out, op.kernel[0] * op.kernel[1], words), "int32"), ("B", channels, "int32")]
        given += [("M", channels, "int32"), ("S", channels, "int8")]
        # An axis for whatever a store's place is made of: that threads write apart is seen axis by axis.
        rows = (blocks_of(self.pixels, ROWS * self.tall), self.tall, ROWS // GROUPS, GROUPS)
        shape = (*rows, blocks, self.tiles, QUADS, 2)
        return function(name, [*given, ("Y", shape, op.output.dtype)], self.loops)

    def loops(self, buffers: tuple[Any, ...]) -> None:
        """TIR of all outputs."""
        x, w, bias, multiplier, shift, y = buffers
        op, tiles, tall, words = self.conv, self.tiles, self.tall, self.channels // WORD
        with statements.grid(y.shape[0], y.shape[4], GROUPS, QUADS) as (tile, block, group, quad):
            sums = statements.alloc_buffer((tall * tiles * 4,), "int32", scope="local")
            taken = statements.alloc_buffer((tall * words // 2,), "int32", scope="local")
            weights = statements.alloc_buffer((words // QUADS,), "int32", scope="local")
            each = list(product(range(tall), range(tiles), (0, 1), (0, 1)))

            def sum_of(r: int, t: int) -> int:
                """The first of the sums of a matrix."""
                return (r * tiles + t) * 4

            def channel(t: int, j: Any) -> Any:
                return (block * tiles + t) * COLUMNS + j

            for r, t, half, j in each:
                statements.buffer_store(sums, bias[channel(t, quad * 2 + j)], [sum_of(r, t) + half * 2 + j])
            with every_step(op, op.channels_in // self.channels) as (tap, step):
                for r, part in product(range(tall), range(words // 2)):
                    word = step * words + part // 2 * QUADS + quad
                    row = (tile * tall + r) * ROWS + part % 2 * GROUPS + group
                    statements.buffer_store(taken, self.pixel(x, row, tap, word), [r * words // 2 + part])
                for t in range(tiles):
                    for k in range(words // QUADS):
                        word = step * words + k * QUADS + quad
                        statements.buffer_store(weights, w[channel(t, group), tap_number(op, tap), word], [k])
                    for r in range(tall):
                        factors = [taken[r * words // 2 + part] for part in range(words // 2)]
                        factors += [weights[k] for k in range(words // QUADS)]
                        multiply = STEP.format(channels=self.channels)
                        called = T.call_extern("void", multiply, T.address_of(sums[sum_of(r, t)]), *factors)
                        statements.evaluate(called)
            for r, t, half, j in each:
                number, total = channel(t, quad * 2 + j), sums[sum_of(r, t) + half * 2 + j]
                result = arithmetic.requantize(total, multiplier[number], shift[number], op.output)
                with inside((tile * tall + r) * ROWS + half * GROUPS + group, self.pixels, ROWS * tall):
                    statements.buffer_store(y, result, [tile, r, half, group, block, t, quad, j])

    def pixel(self, x: Any, row: Any, tap: tuple[Any, Any], word: Any) -> Any:
        """TIR of four channels that a row of the sums reads; of any pixel, where there is no such row."""
        op, (rows, columns) = self.conv, self.conv.positions
        at = T.min(row, self.pixels - 1) if self.pixels % (ROWS * self.tall) else row
        if op.batch == rows == 1:
            n, down, right = 0, 0, at
        else:
            n, down, right = at // (rows * columns), at // columns % rows, at % columns
        down = down * op.strides[0] + tap[0] * op.dilations[0] - op.pads[0]
        right = right * op.strides[1] + tap[1] * op.dilations[1] - op.pads[1]
        read = inside_image(down, right, op.height, op.width, op.pads)
        return within(read, x[n, down, right, word], word_of(op.x_zero_point))


@contextmanager
def every_step(op: Conv, steps: int) -> Iterator[tuple[tuple[Any, Any], Any]]:
    """TIR loops over the taps, and the steps of one's channels."""
    if op.kernel == (1, 1):
        with statements.serial(steps) as step:
            yield (0, 0), step
    else:
        with statements.grid(*op.kernel, steps) as (i, j, step):
            yield (i, j), step


def tap_number(op: Conv, tap: tuple[Any, Any]) -> Any:
    return tap[0] * op.kernel[1] + tap[1]


@contextmanager
def inside(row: Any, pixels: int, together: int) -> Iterator[None]:
    """TIR under the condition that there is such a row; of those of a warp there is always all or nothing where
    `together` divides them."""
    if pixels % together == 0:
        yield
    else:
        with statements.If(row < pixels), statements.Then():
            yield


def specialize(call: Call, target: Target) -> Special | str:
    """The rule: 16 pixels or more, whole steps of input channels, whole blocks of output channels."""
    plain = call.kernel
    if not chip_of(target).matrices:
        return f"{target.name} has no matrix products of a warp"
    if not isinstance(plain, Conv | Gemm):
        return "no sums of products by weights"
    if any(one.dtype != "int8" for one in plain.operands()[:2]):
        return WIDER
    kernel, conv = MatrixDots(plain), as_conv(plain)
    if conv.groups > 1 or conv.channels_in % FEWEST or call.input_starts[0] % WORD:
        return f"{conv.channels_in // conv.groups} input channels of a group are no whole {FEWEST}"
    if conv.channels_out % COLUMNS:
        return f"{conv.channels_out} output channels are no whole {COLUMNS}"
    if kernel.pixels < ROWS:
        return f"{kernel.pixels} pixels are fewer than {ROWS}"
    return Special(kernel, call.constants)


def cases() -> Iterable[MatrixDots]:
    """One tap and several, steps of 16 and 32 channels, rows that fill no matrix, padding, strides, wide outputs."""
    point = Conv(1, 4, 8, 32, 8, (1, 1), (1, 1), (1, 1), (0, 0, 0, 0), 1, -7, Output(3))
    window = replace(point, kernel=(3, 3), pads=(1, 1, 1, 1), x_zero_point=-128, output=Output(-128))
    yield MatrixDots(point)
    yield MatrixDots(replace(point, batch=3, height=5, width=5, channels_in=48, channels_out=24))
    yield MatrixDots(window)
    yield MatrixDots(replace(window, batch=2, height=7, width=5, channels_in=16, channels_out=40, strides=(2, 1)))
    yield MatrixDots(replace(window, height=9, kernel=(2, 3), pads=(0, 2, 1, 1), dilations=(2, 1), channels_in=64))
    yield MatrixDots(replace(point, strides=(1, 2), channels_out=16, output=Output(5, -32768, 32767, dtype="int16")))
    yield MatrixDots(Gemm(19, 96, 32, Output(-3, -128, 127)))
    yield from MatrixDots(replace(point, channels_out=64)).variants()
    yield MatrixDots(replace(window, height=5, channels_in=64), tall=2)
    yield MatrixDots(replace(window, height=9, channels_in=16), tall=4)
