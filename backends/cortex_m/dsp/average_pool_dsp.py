"""AveragePool on cores with the DSP extension: four channels at a time, two sums in a word.

SXTAB16 adds bytes 0 and 2 of a word to the two halves of another, and bytes 1 and 3 of the word rotated by a byte. A
halfword holds the sum of up to 256 int8 values, from which the zero points of the taps inside the image go at the end.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from bevel.backends.cortex_m.dsp.dsp import (
    HEADER,
    LANES,
    LEAST_SHIFT,
    call,
    load_word,
    needed_raise,
    requantized,
    without_dead,
)
from bevel.backends.program.kernel import WIDER, Kernel, Special, Unpacked
from bevel.backends.program.op import Array
from bevel.backends.program.ops import average_pool
from bevel.backends.program.ops.average_pool import AveragePool
from bevel.backends.program.program import Call
from bevel.backends.program.rates import Rates
from bevel.backends.target import Target
from bevel.backends.tir.lazy import T
from bevel.backends.tir.loops import inside_image

MOST_TAPS = 256  # int8 values whose sum fits int16


@dataclass(frozen=True)
class AveragePoolDsp(Unpacked):
    """The operands and results of `plain`, with `raised` added to its shifts and 33 taken away.

    Sums are shifted left by `raised` before they are rescaled. `words` of four channels are done at a time; the last
    block of them overlaps the one before where they do not divide the channels.
    """

    rates: ClassVar[Rates] = Rates(input=1.65, code=880)

    plain: AveragePool
    raised: int
    words: int

    @property
    def header(self) -> str:
        return HEADER

    def variants(self) -> Iterable[Kernel]:
        """Other numbers of words at a time."""
        return (replace(self, words=words) for words in (1, 2, 3) if LANES * words <= self.plain.channels)

    def reference(self, *arrays: Array) -> Array:
        x, multiplier, beyond = arrays
        return self.plain.reference(x, multiplier, (beyond + (LEAST_SHIFT - self.raised)).astype(np.int8))

    def build(self, name: str) -> Any:
        p, words, block, (rows, columns) = self.plain, self.words, LANES * self.words, self.plain.positions
        batch, height, width, channels, (kh, kw), pads = p.batch, p.height, p.width, p.channels, p.kernel, p.pads
        (down, right), (top, left, _, _), output, raised = p.strides, pads, p.output, self.raised
        x_zero_point = p.x_zero_point
        input_size, output_size = batch * height * width * channels, batch * rows * columns * channels

        @T.prim_func(s_tir=True)
        def average_pool(
            X: T.Buffer((input_size,), "int8"),
            M: T.Buffer((rows, columns), "int32"),
            S: T.Buffer((rows, columns), "int8"),
            Y: T.Buffer((output_size,), "int8"),
        ):
            T.func_attr({"global_symbol": name, "tirx.noalias": True})
            for n, y, x, b in T.grid(batch, rows, columns, -(-channels // block)):
                first = T.meta_var(T.min(b * block, channels - block))
                A = T.alloc_buffer((2 * words,), "int32")
                C = T.alloc_buffer((1,), "int32")  # minus the zero points of the taps inside
                C[0] = 0
                for w in T.unroll(2 * words):
                    A[w] = 0
                for i, j in T.grid(kh, kw):
                    row, column = T.meta_var(y * down + i - top), T.meta_var(x * right + j - left)
                    source = T.meta_var(((n * height + row) * width + column) * channels + first)
                    if inside_image(row, column, height, width, pads):
                        C[0] = C[0] - x_zero_point
                        for w in T.unroll(words):
                            word = T.meta_var(load_word(X, source + LANES * w))
                            A[2 * w] = call("sxtab16", A[2 * w], word)
                            A[2 * w + 1] = call("sxtab16_odd", A[2 * w + 1], word)
                target = T.meta_var(((n * rows + y) * columns + x) * channels + first)
                for w in T.unroll(words):
                    for u in T.unroll(LANES):
                        total = T.meta_var(call("half", A[2 * w + u % 2], u // 2) + C[0])
                        beyond = T.meta_var(T.cast(S[y, x], "int32"))
                        Y[target + LANES * w + u] = requantized(total, M[y, x], beyond, raised, output)

        return average_pool

    def example(self, rng: np.random.Generator) -> tuple[Array, ...]:
        x, *constants = self.plain.example(rng)
        return x, *packed(self.plain, self.raised, *constants)


def packed(plain: AveragePool, raised: int, multiplier: Array, shift: Array) -> tuple[Array, Array]:
    """The constants of `plain` as AveragePoolDsp takes them."""
    multiplier, shift = without_dead(largest_sum(plain), multiplier, shift)
    return multiplier, (shift.astype(np.int32) + (raised - LEAST_SHIFT)).astype(np.int8)


def largest_sum(plain: AveragePool) -> Array:
    """No window's sum is further from zero."""
    return np.array(255 * plain.kernel[0] * plain.kernel[1])


def specialize(call: Call, target: Target) -> Special | str:
    """Averages of at most 256 values, four channels or more, on targets with the DSP extension."""
    plain = call.kernel
    if "dsp" not in target.abilities:
        return f"{target.name} has no DSP extension"
    if not isinstance(plain, AveragePool):
        return "not an AveragePool"
    if plain.sum_dtype != "int32":
        return WIDER
    if plain.channels < LANES or plain.kernel[0] * plain.kernel[1] > MOST_TAPS:
        return f"needs {LANES} channels or more, and at most {MOST_TAPS} values to a sum"
    raised = needed_raise(largest_sum(plain), *call.constants)
    if isinstance(raised, str):
        return raised
    kernel = AveragePoolDsp(plain, raised, words=2 if plain.channels >= 2 * LANES else 1)
    return Special(kernel, packed(plain, raised, *call.constants))


def cases() -> Iterable[AveragePoolDsp]:
    """Those of the plain kernel with enough channels, which hold ratios above 1/4."""
    for plain in average_pool.cases():
        if plain.channels >= LANES and plain.sum_dtype == "int32":
            yield AveragePoolDsp(plain, raised=3, words=2 if plain.channels >= 2 * LANES else 1)
