"""What kernels for x86 share whose products are of uint8 by int8, in quads: operands, loops by level, the way back."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from bevel.backends.cpu.x86 import doubles, floats
from bevel.backends.cpu.x86.outputs import BlockByBlock, InFloats, Results
from bevel.backends.cpu.x86.vectors import AVX2, PRODUCTS, ByteProducts, requantized, rescaling_at
from bevel.backends.encodings.quads import (
    BLOCK,
    FLIP,
    FLOAT_ROWS,
    ROWS,
    folds,
    pack_bias,
    pack_floats,
    pack_rescaling,
    unpack_bias,
    unpack_floats,
    unpack_rescaling,
)
from bevel.backends.program.kernel import LeveledKernel
from bevel.backends.program.op import Array, Operand, constant
from bevel.backends.program.ops.coded_conv import CodedConv
from bevel.backends.program.program import Call
from bevel.backends.target import Target
from bevel.backends.tir.functions import prim_func
from bevel.backends.vectors.packed import Packed
from bevel.backends.vectors.words import LEAVES_WORDS, leaves_words, reach_of
from bevel.calib.arithmetic.requantize import Int8, Int32, Int64, Output

SUM_LIMIT = 2**31
FOLDED_SHIFTS = (32, 45)  # of examples
FLOAT_SHIFTS = (30, 42)  # of examples in floats


@dataclass(frozen=True)
class PackedX86(Packed, LeveledKernel):
    """Operands are x, w, bias, rescaling, y, then scratch. folded: how rescaling is packed
    (`bevel.backends.encodings.quads`); in_doubles: whether doubles can rescale (`doubles.never_on_a_half`); in_floats:
    whether `floats` do, at every level."""

    folded: bool = False
    in_doubles: bool = False
    in_floats: bool = False

    @property
    def fold(self) -> int | None:
        """What `quads.pack_rescaling` folds."""
        return self.plain.output.zero_point if self.folded else None

    @property
    def levels(self) -> tuple[str, ...]:
        return tuple(PRODUCTS)

    def rescaling(self, blocks: int) -> Operand:
        if self.in_floats:
            return constant("rescaling", (blocks, FLOAT_ROWS, BLOCK), "int32")
        return constant("rescaling", (blocks, ROWS, BLOCK // 2), "int64")

    def pack_outputs(self, constants: tuple[Array, ...], blocks: int) -> tuple[Array, Array]:
        """Bias and rescaling, of the constants of `plain` for each output."""
        w, bias, multiplier, shift = constants
        if not self.in_floats:
            return pack_bias(bias, sums_of(w), blocks), pack_rescaling(multiplier, shift, blocks, self.fold)
        found = floats_of(constants, self.plain.output)
        assert found.exact.all()
        rows = pack_floats(bias, multiplier, shift, (found.scale, found.added), blocks)
        return pack_bias(found.start, sums_of(w), blocks), rows

    def unpack_outputs(self, w: Int8, bias: Int32, rescaling: Array) -> tuple[Int32, Int32, Int8]:
        """The way back."""
        if not self.in_floats:
            return unpack_bias(bias, sums_of(w)), *unpack_rescaling(rescaling, len(w), self.folded)
        return unpack_floats(rescaling, len(w))

    def finish(self, rescaling: Any, words: int = BLOCK) -> Results:
        """For vectors of so many words: those of AVX-512 shift 64 bits at once."""
        if self.in_floats:
            return InFloats(rescaling, self.plain.output, words)

        def in_doubles(sums: Any, block: Any) -> Any:
            return doubles.requantized(sums, rescaling, block, self.plain.output)

        def in_words(sums: Any, block: Any) -> Any:
            return requantized(sums, rescaling_at(rescaling, block), self.plain.output, self.folded)

        return BlockByBlock(in_doubles if self.in_doubles and words < BLOCK else in_words)

    @abstractmethod
    def loops(self, isa: ByteProducts, buffers: tuple[Any, ...]) -> None:
        """TIR of all outputs; one buffer of one axis for each operand."""

    def build(self, name: str) -> Any:
        return prim_func(name, self.operands(), partial(self.loops, AVX2))

    def build_at(self, name: str, level: str) -> Any:
        return prim_func(name, self.operands(), partial(self.loops, PRODUCTS[level]))

    def example(self, rng: np.random.Generator) -> tuple[Array, ...]:
        x, w, bias, multiplier, shift = self.plain.example(rng)
        by = np.clip(shift, *FOLDED_SHIFTS) if self.folded else shift
        if self.in_floats:
            by = np.clip(shift, *FLOAT_SHIFTS)
            multiplier = multiplier * floats_of((w, bias, multiplier, by), self.plain.output).exact
        return x, *self.packed(w, bias, multiplier, by)


def sums_of(w: Int8) -> Int64:
    """Of the weights of each output."""
    sums: Int64 = w.reshape(len(w), -1).sum(axis=1, dtype=np.int64)
    return sums


def not_here(target: Target) -> str | None:
    """Why no kernel of this room runs on `target`, if none does."""
    here = target.architecture == "x86_64" and "avx2" in target.abilities
    return None if here else f"{target.name} is no x86-64 with AVX2"


def uncoded(call: Call) -> Call | str:
    """`call` of a `CodedConv` of int8 with its weights as int8, or why it has no such form; any other as it is."""
    coded = call.kernel
    if not isinstance(coded, CodedConv):
        return call
    if coded.x_dtype != "int8":
        return f"activations of {coded.x_dtype}"
    *codes, bias, multiplier, shift = call.constants
    w = coded.weights(*codes)
    if why := beyond_words(w, FLIP, bias, multiplier, shift):
        return why
    return replace(call, kernel=coded.plain, constants=(w.astype(np.int8), bias.astype(np.int32), multiplier, shift))


def beyond_words(w: Array, largest: int, bias: Array, multiplier: Array, shift: Array) -> str | None:
    """Why int8 weights and sums of 32 bits are not enough for inputs up to `largest`, if they are not."""
    limits = np.iinfo(np.int8)
    if w.min() < limits.min or w.max() > limits.max:
        return "weights wider than int8"
    reach = reach_of(w, largest, bias)
    if (reach >= SUM_LIMIT).any():
        return "its sums take 64 bits"
    return LEAVES_WORDS if shift.min() < 1 else leaves_words(reach, multiplier, shift)


def folding(constants: Sequence[Array], output: Output, largest: int = FLIP) -> tuple[bool, bool]:
    """Whether the rescaling of a Conv or a Gemm may be folded, and whether it may be in doubles; of inputs up to
    `largest`."""
    w, bias, multiplier, shift = constants
    reach = reach_of(w, largest, bias)
    return folds(multiplier, shift, output), doubles.never_on_a_half(reach, multiplier, shift, output)


def in_floats(constants: Sequence[Array], output: Output) -> bool:
    """Whether the rescaling of a Conv or a Gemm may be in floats."""
    return output.dtype == "int8" and bool(floats_of(constants, output).exact.all())


def floats_of(constants: Sequence[Array], output: Output) -> floats.Floats:
    w, bias, multiplier, shift = constants
    return floats.found(bias, reach_of(w, FLIP, np.zeros_like(bias)), multiplier, shift, output)


def refused(call: Call, target: Target) -> str | None:
    """Why no such kernel can stand for a Conv or a Gemm, if none can."""
    if elsewhere := not_here(target):
        return elsewhere
    w, bias, multiplier, shift = call.constants
    return leaves_words(reach_of(w, FLIP, bias), multiplier, shift)
