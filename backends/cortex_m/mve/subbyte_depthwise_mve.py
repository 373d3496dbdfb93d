"""Depthwise Conv on Helium with weights of fewer than eight bits, decoded into scratch as the call begins."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import prod
from typing import Any, ClassVar

import numpy as np

from bevel.backends.cortex_m.decoding import Decoding
from bevel.backends.cortex_m.mve import depthwise_mve
from bevel.backends.cortex_m.mve.depthwise_mve import DepthwiseMve
from bevel.backends.cortex_m.mve.subbyte_conv_mve import decoding, from_planes, in_planes, width_of_case
from bevel.backends.encodings import subbyte
from bevel.backends.encodings.helium import LANES
from bevel.backends.encodings.subbyte import UNIT, SubbyteCodes
from bevel.backends.program.kernel import Special
from bevel.backends.program.op import Array, Operand, constant, scratch
from bevel.backends.program.program import Call
from bevel.backends.program.rates import Rates
from bevel.backends.program.shapes import blocks_of
from bevel.backends.target import Target
from bevel.backends.tir.lazy import T
from bevel.backends.tir.loops import without

MOST_BYTES = 16384  # decoded weights take no more scratch than that


@dataclass(frozen=True)
class SubbyteDepthwiseMve(Decoding):
    """stored: uint8 [bytes]."""

    rates: ClassVar[Rates] = Rates(byte=0.5, call=110, code=640)  # of decoding

    inner: DepthwiseMve

    @property
    def vectors(self) -> int:
        """Of sixteen weights."""
        return blocks_of(self.inner.operands()[1].size, LANES * UNIT) * UNIT

    def operands(self) -> tuple[Operand, ...]:
        x, w, *others = self.inner.operands()
        channels = blocks_of(self.vectors * LANES, prod(w.shape[1:]))
        return (
            x,
            constant("stored", (self.vectors // UNIT * self.codes.bits * LANES,), "uint8"),
            *self.table,
            *others,
            scratch("decoded", (channels, *w.shape[1:]), "int8"),
        )

    @property
    def header(self) -> str:
        return "bevel_subbyte_mve.h"

    def reference(self, *arrays: Array) -> Array:
        x, stored, *others = arrays
        table, rescaling = self.from_table_on(others)
        values = self.codes.values(from_planes(stored[np.newaxis], self.codes.bits), table).reshape(-1)
        w = self.inner.operands()[1]
        return self.inner.reference(x, values[: w.size].reshape(w.shape), *rescaling)

    def build(self, name: str) -> Any:
        x, _, bias, *_ = self.inner.operands()
        (*_, y, rows), decoded = self.inner.operands(), self.operands()[-1]
        codes, vectors, convolve = self.codes, self.vectors, self.inner.convolution()

        @T.prim_func(s_tir=True)
        def subbyte_depthwise(
            X: T.Buffer((x.size,), "int8"),
            Q: T.Buffer((vectors // UNIT * codes.bits * LANES,), "uint8"),
            V: T.Buffer((codes.table_bytes,), "int8"),
            B: T.Buffer(bias.shape, "int32"),
            M: T.Buffer(bias.shape, "int32"),
            S: T.Buffer(bias.shape, "int8"),
            L: T.Buffer((LANES,), "uint8"),
            Y: T.Buffer(y.shape, "int8"),
            I: T.Buffer(rows.shape, "int32"),  # noqa: E741
            W: T.Buffer(decoded.shape, "int8"),
        ):
            T.func_attr({"global_symbol": name, "tirx.noalias": True})
            T.evaluate(decoding(codes, Q.data, W.data, vectors, V.data))
            convolve(X, W, B, M, S, L, Y, I)

        return subbyte_depthwise if codes.tabled else without(subbyte_depthwise, ("V",))

    def example(self, rng: np.random.Generator) -> tuple[Array, ...]:
        """Some of all weights that the codes can hold."""
        x, w, *others = self.inner.example(rng)
        levels = subbyte.sample_levels(self.codes)
        chosen = levels[rng.integers(0, len(levels), w.shape)]
        return x, *coded(chosen, self.codes), *others


def in_vectors(w: Array) -> Array:
    """Weights as int8 [1, vectors, 16], the last vectors filled with the first weight."""
    flat = w.reshape(-1)
    filled = np.append(flat, np.full(-flat.size % (LANES * UNIT), flat[0], np.int8))
    return filled.reshape(1, -1, LANES)


def coded(w: Array, codes: SubbyteCodes) -> tuple[Array, ...]:
    """Weights as codes, and the table where there is one."""
    found, table = codes.of(in_vectors(w))
    stored = in_planes(found, codes.bits)[0]
    return (stored, table) if codes.tabled else (stored,)


def specialize(call: Call, target: Target) -> Special | str:
    """The rule: what the int8 kernel takes, with weights that are smaller as codes."""
    found = depthwise_mve.specialize(call, target)
    if not isinstance(found, Special):
        return found
    w, *others = found.constants
    if w.nbytes > MOST_BYTES:
        return f"{w.nbytes} bytes of decoded weights are more than scratch is meant to hold"
    codes = subbyte.codes_for(in_vectors(w), call.occurring(call.constants[0]))
    if isinstance(codes, str):
        return codes
    assert isinstance(found.kernel, DepthwiseMve)
    return Special(SubbyteDepthwiseMve(found.kernel, codes), (*coded(w, codes), *others))


def cases() -> Iterable[SubbyteDepthwiseMve]:
    """The int8 kernel's cases, each at another width, every third with a table."""
    yield from (SubbyteDepthwiseMve(kernel, width_of_case(index)) for index, kernel in enumerate(depthwise_mve.cases()))
