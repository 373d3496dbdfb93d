"""Depthwise Conv for the DSP extension with weights of fewer than eight bits, decoded into scratch as the call begins.

Decoding leaves the codes themselves where `depthwise_dsp` reads weights; what they lack is added as they are widened,
by the same instruction. Codes and how they lie in words: `backends/encodings/subbyte.py`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from math import prod
from typing import Any, ClassVar

import numpy as np

from bevel.backends.cortex_m.decoding import Decoding
from bevel.backends.cortex_m.dsp import depthwise_dsp
from bevel.backends.cortex_m.dsp.depthwise_dsp import DepthwiseDsp
from bevel.backends.cortex_m.dsp.tiles import call
from bevel.backends.encodings import subbyte
from bevel.backends.encodings.subbyte import SubbyteCodes
from bevel.backends.program.kernel import Kernel, Special
from bevel.backends.program.op import Array, Operand, Role, constant, scratch
from bevel.backends.program.program import Call
from bevel.backends.program.rates import Rates
from bevel.backends.target import Target
from bevel.backends.tir.lazy import T
from bevel.calib.arithmetic.requantize import Int8, Int32

MOST_BYTES = 8192  # decoded weights take no more scratch than that
NO_TABLE = np.zeros(0, np.int8)


@dataclass(frozen=True)
class SubbyteDepthwiseDsp(Decoding):
    """stored: int32 [words], never with a table."""

    rates: ClassVar[Rates] = Rates(byte=1.0, call=480, code=1020)  # of decoding

    inner: DepthwiseDsp

    def variants(self) -> Iterable[Kernel]:
        """Other numbers of outputs in a loop's body."""
        return (replace(self, inner=inner) for inner in self.inner.variants())

    @property
    def units(self) -> int:
        return -(-weights_of(self.inner).size // subbyte.UNIT)

    def operands(self) -> tuple[Operand, ...]:
        x, w, *others = self.inner.operands()
        blocks = -(-self.units * subbyte.UNIT // prod(w.shape[1:]))
        return (
            x,
            constant("stored", (self.units * self.codes.bits,), "int32"),
            *others,
            scratch("decoded", (blocks, *w.shape[1:]), "int32"),
        )

    @property
    def header(self) -> str:
        return "bevel_subbyte.h"

    def reference(self, *arrays: Array) -> Array:
        x, stored, *others = arrays
        values = self.codes.values(subbyte.unpack(stored, self.codes.bits), NO_TABLE)
        w = weights_of(self.inner)
        words = subbyte.words_of(values.view(np.uint8)).view(np.int32)[: w.size].reshape(w.shape)
        return self.inner.reference(x, words, *others)

    def build(self, name: str) -> Any:
        (x,), (y,), (pixels, w) = (self.roles(role) for role in (Role.INPUT, Role.OUTPUT, Role.SCRATCH))
        stored, bias, *_ = self.roles(Role.CONSTANT)
        codes, words, convolve = self.codes, self.units * subbyte.UNIT, self.inner.convolution(self.codes.least)

        @T.prim_func(s_tir=True)
        def subbyte_depthwise(
            X: T.Buffer((x.size,), "int8"),
            C: T.Buffer(stored.shape, "int32"),
            B: T.Buffer((bias.size,), "int32"),
            M: T.Buffer((bias.size,), "int32"),
            S: T.Buffer((bias.size,), "int8"),
            Y: T.Buffer((y.size,), "int8"),
            P: T.Buffer((pixels.size,), "int32"),
            W: T.Buffer(w.shape, "int32"),
        ):
            T.func_attr({"global_symbol": name, "tirx.noalias": True})
            T.evaluate(call(f"codes_{codes.bits}", C.data, W.data, words, codes.stride, 0))
            convolve(X, W, B, M, S, Y, P)

        return subbyte_depthwise

    def example(self, rng: np.random.Generator) -> tuple[Array, ...]:
        """Some of all weights that the codes can hold."""
        plain = self.inner.plain
        x, w, *rescaling = plain.example(rng)
        levels = self.codes.values(np.arange(2**self.codes.bits, dtype=np.uint8), NO_TABLE)
        chosen = levels[rng.integers(0, len(levels), w.shape)]
        words, *others = depthwise_dsp.packed(self.inner, (chosen, *rescaling))
        return x, coded(words, self.codes), *others


def weights_of(inner: DepthwiseDsp) -> Operand:
    return inner.roles(Role.CONSTANT)[0]


def weight_bytes(words: Int32) -> Int8:
    """Packed weights as int8 [words, 4], zeros where the last unit has no words."""
    flat = words.reshape(-1)
    padded = np.pad(flat, (0, -len(flat) % subbyte.UNIT))
    return padded.astype("<i4").view(np.int8).reshape(-1, 4)


def coded(words: Int32, codes: SubbyteCodes) -> Int32:
    return subbyte.pack(codes.of(weight_bytes(words))[0], codes.bits)


def specialize(call: Call, target: Target) -> Special | str:
    """The rule: what the int8 kernel takes, with weights that are smaller as codes without a table."""
    found = depthwise_dsp.specialize(call, target)
    if not isinstance(found, Special):
        return found
    words, *others = found.constants
    if words.nbytes > MOST_BYTES:
        return f"{words.nbytes} bytes of decoded weights are more than scratch is meant to hold"
    codes = subbyte.codes_for(weight_bytes(words), call.occurring(call.constants[0]), tables=False)
    if isinstance(codes, str):
        return codes
    if codes.stride * (2**codes.bits - 1) > 127:
        return "the weights' codes, a stride apart, leave a byte"
    assert isinstance(found.kernel, DepthwiseDsp)
    return Special(SubbyteDepthwiseDsp(found.kernel, codes), (coded(words, codes), *others))


def cases() -> Iterable[SubbyteDepthwiseDsp]:
    """The int8 kernel's cases, each at another width, and codes that are no two's complement."""
    inner = [*depthwise_dsp.cases()]
    for index, kernel in enumerate(inner):
        bits = 1 + index % subbyte.MAX_BITS
        yield SubbyteDepthwiseDsp(kernel, SubbyteCodes(bits, least=-(2 ** (bits - 1))))
    yield SubbyteDepthwiseDsp(inner[0], SubbyteCodes(2, stride=9, least=-18))
    yield SubbyteDepthwiseDsp(inner[1], SubbyteCodes(3, stride=1, least=0))
