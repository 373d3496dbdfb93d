"""MaxPool on cores with the DSP extension: four channels at a time.

SSUB8 subtracts four bytes from four others and keeps of each pair which was greater; SEL takes the greater ones.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from bevel.backends.cortex_m.dsp.dsp import HEADER, LANES, call, call_void, load_word
from bevel.backends.program.kernel import Kernel, Special, Unpacked
from bevel.backends.program.ops import max_pool
from bevel.backends.program.ops.max_pool import MaxPool
from bevel.backends.program.program import Call
from bevel.backends.program.rates import Rates
from bevel.backends.target import Target
from bevel.backends.tir.lazy import T
from bevel.backends.tir.loops import inside_image

WORDS = 4  # of channels at a time, so that asking whether a tap lies inside the image is shared by sixteen
LEAST = int(np.full(LANES, -128, np.int8).view(np.int32)[0])


@dataclass(frozen=True)
class MaxPoolDsp(Unpacked):
    """The operands and results of `plain`. `words` of four channels are done at a time; the last block of them
    overlaps the one before where they do not divide the channels."""

    rates: ClassVar[Rates] = Rates(input=0.95, code=310)

    plain: MaxPool
    words: int

    @property
    def header(self) -> str:
        return HEADER

    def variants(self) -> Iterable[Kernel]:
        """Other numbers of words at a time."""
        return (replace(self, words=words) for words in (1, 2, 4, 6) if LANES * words <= self.plain.channels)

    def build(self, name: str) -> Any:
        p, words, block, (rows, columns) = self.plain, self.words, LANES * self.words, self.plain.positions
        batch, height, width, channels, (kh, kw), pads = p.batch, p.height, p.width, p.channels, p.kernel, p.pads
        (down, right), (row_step, column_step), (top, left, _, _) = p.strides, p.dilations, pads
        input_size, output_size = (operand.size for operand in self.operands())

        @T.prim_func(s_tir=True)
        def max_pool(X: T.Buffer((input_size,), "int8"), Y: T.Buffer((output_size,), "int8")):
            T.func_attr({"global_symbol": name, "tirx.noalias": True})
            for n, y, x, b in T.grid(batch, rows, columns, -(-channels // block)):
                first = T.meta_var(T.min(b * block, channels - block))
                A = T.alloc_buffer((words,), "int32")
                for w in T.unroll(words):
                    A[w] = LEAST
                for i, j in T.grid(kh, kw):
                    row = T.meta_var(y * down + i * row_step - top)
                    column = T.meta_var(x * right + j * column_step - left)
                    source = T.meta_var(((n * height + row) * width + column) * channels + first)
                    if inside_image(row, column, height, width, pads):
                        for w in T.unroll(words):
                            A[w] = call("max_bytes", A[w], load_word(X, source + LANES * w))
                target = T.meta_var(((n * rows + y) * columns + x) * channels + first)
                for w in T.unroll(words):
                    call_void("store_word", T.address_of(Y[target + LANES * w]), A[w])

        return max_pool


def specialize(call: Call, target: Target) -> Special | str:
    """Maxima over windows of four channels or more, on targets with the DSP extension."""
    plain = call.kernel
    if "dsp" not in target.abilities:
        return f"{target.name} has no DSP extension"
    if not isinstance(plain, MaxPool) or plain.dtype != "int8" or plain.channels < LANES:
        return f"not an int8 MaxPool of {LANES} channels or more"
    return Special(MaxPoolDsp(plain, min(WORDS, plain.channels // LANES)), call.constants)


def cases() -> Iterable[MaxPoolDsp]:
    """Those of the plain kernel with enough channels, and blocks that overlap."""
    for plain in (*max_pool.cases(), MaxPool(1, 4, 6, 22, (2, 2), (2, 2), (1, 1), (0, 0, 0, 0))):
        if plain.channels >= LANES and plain.dtype == "int8":
            yield MaxPoolDsp(plain, min(WORDS, plain.channels // LANES))
