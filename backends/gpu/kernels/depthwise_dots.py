"""Depthwise `Conv` by four products at a time: a thread takes four channels, whose bytes are a word at each tap.

The words of four taps of a row hold what four channels want, channel by channel once their bytes are turned:

    taps     a0 a1 a2 a3 | b0 b1 b2 b3 | c0 c1 c2 c3 | d0 d1 d2 d3
    turned   a0 b0 c0 d0 | a1 b1 c1 d1 | a2 b2 c2 d2 | a3 b3 c3 d3        each meets its channel's weights

so that four loads serve sixteen products. Taps that a row does not have weigh 0.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from bevel.backends.gpu.chip import chip_of
from bevel.backends.gpu.kernels.words import WORD, byte_of, dot4, from_words, in_words, within, word_of, words_for
from bevel.backends.gpu.requantize import requantize32
from bevel.backends.program.kernel import Kernel, Special
from bevel.backends.program.op import Array, Op, Operand, constant
from bevel.backends.program.ops import conv as conv_file
from bevel.backends.program.ops.conv import Conv
from bevel.backends.program.program import Call
from bevel.backends.program.rates import Rates
from bevel.backends.program.resources import Resource
from bevel.backends.target import Target
from bevel.backends.tir import arithmetic
from bevel.backends.tir.functions import function
from bevel.backends.tir.lazy import T, statements
from bevel.backends.tir.loops import inside_image

WIDEST = 32  # taps of a row, whose loop is unrolled


@dataclass(frozen=True)
class DepthwiseWordDots(Kernel):
    """The operands and results of `plain`, but for w: int32 [C / 4, kh, words of a row, 4]. `narrow`: whether sums are
    rescaled in words of 32 bits."""

    rates: ClassVar[Rates] = Rates(mac=0.4, input=1.0, output=1.0, code=1500, unit=Resource.MACS)  # estimates

    plain: Conv
    narrow: bool = False

    @property
    def op(self) -> Op:
        return self.plain

    @property
    def weights(self) -> tuple[int, int, int, int]:
        """In words."""
        return self.plain.channels_out // WORD, self.plain.kernel[0], words_for(self.plain.kernel[1]), WORD

    def operands(self) -> tuple[Operand, ...]:
        x, _, *others = self.plain.operands()
        return x, constant("w", self.weights, "int32"), *others

    def packed(self, w: Array) -> Array:
        blocks, down, words, _ = self.weights
        by_channel = in_words(w.reshape(-1, *self.plain.kernel)).reshape(blocks, WORD, down, words)
        return np.ascontiguousarray(by_channel.transpose(0, 2, 3, 1))

    def reference(self, *arrays: Array) -> Array:
        x, w, *others = arrays
        by_channel = w.transpose(0, 3, 1, 2).reshape(self.plain.channels_out, *self.weights[1:3])
        plain = from_words(by_channel, self.plain.kernel[1])[..., None]
        return self.plain.reference(x, plain, *others)

    def example(self, rng: np.random.Generator) -> tuple[Array, ...]:
        x, w, *others = self.plain.example(rng)
        return x, self.packed(w), *others

    def build(self, name: str) -> Any:
        op = self.plain
        channels, image = (op.channels_out,), (op.batch, op.height, op.width, op.channels_in // WORD)
        given = [("X", image, "int32"), ("W", self.weights, "int32"), ("B", channels, "int32")]
        given += [("M", channels, "int32"), ("S", channels, "int8")]
        given += [("Y", (op.batch, *op.positions, *channels), op.output.dtype)]
        return function(name, given, self.loops)

    def loops(self, buffers: tuple[Any, ...]) -> None:
        """TIR of all outputs."""
        x, w, bias, multiplier, shift, y = buffers
        op, (blocks, _, words, _) = self.plain, self.weights
        requantize = requantize32 if self.narrow else arithmetic.requantize
        with statements.grid(op.batch, *op.positions, blocks) as (n, row, column, block):
            sums = statements.alloc_buffer((WORD,), "int32", scope="local")
            taken = statements.alloc_buffer((WORD,), "int32", scope="local")
            for u in range(WORD):
                statements.buffer_store(sums, bias[block * WORD + u], [u])
            with statements.serial(op.kernel[0]) as i:
                for word in range(words):
                    for lane in range(WORD):
                        tap = self.tap(x, (n, row, column, block), i, word * WORD + lane)
                        statements.buffer_store(taken, tap, [lane])
                    for u in range(WORD):
                        turned = byte_of([taken[lane] for lane in range(WORD)], u)
                        statements.buffer_store(sums, dot4(turned, w[block, i, word, u], sums[u]), [u])
            for u in range(WORD):
                channel = block * WORD + u
                result = requantize(sums[u], multiplier[channel], shift[channel], op.output)
                statements.buffer_store(y, result, [n, row, column, channel])

    def tap(self, x: Any, place: tuple[Any, Any, Any, Any], i: Any, j: int) -> Any:
        """TIR of four channels of a pixel."""
        op, (n, row, column, block) = self.plain, place
        if j >= op.kernel[1]:
            return T.int32(0)
        down = row * op.strides[0] + i * op.dilations[0] - op.pads[0]
        right = column * op.strides[1] + j * op.dilations[1] - op.pads[1]
        inside = inside_image(down, right, op.height, op.width, op.pads)
        return within(inside, x[n, down, right, block], word_of(op.x_zero_point))


def specialize(call: Call, target: Target) -> Special | str:
    """The rule: as many channels as make whole words, each its own group."""
    plain = call.kernel
    if not isinstance(plain, Conv) or not plain.depthwise:
        return "no depthwise convolution"
    if plain.channels_in % WORD or call.input_starts[0] % WORD:
        return f"{plain.channels_in} channels are no whole words"
    if plain.kernel[1] > WIDEST:
        return f"{plain.kernel[1]} taps in a row"
    kernel, (w, *others) = DepthwiseWordDots(plain, chip_of(target).narrow), call.constants
    return Special(kernel, (kernel.packed(w), *others))


def cases() -> Iterable[DepthwiseWordDots]:
    """Of the operator's; rows of two words."""
    known = [one for one in conv_file.cases() if one.depthwise and one.channels_in % WORD == 0]
    for plain in (*known, replace(known[0], width=9, kernel=(2, 5), pads=(0, 2, 1, 2), strides=(1, 2))):
        yield from (DepthwiseWordDots(plain, narrow) for narrow in (False, True))
