"""`Conv` and `Gemm` by four products at a time, where channels are no whole words: bytes are put together.

The bytes of a run, a row of taps where that is short or else the channels of one tap, are taken four at a time;
in the weights the last word of each run is filled up with 0:

    x of a row of three taps, 3 channels   r g b r | g b r g | b 0 0 0
    w                                      w w w w | w w w w | w 0 0 0

A thread computes a few output channels of a pixel, so that a word that it has put together serves all of them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from bevel.backends.gpu.chip import chip_of
from bevel.backends.gpu.kernels.words import (
    WORD,
    as_conv,
    bytes4,
    dot4,
    from_words,
    in_words,
    tiles_of,
    within,
    words_for,
)
from bevel.backends.gpu.requantize import requantize32
from bevel.backends.program.kernel import WIDER, Kernel, Special
from bevel.backends.program.op import Array, Op, Operand, constant
from bevel.backends.program.ops import conv as conv_file
from bevel.backends.program.ops import gemm as gemm_file
from bevel.backends.program.ops.conv import Conv
from bevel.backends.program.ops.gemm import Gemm
from bevel.backends.program.program import Call
from bevel.backends.program.rates import Rates
from bevel.backends.program.resources import Resource
from bevel.backends.program.shapes import register_tile
from bevel.backends.target import Target
from bevel.backends.tir import arithmetic
from bevel.backends.tir.functions import function
from bevel.backends.tir.lazy import T, statements
from bevel.backends.tir.loops import inside_image
from bevel.calib.arithmetic.requantize import Output

LONGEST_ROW = 32  # bytes of a row of taps that is one run


@dataclass(frozen=True)
class PatchDots(Kernel):
    """The operands and results of `plain`, but for w: int32 [Cout, runs, words]. `narrow`: whether sums are rescaled in
    words of 32 bits; `sums`: output channels of a thread, 0: as many as any core keeps in registers."""

    rates: ClassVar[Rates] = Rates(mac=0.5, input=1.0, output=1.0, code=1500, unit=Resource.MACS)  # estimates

    plain: Conv | Gemm
    narrow: bool = False
    sums: int = 0

    @property
    def op(self) -> Op:
        return self.plain

    @property
    def conv(self) -> Conv:
        return as_conv(self.plain)

    @property
    def depth(self) -> int:
        """Input channels of a group."""
        return self.conv.channels_in // self.conv.groups

    @property
    def taps(self) -> int:
        """Of a run."""
        return self.conv.kernel[1] if self.conv.kernel[1] * self.depth <= LONGEST_ROW else 1

    @property
    def runs(self) -> int:
        return self.conv.taps // (self.taps * self.depth)

    @property
    def of_group(self) -> int:
        return self.conv.channels_out // self.conv.groups

    @property
    def tile(self) -> int:
        return self.sums or register_tile(self.of_group)

    def variants(self) -> Iterable[PatchDots]:
        return (replace(self, sums=tile) for tile in tiles_of(self.of_group, self.tile))

    @property
    def weights(self) -> tuple[int, int, int]:
        """In words."""
        return self.conv.channels_out, self.runs, words_for(self.taps * self.depth)

    def operands(self) -> tuple[Operand, ...]:
        x, _, *others = self.plain.operands()
        return x, constant("w", self.weights, "int32"), *others

    def packed(self, w: Array) -> Array:
        return in_words(w.reshape(self.conv.channels_out, self.runs, -1))

    def reference(self, *arrays: Array) -> Array:
        x, w, *others = arrays
        plain = from_words(w, self.taps * self.depth).reshape(self.plain.operands()[1].shape)
        return self.plain.reference(x, plain, *others)

    def example(self, rng: np.random.Generator) -> tuple[Array, ...]:
        x, w, *others = self.plain.example(rng)
        return x, self.packed(w), *others

    def build(self, name: str) -> Any:
        op = self.conv
        channels, image = (op.channels_out,), (op.batch, op.height, op.width, op.channels_in)
        given = [("X", image, "int8"), ("W", self.weights, "int32"), ("B", channels, "int32")]
        given += [("M", channels, "int32"), ("S", channels, "int8")]
        given += [("Y", (op.batch, *op.positions, *channels), op.output.dtype)]
        return function(name, given, self.loops)

    def loops(self, buffers: tuple[Any, ...]) -> None:
        """TIR of all outputs."""
        x, w, bias, multiplier, shift, y = buffers
        op = self.conv
        of_group, tile = self.of_group, self.tile
        requantize = requantize32 if self.narrow else arithmetic.requantize
        with statements.grid(op.batch, *op.positions, op.groups, of_group // tile) as (n, row, column, group, block):
            first = group * of_group + block * tile
            sums = statements.alloc_buffer((tile,), "int32", scope="local")
            taken = statements.alloc_buffer((1,), "int32", scope="local")
            for u in range(tile):
                statements.buffer_store(sums, bias[first + u], [u])
            with statements.grid(op.kernel[0], op.kernel[1] // self.taps) as (i, j):
                run = i * (op.kernel[1] // self.taps) + j

                def add(word: Any, left: int) -> None:
                    """TIR of a word's products, of which `left` bytes count."""
                    some = [self.byte(x, (n, row, column, group), (i, j), word * WORD + lane) for lane in range(left)]
                    statements.buffer_store(taken, bytes4([*some, *[T.int32(0)] * (WORD - left)]), [0])
                    for u in range(tile):
                        statements.buffer_store(sums, dot4(taken[0], w[first + u, run, word], sums[u]), [u])

                whole, rest = divmod(self.taps * self.depth, WORD)
                if self.taps > 1 or self.depth < WORD:
                    for word in range(whole):
                        add(word, WORD)
                else:
                    with statements.serial(whole) as word:
                        add(word, WORD)
                if rest:
                    add(whole, rest)
            for u in range(tile):
                result = requantize(sums[u], multiplier[first + u], shift[first + u], op.output)
                statements.buffer_store(y, result, [n, row, column, first + u])

    def byte(self, x: Any, place: tuple[Any, Any, Any, Any], tap: tuple[Any, Any], at: Any) -> Any:
        """TIR of one byte of a run, as int32."""
        op, (n, row, column, group), (i, j) = self.conv, place, tap
        along, channel = divmod(at, self.depth) if self.taps > 1 else (0, at)
        down = row * op.strides[0] + i * op.dilations[0] - op.pads[0]
        right = column * op.strides[1] + (j * self.taps + along) * op.dilations[1] - op.pads[1]
        inside = inside_image(down, right, op.height, op.width, op.pads)
        taken = T.cast(x[n, down, right, group * self.depth + channel], "int32")
        return within(inside, taken, op.x_zero_point)


def specialize(call: Call, target: Target) -> Special | str:
    """The rule: any sums of products of int8 by weights."""
    plain = call.kernel
    if not isinstance(plain, Conv | Gemm):
        return "no sums of products by weights"
    if any(one.dtype != "int8" for one in plain.operands()[:2]):
        return WIDER
    kernel, (w, *others) = PatchDots(plain, chip_of(target).narrow), call.constants
    return Special(kernel, (kernel.packed(w), *others))


def cases() -> Iterable[PatchDots]:
    known: list[Conv | Gemm] = [*conv_file.cases(), *gemm_file.cases()]
    yield from list(PatchDots(Gemm(3, 21, 16, Output(5))).variants())
    for plain in known:
        yield from (PatchDots(plain, narrow) for narrow in (False, True))
