"""`Conv` of one group and `Gemm` by four products at a time: input channels are read as words of four int8.

`bevel_dot4(a, b, sum)` is `sum` and the products of the bytes of two words: an instruction where the device has it
(cl_khr_integer_dot_product, dp4a), else the same in C. A thread computes a few output channels of a pixel.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from bevel.backends.gpu.chip import chip_of
from bevel.backends.gpu.requantize import requantize32
from bevel.backends.program.kernel import WIDER, Special, Unpacked
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
from bevel.backends.tir.lazy import T
from bevel.backends.tir.loops import inside_image

DOT4 = "bevel_dot4"
WORD = 4  # int8 in a word


@dataclass(frozen=True)
class WordDots(Unpacked):
    """`narrow`: whether sums are rescaled in words of 32 bits."""

    narrow: bool = False
    rates: ClassVar[Rates] = Rates(mac=0.3, input=1.0, output=1.0, code=1000, unit=Resource.MACS)  # estimates

    def build(self, name: str) -> Any:
        return dots(as_conv(self.plain), name, self.narrow)


def as_conv(plain: Any) -> Conv:
    """A product of rows as a convolution of one pixel a row."""
    if isinstance(plain, Conv):
        return plain
    return Conv(1, 1, plain.rows, plain.k, plain.n, (1, 1), (1, 1), (1, 1), (0, 0, 0, 0), 1, 0, plain.output)


def dots(op: Conv, name: str, narrow: bool) -> Any:
    (kh, kw), (down, right), (row_step, column_step) = op.kernel, op.strides, op.dilations
    batch, height, width, (rows, columns) = op.batch, op.height, op.width, op.positions
    (top, left, _, _), pads, words, channels = op.pads, op.pads, op.channels_in // WORD, op.channels_out
    padding = int(np.full(WORD, op.x_zero_point, np.int8).view(np.int32)[0])
    tile, output = register_tile(channels), op.output
    requantize = requantize32 if narrow else arithmetic.requantize

    @T.prim_func(s_tir=True)
    def dot4(
        X: T.Buffer((batch, height, width, words), "int32"),
        W: T.Buffer((channels, kh * kw, words), "int32"),
        B: T.Buffer((channels,), "int32"),
        M: T.Buffer((channels,), "int32"),
        S: T.Buffer((channels,), "int8"),
        Y: T.Buffer((batch, rows, columns, channels), output.dtype),
    ):
        T.func_attr({"global_symbol": name, "tirx.noalias": True})
        for n, y, x, block in T.grid(batch, rows, columns, channels // tile):
            A = T.alloc_buffer((tile,), "int32")
            V = T.alloc_buffer((1,), "int32")
            for u in T.unroll(tile):
                A[u] = B[block * tile + u]
            for i, j in T.grid(kh, kw):
                row = T.meta_var(y * down + i * row_step - top)
                column = T.meta_var(x * right + j * column_step - left)
                for c in T.serial(words):
                    taken = T.meta_var(X[n, row, column, c])
                    V[0] = within(inside_image(row, column, height, width, pads), taken, padding)
                    for u in T.unroll(tile):
                        A[u] = T.call_pure_extern("int32", DOT4, V[0], W[block * tile + u, i * kw + j, c], A[u])
            for u in T.unroll(tile):
                Y[n, y, x, block * tile + u] = requantize(A[u], M[block * tile + u], S[block * tile + u], output)

    return dot4


def within(inside: Any, word: Any, padding: int) -> Any:
    """TIR for a word of the image, or of its padding."""
    return word if inside is True else T.if_then_else(inside, word, padding)


def specialize(call: Call, target: Target) -> Special | str:
    """The rule: input channels in whole words, of one group."""
    plain, chip = call.kernel, chip_of(target)
    if not isinstance(plain, Conv | Gemm):
        return "no sums of products by weights"
    if any(one.dtype != "int8" for one in plain.operands()[:2]):
        return WIDER
    conv = as_conv(plain)
    if conv.groups > 1:
        return f"{conv.groups} groups"
    if conv.channels_in % WORD or call.input_starts[0] % WORD:
        return f"{conv.channels_in} input channels are no whole words"
    return Special(WordDots(plain, chip.narrow), call.constants)


def cases() -> Iterable[WordDots]:
    for plain in (*conv_file.cases(), *gemm_file.cases()):
        conv = as_conv(plain)
        if conv.groups == 1 and conv.channels_in % WORD == 0:
            yield from (WordDots(plain, narrow) for narrow in (False, True))
