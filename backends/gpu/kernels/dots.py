"""`Conv` and `Gemm` by four products at a time, where the input channels of a group are whole words of four int8.

A thread computes a few output channels of a pixel, so that a word of the image that it has read serves all of them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from bevel.backends.gpu.chip import chip_of
from bevel.backends.gpu.kernels.words import WORD, as_conv, dot4, tiles_of, within, word_of
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
from bevel.calib.arithmetic.requantize import Output


@dataclass(frozen=True)
class WordDots(Unpacked):
    """`narrow`: whether sums are rescaled in words of 32 bits; `sums`: output channels of a thread, 0: as many as any
    core keeps in registers."""

    narrow: bool = False
    sums: int = 0
    rates: ClassVar[Rates] = Rates(mac=0.3, input=1.0, output=1.0, code=1000, unit=Resource.MACS)  # estimates

    def build(self, name: str) -> Any:
        return dots(as_conv(self.plain), name, self.narrow, self.tile)

    @property
    def of_group(self) -> int:
        conv = as_conv(self.plain)
        return conv.channels_out // conv.groups

    @property
    def tile(self) -> int:
        return self.sums or register_tile(self.of_group)

    def variants(self) -> Iterable[WordDots]:
        return (replace(self, sums=tile) for tile in tiles_of(self.of_group, self.tile))


def dots(op: Conv, name: str, narrow: bool, tile: int) -> Any:
    (kh, kw), (down, right), (row_step, column_step) = op.kernel, op.strides, op.dilations
    batch, height, width, (rows, columns) = op.batch, op.height, op.width, op.positions
    (top, left, _, _), pads, channels, output = op.pads, op.pads, op.channels_out, op.output
    words, of_group, padding = op.channels_in // op.groups // WORD, channels // op.groups, word_of(op.x_zero_point)
    all_words = op.channels_in // WORD
    requantize = requantize32 if narrow else arithmetic.requantize

    @T.prim_func(s_tir=True)
    def dot4_conv(
        X: T.Buffer((batch, height, width, all_words), "int32"),
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
                    taken = T.meta_var(X[n, row, column, block * tile // of_group * words + c])
                    V[0] = within(inside_image(row, column, height, width, pads), taken, padding)
                    for u in T.unroll(tile):
                        A[u] = dot4(V[0], W[block * tile + u, i * kw + j, c], A[u])
            for u in T.unroll(tile):
                Y[n, y, x, block * tile + u] = requantize(A[u], M[block * tile + u], S[block * tile + u], output)

    return dot4_conv


def specialize(call: Call, target: Target) -> Special | str:
    """The rule: the input channels of a group in whole words."""
    plain, chip = call.kernel, chip_of(target)
    if not isinstance(plain, Conv | Gemm):
        return "no sums of products by weights"
    if any(one.dtype != "int8" for one in plain.operands()[:2]):
        return WIDER
    conv = as_conv(plain)
    if conv.channels_in // conv.groups % WORD or call.input_starts[0] % WORD:
        return f"{conv.channels_in // conv.groups} input channels are no whole words"
    return Special(WordDots(plain, chip.narrow), call.constants)


def cases() -> Iterable[WordDots]:
    grouped = (replace(one, channels_in=24, channels_out=9) for one in conv_file.cases() if one.groups == 3)
    yield from list(WordDots(Gemm(3, 20, 16, Output(5))).variants())
    for plain in (*grouped, *conv_file.cases(), *gemm_file.cases()):
        conv = as_conv(plain)
        if conv.channels_in // conv.groups % WORD == 0:
            yield from (WordDots(plain, narrow) for narrow in (False, True))
