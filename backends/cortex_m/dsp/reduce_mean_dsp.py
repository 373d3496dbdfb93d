"""Mean over the middle axis on cores with the DSP extension: four channels at a time, two sums in a word.

SXTAB16 widens bytes 0 and 2 of a word to halfwords and adds them to the two halves of another; with the word rotated
by a byte it takes bytes 1 and 3. A halfword holds the sum of up to 256 int8 values, whatever they are.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar

from bevel.backends.cortex_m.dsp.dsp import HEADER, LANES, LEAST_SHIFT, MOST_SHIFT, call, load_word, requantized
from bevel.backends.program.kernel import WIDER, Kernel, Special, Unpacked
from bevel.backends.program.ops.reduce_mean import ReduceMean
from bevel.backends.program.program import Call
from bevel.backends.program.rates import Rates
from bevel.backends.target import Target
from bevel.backends.tir.lazy import T
from bevel.calib.arithmetic.requantize import Output, fixed_point

MOST_SUMMED = 256  # int8 values whose sum fits int16


@dataclass(frozen=True)
class ReduceMeanDsp(Unpacked):
    """The operands and results of `plain`. `words` of four channels are summed at a time; the last block of them
    overlaps the one before where they do not divide the channels."""

    rates: ClassVar[Rates] = Rates(input=1.22, code=430)

    plain: ReduceMean
    words: int

    @property
    def header(self) -> str:
        return HEADER

    def variants(self) -> Iterable[Kernel]:
        """Other numbers of words at a time."""
        return (ReduceMeanDsp(self.plain, words) for words in (1, 2, 4) if LANES * words <= self.plain.inner)

    def build(self, name: str) -> Any:
        p, words, block = self.plain, self.words, LANES * self.words
        outer, reduced, inner, output, multiplier = p.outer, p.reduced, p.inner, p.output, p.multiplier
        raised, offset = max(0, LEAST_SHIFT - p.shift), -p.reduced * p.x_zero_point
        beyond = p.shift + raised - LEAST_SHIFT

        @T.prim_func(s_tir=True)
        def reduce_mean(X: T.Buffer((outer * reduced * inner,), "int8"), Y: T.Buffer((outer * inner,), "int8")):
            T.func_attr({"global_symbol": name, "tirx.noalias": True})
            for i, b in T.grid(outer, -(-inner // block)):
                first = T.meta_var(T.min(b * block, inner - block))
                A = T.alloc_buffer((2 * words,), "int32")
                for w in T.unroll(2 * words):
                    A[w] = 0
                for r in T.serial(reduced):
                    for w in T.unroll(words):
                        word = T.meta_var(load_word(X, (i * reduced + r) * inner + first + LANES * w))
                        A[2 * w] = call("sxtab16", A[2 * w], word)
                        A[2 * w + 1] = call("sxtab16_odd", A[2 * w + 1], word)
                for w in T.unroll(words):
                    for u in T.unroll(LANES):
                        total = T.meta_var(call("half", A[2 * w + u % 2], u // 2) + offset)
                        y = T.meta_var(requantized(total, multiplier, beyond, raised, output))
                        Y[i * inner + first + LANES * w + u] = y

        return reduce_mean


def specialize(call: Call, target: Target) -> Special | str:
    """Means of at most 256 values, four channels or more, on targets with the DSP extension."""
    plain = call.kernel
    if "dsp" not in target.abilities:
        return f"{target.name} has no DSP extension"
    if not isinstance(plain, ReduceMean):
        return "not a mean"
    if plain.sum_dtype != "int32":
        return WIDER
    if plain.inner < LANES or plain.reduced > MOST_SUMMED:
        return f"needs {LANES} channels or more, and at most {MOST_SUMMED} values to a sum"
    raised = max(0, LEAST_SHIFT - plain.shift)
    if plain.shift > MOST_SHIFT or plain.reduced * 255 << raised >= 2**31:
        return f"cannot rescale by a shift of {plain.shift}"
    return Special(ReduceMeanDsp(plain, words=2 if plain.inner >= 2 * LANES else 1), call.constants)


def cases() -> Iterable[ReduceMeanDsp]:
    """Ratios on both sides of 1/4, where sums are raised before they are rescaled; the longest sums."""
    yield ReduceMeanDsp(ReduceMean(1, 64, 64, -128, *fixed_point(1.1 / 64), Output(-128)), words=2)
    yield ReduceMeanDsp(ReduceMean(3, 49, 5, 127, *fixed_point(2.3 / 49), Output(90)), words=1)
    yield ReduceMeanDsp(ReduceMean(2, 3, 11, 17, *fixed_point(0.9 / 3), Output(5, -60, 70)), words=2)
    yield ReduceMeanDsp(ReduceMean(2, 2, 7, -3, *fixed_point(5.7 / 2), Output(-1)), words=1)
    yield ReduceMeanDsp(ReduceMean(1, 256, 9, 0, *fixed_point(1.0 / 256), Output(0)), words=2)
