"""Conv on Helium with weights of fewer than eight bits, decoded into the vectors that `conv_mve` takes.

Some output channels at a time are decoded into scratch, sixteen weights an instruction, and all pixels pass over them
before the next ones are. Codes and planes: `backends/encodings/subbyte.py`, here of vectors in place of words.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from bevel.backends.cortex_m.decoding import Decoding
from bevel.backends.cortex_m.mve import conv_mve
from bevel.backends.cortex_m.mve.conv_mve import ConvMve
from bevel.backends.encodings import subbyte
from bevel.backends.encodings.helium import LANES, WORDS
from bevel.backends.encodings.subbyte import SubbyteCodes
from bevel.backends.program.kernel import WIDER, Special
from bevel.backends.program.op import Array, Operand, constant, scratch
from bevel.backends.program.ops.conv import Conv
from bevel.backends.program.ops.gemm import Gemm
from bevel.backends.program.program import Call
from bevel.backends.program.rates import Rates
from bevel.backends.program.shapes import blocks_of
from bevel.backends.target import Target
from bevel.backends.tir.lazy import T, tirx
from bevel.backends.tir.loops import without
from bevel.calib.arithmetic.requantize import Int8

GROUP_BYTES = 16384  # what decoded weights are allowed to take,
POINTWISE_BYTES = 4096  # or so much where no windows are built again for each group
PAIR = 2 * WORDS  # channels whose vectors, eight for each sixteen taps, are stored together


@dataclass(frozen=True)
class SubbyteConvMve(Decoding):
    """stored: uint8 [pairs of tiles, bytes]."""

    rates: ClassVar[Rates] = Rates(byte=0.76, call=87, code=670)  # of decoding

    inner: ConvMve

    @property
    def pairs(self) -> int:
        """Of tiles of four channels."""
        return blocks_of(self.inner.plain.channels_out, PAIR)

    @property
    def group(self) -> int:
        """Pairs that are decoded at a time, as even a share of all as there is."""
        allowed = POINTWISE_BYTES if self.inner.pointwise else GROUP_BYTES
        most = max(1, allowed // (PAIR * LANES * self.inner.blocks))
        return blocks_of(self.pairs, blocks_of(self.pairs, most))

    def operands(self) -> tuple[Operand, ...]:
        x, w, *others = self.inner.operands()
        return (
            x,
            constant("stored", (self.pairs, self.inner.blocks * LANES * self.codes.bits), "uint8"),
            *self.table,
            *others,
            scratch("decoded", (2 * self.group, *w.shape[1:]), "int8"),
        )

    @property
    def header(self) -> str:
        return "bevel_subbyte_mve.h"

    def reference(self, *arrays: Array) -> Array:
        x, stored, *others = arrays
        table, rescaling = self.from_table_on(others)
        shape = self.inner.operands()[1].shape
        values = self.codes.values(from_planes(stored, self.codes.bits), table)
        return self.inner.reference(x, values.reshape(-1, *shape[1:])[: shape[0]], *rescaling)

    def build(self, name: str) -> Any:
        x, _, rescaling, y, *_ = self.inner.operands()
        channels, codes, group, vectors = (
            self.inner.plain.channels_out,
            self.codes,
            self.group,
            PAIR * self.inner.blocks,
        )
        pairs, pixels, stored_bytes = self.pairs, y.size // channels, self.inner.blocks * LANES * codes.bits
        decoded, windows, even = self.operands()[-1].shape, self.inner.windows, channels % (group * PAIR) == 0
        steps = blocks_of(pairs, group)

        def count(lead: Any) -> Any:
            return group * PAIR if even else T.min(group * PAIR, channels - lead)

        def decode(stored: Any, w: Any, table: Any, step: Any) -> Any:
            many = group if pairs % group == 0 else T.min(group, pairs - step * group)
            return decoding(codes, T.address_of(stored[step * group, 0]), w.data, many * vectors, table.data)

        convolve = self.inner.convolution(count)

        @T.prim_func(s_tir=True)
        def subbyte_conv(
            X: T.Buffer(x.shape, "int8"),
            Q: T.Buffer((pairs, stored_bytes), "uint8"),
            L: T.Buffer((codes.table_bytes,), "int8"),
            R: T.Buffer(rescaling.shape, "int32"),
            Y: T.Buffer((pixels, channels), "int8"),
            C: T.Buffer(windows, "int8"),
            W: T.Buffer(decoded, "int8"),
        ):
            T.func_attr({"global_symbol": name, "tirx.noalias": True})
            for step in T.serial(steps):
                T.evaluate(decode(Q, W, L, step))
                convolve(X, W, R, Y, C, step * group * PAIR)

        left_out = {"L": not codes.tabled, "C": self.inner.pointwise}
        return without(subbyte_conv, [buffer for buffer, left in left_out.items() if left])

    def example(self, rng: np.random.Generator) -> tuple[Array, ...]:
        """Some of all weights that the codes can hold, zeros where there are none."""
        x, w, *rescaling = self.inner.example(rng)
        levels = subbyte.sample_levels(self.codes)
        chosen = np.where(w == 0, 0, levels[rng.integers(0, len(levels), w.shape)]).astype(np.int8)
        return x, *coded(chosen, self.codes), *rescaling


def decoding(codes: SubbyteCodes, stored: Any, w: Any, vectors: Any, table: Any) -> Any:
    """TIR that decodes so many vectors; `table` is used where the codes have one."""
    if codes.tabled:
        return tirx.call_extern("void", f"bevel_mve_looked_up_{codes.bits}", stored, w, vectors, table)
    return tirx.call_extern("void", f"bevel_mve_weights_{codes.bits}", stored, w, vectors, codes.stride, codes.least)


def coded(w: Int8, codes: SubbyteCodes) -> tuple[Array, ...]:
    """Packed weights [tiles, blocks, 4, 16] as codes, and the table where there is one."""
    paired = np.pad(w, ((0, len(w) % 2), *((0, 0),) * 3))
    found, table = codes.of(paired.reshape(-1, PAIR * w.shape[1], LANES))
    stored = in_planes(found, codes.bits)
    return (stored, table) if codes.tabled else (stored,)


def in_planes(codes: Array, bits: int) -> Array:
    """uint8 [pairs, vectors, 16] as uint8 [pairs, vectors / 8 * bits * 16]."""
    pairs, vectors, _ = codes.shape
    by_word = codes.reshape(pairs, vectors, 4, 4).transpose(0, 2, 1, 3)
    words = subbyte.pack(by_word, bits).transpose(0, 2, 1)
    return np.ascontiguousarray(words, "<i4").view(np.uint8).reshape(pairs, -1)


def from_planes(stored: Array, bits: int) -> Array:
    """`in_planes` undone."""
    words = np.ascontiguousarray(stored).view("<i4").reshape(len(stored), -1, 4).transpose(0, 2, 1)
    by_word = subbyte.unpack(np.ascontiguousarray(words, np.int32), bits)
    return np.ascontiguousarray(by_word.transpose(0, 2, 1, 3)).reshape(len(stored), -1, LANES)


def specialize(call: Call, target: Target) -> Special | str:
    """The rule: what the int8 kernel takes, with weights that are smaller as codes; Gemm is a Conv of single pixels."""
    if isinstance(call.kernel, Gemm) and call.kernel.output.dtype != "int8":
        return WIDER
    found = conv_mve.specialize(as_conv(call), target)
    if not isinstance(found, Special):
        return found
    w, rescaling = found.constants
    codes = subbyte.codes_for(w, call.occurring(call.constants[0]))
    if isinstance(codes, str):
        return codes
    assert isinstance(found.kernel, ConvMve)
    return Special(SubbyteConvMve(found.kernel, codes), (*coded(w, codes), rescaling))


def as_conv(call: Call) -> Call:
    """A Gemm as the convolution of as many single pixels; other calls as they are."""
    gemm = call.kernel
    if not isinstance(gemm, Gemm):
        return call
    unit: dict[str, Any] = {"kernel": (1, 1), "strides": (1, 1), "dilations": (1, 1), "pads": (0, 0, 0, 0)}
    conv = Conv(1, gemm.rows, 1, gemm.k, gemm.n, **unit, groups=1, x_zero_point=0, output=gemm.output)
    w, *rescaling = call.constants
    return replace(call, kernel=conv, constants=(w.reshape(gemm.n, 1, 1, gemm.k), *rescaling))


def width_of_case(index: int) -> SubbyteCodes:
    """All widths in turn; every third with a table."""
    bits = 1 + index % subbyte.MAX_BITS
    return SubbyteCodes(bits, tabled=True) if index % 3 == 2 else SubbyteCodes(bits, least=-(2 ** (bits - 1)))


def cases() -> Iterable[SubbyteConvMve]:
    """The int8 kernel's cases, each at another width; every third with a table; and several groups."""
    inner = [*conv_mve.cases()]
    yield from (SubbyteConvMve(kernel, width_of_case(index)) for index, kernel in enumerate(inner))
    wide = ConvMve(replace(inner[-1].plain, channels_in=240, channels_out=22), lifted=False)
    yield SubbyteConvMve(wide, SubbyteCodes(4, least=-8))
    yield SubbyteConvMve(wide, SubbyteCodes(3, tabled=True))
    yield SubbyteConvMve(wide, SubbyteCodes(2, stride=5, least=-10))
