"""Gemm, and Conv of single pixels, for the DSP extension: two rows by four channels at a time, four products in two
multiplications.

A pair of rows is widened to int16 once and serves every block of four output channels; an odd last row goes alone.
Packed weights, and what a block of them is: `bevel.backends.encodings.packing`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from bevel.backends.cortex_m.dsp.tiles import Tiled, Tiles, call
from bevel.backends.encodings import packing
from bevel.backends.encodings.packing import Channels
from bevel.backends.program.kernel import Special
from bevel.backends.program.op import Array, Op, Operand, activation, output, scratch
from bevel.backends.program.ops.conv import Conv
from bevel.backends.program.ops.gemm import Gemm
from bevel.backends.program.program import Call
from bevel.backends.program.rates import Rates
from bevel.backends.target import Target
from bevel.backends.tir.lazy import T
from bevel.calib.arithmetic.requantize import UPPER_WORD, Output


@dataclass(frozen=True)
class GemmDsp(Tiled):
    """`Gemm` with packed weights: x: int8 [rows, k]; packed: int32 [blocks, words]; y: output.dtype
    [rows, n].

    The output's zero point is part of packed, so that layers that differ in it share a function. Where ratios, ties to
    even, or int16 results need the general formula (`apart`), the kernel has it, and multiplier: int32 [n] and shift:
    int8 [n] come after packed.
    """

    rates: ClassVar[Rates] = Rates(mac=0.73, output=12, byte=0.18, call=200, code=690)

    rows: int
    k: int
    n: int
    output: Output
    apart: bool = False

    @property
    def taps(self) -> int:
        return packing.padded_taps(self.k)

    @property
    def tiles(self) -> Tiles:
        """Widened are two rows, or the only one."""
        return Tiles(self.n, self.taps, self.taps // 2 * min(self.rows, 2), self.output, self.apart)

    def operands(self) -> tuple[Operand, ...]:
        return (
            activation("x", (self.rows, self.k)),
            *self.packed_operands(),
            output("y", (self.rows, self.n), self.output.dtype),
            scratch("widened", (self.tiles.scratch_words,), "int32"),
        )

    @property
    def op(self) -> Op:
        return Gemm(self.rows, self.k, self.n, self.output)

    def reference(self, *arrays: Array) -> Array:
        x, packed, *rescaling = arrays
        channels = packing.unpack(packed, self.n)
        multiplier, shift = rescaling or (channels.multiplier, channels.shift)
        w = packing.from_widened_order(channels.w, rows=1, elements=self.k).reshape(self.n, self.k)
        output = self.output if self.apart else replace(self.output, zero_point=packing.zero_point(packed))
        return Gemm(self.rows, self.k, self.n, output).reference(x, w, channels.bias, multiplier, shift)

    @property
    def image(self) -> tuple[int, int]:
        return self.rows, self.k

    def pixels(self, tiles: Tiles) -> Any:
        """A TIR macro (X, W, M, S, Y, A, lead): pairs of rows, then what is left, with W's blocks from `lead` on."""
        rows, k, n = self.rows, self.k, self.n
        two, one = tiles.macro(2), tiles.macro(1)

        @T.macro
        def product(X, W, M, S, Y, A, lead):
            for pair in T.serial(rows // 2):
                T.evaluate(call("widen_2", A.data, T.address_of(X[pair * 2, 0]), T.address_of(X[pair * 2 + 1, 0]), k))
                two(A, 0, W, M, S, Y, pair * 2 * n, lead)
            if rows % 2 > 0:
                T.evaluate(call("widen_1", A.data, T.address_of(X[rows - 1, 0]), k))
                one(A, 0, W, M, S, Y, (rows - 1) * n, lead)

        return product

    def example(self, rng: np.random.Generator) -> tuple[Array, ...]:
        x, w, bias, multiplier, shift = Gemm(self.rows, self.k, self.n, self.output).example(rng)
        if not self.apart:
            shift = np.clip(shift, UPPER_WORD, UPPER_WORD - packing.HIGH_BITS + packing.LARGEST_SHIFT)
        given = Channels(w, bias, multiplier, shift.astype(np.int8))
        return x, *packed_operands(given, self.k, self.taps, self.output, self.apart)


def packed_operands(given: Channels, elements: int, taps: int, output: Output, apart: bool) -> tuple[Array, ...]:
    """The constants of a kernel: `given.w` is [n, rows * elements], each row widened on its own."""
    rows = given.w.reshape(given.w.shape[0], -1, elements)
    ordered = Channels(packing.in_widened_order(rows, taps), given.bias, given.multiplier, given.shift)
    packed = packing.pack(ordered, 0 if apart else output.zero_point)
    return (packed, given.multiplier, given.shift) if apart else (packed,)


def specialize(call: Call, target: Target) -> Special | str:
    """The rule: a Gemm, or a Conv that is one, whose sums are known to fit."""
    if "dsp" not in target.abilities:
        return "the target has no DSP extension"
    shape = as_gemm(call.kernel)
    if shape is None:
        return "no product of matrices"
    given = channels_of(call)
    if reason := packing.obstacle(given):
        return reason
    apart = shape.output.even or shape.output.dtype != "int8" or packing.stored_shifts(given.shift) is None
    kernel = GemmDsp(shape.rows, shape.k, shape.n, shared_output(shape.output, apart), apart)
    if kernel.taps > packing.MAX_TAPS:
        return f"{shape.k} inputs are more than a packed block can count"
    return Special(kernel, packed_operands(given, shape.k, kernel.taps, shape.output, apart))


def channels_of(call: Call) -> Channels:
    """The output channels of a Gemm or Conv, w as [n, k]."""
    w, bias, multiplier, shift = call.constants
    assert isinstance(call.kernel, Conv | Gemm)
    return packing.settled(Channels(w.reshape(w.shape[0], -1), bias, multiplier, shift), call.kernel.output)


def shared_output(output: Output, apart: bool) -> Output:
    """`output` as the function's code depends on it."""
    return output if apart else replace(output, zero_point=0)


def as_gemm(kernel: Op) -> Gemm | None:
    """The Gemm over pixels that a convolution of single pixels is; a Gemm is itself."""
    if isinstance(kernel, Gemm):
        return kernel
    if not isinstance(kernel, Conv) or kernel.groups != 1 or any(kernel.pads):
        return None
    if kernel.kernel != (1, 1) or kernel.strides != (1, 1):
        return None
    return Gemm(kernel.batch * kernel.height * kernel.width, kernel.channels_in, kernel.channels_out, kernel.output)


def cases() -> Iterable[GemmDsp]:
    """Single rows, odd rows, broken fours and blocks, bounds, and ratios of every kind."""
    yield GemmDsp(rows=1, k=1, n=1, output=Output())
    yield GemmDsp(rows=1, k=300, n=8, output=Output(zero_point=-128))
    yield GemmDsp(rows=3, k=17, n=5, output=Output(zero_point=127))
    yield GemmDsp(rows=2, k=34, n=6, output=Output(zero_point=-5, low=-5))
    yield GemmDsp(rows=5, k=35, n=9, output=Output(zero_point=3, low=-20, high=90))
    yield GemmDsp(rows=4, k=16, n=12, output=Output(zero_point=-128))
    yield GemmDsp(rows=5, k=35, n=9, output=Output(zero_point=3, low=-20, high=90), apart=True)
    yield GemmDsp(rows=1, k=24, n=4, output=Output(), apart=True)
    yield GemmDsp(rows=5, k=35, n=9, output=Output(-300, -2000, 2**15 - 1, "int16"), apart=True)
    yield GemmDsp(rows=1, k=64, n=6, output=Output(2**15 - 1, -(2**15), 2**15 - 1, "int16"), apart=True)
    for power in (False, True):
        output = Output(zero_point=3, low=-90, even=True, power=power)
        yield GemmDsp(rows=33, k=5, n=9, output=output, apart=True)
