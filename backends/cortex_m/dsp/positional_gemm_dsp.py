"""Gemm of few rows for the DSP extension with weights of two, three or four bits, which are never unpacked.

Where no weight serves many rows, decoding would cost as much as the products. Here up to eight output channels share
the halfwords that are multiplied, and one instruction a product makes what the next one takes. A row is widened once
for all blocks of channels. What a block is: `backends/encodings/positional.py`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from bevel.backends.cortex_m.dsp import subbyte_tiles_dsp
from bevel.backends.cortex_m.dsp.dsp import LEAST_SHIFT, needed_raise, requantized, without_dead
from bevel.backends.cortex_m.dsp.gemm_dsp import as_gemm, channels_of
from bevel.backends.cortex_m.dsp.subbyte_tiles_dsp import SubbyteTilesDsp
from bevel.backends.cortex_m.dsp.tiles import call
from bevel.backends.encodings import packing, positional
from bevel.backends.encodings.depthwise import largest_accumulators
from bevel.backends.program.kernel import Kernel, Special
from bevel.backends.program.op import Array, Op, Operand, activation, constant, output, scratch
from bevel.backends.program.ops.gemm import Gemm
from bevel.backends.program.program import Call
from bevel.backends.program.rates import Rates
from bevel.backends.target import Target
from bevel.backends.tir.lazy import T, tirx
from bevel.calib.arithmetic.requantize import Output

MOST_ROWS = 4  # more rows share the cost of decoding


@dataclass(frozen=True)
class PositionalGemmDsp(Kernel):
    """`Gemm` with packed weights: x: int8 [rows, k]; packed: int32 [blocks, words]; multiplier: int32 [n]; shift:
    int8 [n], with `raised` added and 33 taken away; y: int8 [rows, n].

    Accumulators are shifted left by `raised` before they are rescaled.
    """

    rates: ClassVar[Rates] = Rates(mac=1.05, output=24, call=500, code=380)

    rows: int
    k: int
    n: int
    output: Output
    bits: int
    raised: int

    @property
    def shared(self) -> bool:
        """Whether blocks' starts lie apart from their weights (`SharedPositionalGemmDsp`)."""
        return False

    @property
    def taps(self) -> int:
        return packing.padded_taps(self.k)

    @property
    def channels(self) -> int:
        """Of one block."""
        return positional.CHANNELS[self.bits]

    def operands(self) -> tuple[Operand, ...]:
        packed = (positional.blocks(self.n, self.bits), positional.block_words(self.taps, self.bits))
        return (
            activation("x", (self.rows, self.k)),
            constant("packed", packed, "int32"),
            constant("multiplier", (self.n,), "int32"),
            constant("shift", (self.n,), "int8"),
            output("y", (self.rows, self.n)),
            scratch("widened", (self.taps // 2,), "int32"),
            scratch("sums", (1 + self.channels,), "int32"),
        )

    @property
    def op(self) -> Op:
        return Gemm(self.rows, self.k, self.n, self.output)

    @property
    def header(self) -> str:
        return "bevel_positional.h"

    def reference(self, *arrays: Array) -> Array:
        x, packed, multiplier, kept = arrays
        ordered, bias = positional.unpack(packed, self.n, self.bits)
        w = packing.from_widened_order(ordered, rows=1, elements=self.k).reshape(self.n, self.k)
        shift = (kept.astype(np.int32) + (LEAST_SHIFT - self.raised)).astype(np.int8)
        return Gemm(self.rows, self.k, self.n, self.output).reference(x, w, bias, multiplier, shift)

    def build(self, name: str) -> Any:
        rows, k, n, words, channels = self.rows, self.k, self.n, self.taps // 2, self.channels
        (blocks, block_words), raised, bounds = self.operands()[1].shape, self.raised, self.output
        multiply, shared = f"{'shared_' if self.shared else ''}positional_{self.bits}", self.shared

        def starts(buffer: Any, block: Any) -> list[Any]:
            return [T.address_of(buffer[block, 0])] if shared else []

        @T.prim_func(s_tir=True)
        def gemm(
            X: T.Buffer((rows, k), "int8"),
            W: T.Buffer((blocks, block_words), "int32"),
            K: T.Buffer((blocks, channels), "int32"),
            M: T.Buffer((n,), "int32"),
            S: T.Buffer((n,), "int8"),
            Y: T.Buffer((rows, n), "int8"),
            A: T.Buffer((words,), "int32"),
            C: T.Buffer((1 + channels,), "int32"),
        ):
            T.func_attr({"global_symbol": name, "tirx.noalias": True})
            for row in T.serial(rows):
                T.evaluate(call("widen_1", A.data, T.address_of(X[row, 0]), k))
                T.evaluate(call("sum_pairs", A.data, words, C.data))
                for block in T.serial(blocks):
                    place = T.meta_var(T.address_of(W[block, 0]))
                    T.evaluate(call(multiply, A.data, words, place, T.address_of(C[1]), *starts(K, block)))
                    for u in T.serial(T.min(channels, n - block * channels)):
                        channel = T.meta_var(block * channels + u)
                        Y[row, channel] = requantized(C[1 + u], M[channel], T.cast(S[channel], "int32"), raised, bounds)

        kept = [buffer for buffer in gemm.params if shared or buffer.name != "K"]
        return tirx.PrimFunc(kept, gemm.body, gemm.ret_type, gemm.attrs)

    def example(self, rng: np.random.Generator) -> tuple[Array, ...]:
        """Weights of all values, those of the last channel of a block small enough for its place."""
        x, w, bias, multiplier, shift = Gemm(self.rows, self.k, self.n, self.output).example(rng)
        half = 2 ** (self.bits - 1)
        codes = rng.integers(-half, half, w.shape, dtype=np.int8)
        last = np.arange(self.n) % self.channels == self.channels - 1
        codes[last] = np.where(rng.random((last.sum(), self.k)) < 0.1, codes[last], 0)
        bias = np.where(last, bias >> 8, bias).astype(np.int32)
        shift = np.clip(shift, LEAST_SHIFT - self.raised, 50).astype(np.int8)
        return x, *operands_of(self, codes, bias, multiplier, shift)


def operands_of(kernel: PositionalGemmDsp, *channels: Array) -> tuple[Array, ...]:
    """The constants of `kernel`: its channels' w [n, k], bias, multiplier and shift."""
    w, bias, multiplier, shift = channels
    ordered = packing.in_widened_order(w.reshape(kernel.n, 1, kernel.k), kernel.taps)
    if not kernel.output.power:
        multiplier, shift = without_dead(accumulators(w, bias), multiplier, shift)
    kept = (shift.astype(np.int32) + (kernel.raised - LEAST_SHIFT)).astype(np.int8)
    return positional.pack(ordered, bias, kernel.bits), multiplier, kept


def accumulators(w: Array, bias: Array) -> Array:
    """No accumulator of a channel is further from zero: int64 [n]."""
    return largest_accumulators(w[..., np.newaxis, np.newaxis], bias)


def specialize(call: Call, target: Target) -> Special | str:
    """The rule: few rows, and weights that are codes of two, three or four bits in two's complement."""
    as_codes = subbyte_tiles_dsp.specialize(call, target)
    if not isinstance(as_codes, Special):
        return as_codes
    shape = as_gemm(call.kernel)
    if shape is None or shape.rows > MOST_ROWS:
        return "no product of matrices, or one whose rows share the cost of decoding"
    if shape.output.dtype != "int8":
        return f"its results are {shape.output.dtype}"
    assert isinstance(as_codes.kernel, SubbyteTilesDsp)
    codes = as_codes.kernel.codes
    if codes.tabled or codes.bits not in positional.CHANNELS:
        return f"no codes that fill a halfword: {codes}"
    given = channels_of(call)
    if reason := positional.obstacle(given.w, given.bias, codes.bits):
        return reason
    raised = needed_raise(accumulators(given.w, given.bias), given.multiplier, given.shift)
    if isinstance(raised, str):
        return raised
    kernel = PositionalGemmDsp(shape.rows, shape.k, shape.n, shape.output, codes.bits, raised)
    constants = operands_of(kernel, given.w, given.bias, given.multiplier, given.shift)
    return Special(kernel, constants)


def cases() -> Iterable[PositionalGemmDsp]:
    """Every width, odd and even eights of taps, broken blocks, bounds, raised sums, several rows."""
    for bits in positional.CHANNELS:
        yield PositionalGemmDsp(rows=1, k=72, n=20, output=Output(zero_point=-128), bits=bits, raised=0)
        yield PositionalGemmDsp(rows=3, k=61, n=11, output=Output(zero_point=7, low=-30, high=99), bits=bits, raised=2)
        for power in (False, True):
            even = Output(zero_point=7, low=-90, even=True, power=power)
            yield PositionalGemmDsp(rows=9, k=5, n=11, output=even, bits=bits, raised=2)
        yield PositionalGemmDsp(rows=1, k=3, n=1, output=Output(zero_point=127), bits=bits, raised=5)
