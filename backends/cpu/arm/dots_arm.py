"""Conv and Gemm for 64-bit Arm: dot products of four bytes of a window by four weights of each of 16 channels."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from bevel.backends.cpu.arm.loops import NeonLoops
from bevel.backends.cpu.arm.neon import LOWEST
from bevel.backends.cpu.arm.packed import PackedArm, refused
from bevel.backends.encodings.quads import BLOCK, QUAD, pack_weights, unpack_weights
from bevel.backends.program.kernel import Special
from bevel.backends.program.op import Array, Operand, constant
from bevel.backends.program.program import Call
from bevel.backends.program.rates import Rates
from bevel.backends.program.resources import Resource
from bevel.backends.target import Target
from bevel.backends.vectors import windows
from bevel.backends.vectors.dense import dense_of, plain_cases
from bevel.backends.vectors.packed import of_type
from bevel.backends.vectors.windows import Buffers, Windows
from bevel.calib.arithmetic.requantize import Int8, Int32


@dataclass(frozen=True)
class DotsArm(PackedArm):
    """w: int8 [blocks, quads, 1, 16, 4]. fused: by SDOT."""

    # Estimates: two SDOT a cycle at 2.4 GHz.
    rates: ClassVar[Rates] = Rates(mac=1.6e-11, output=6e-10, call=4e-8, code=2500, unit=Resource.LATENCY)

    fused: bool

    @cached_property
    def windows(self) -> Windows:
        return of_type(windows.of(self.plain), "int8")

    @property
    def slack(self) -> int:
        return self.windows.slack

    def operands(self) -> tuple[Operand, ...]:
        (x, *_, y), where = self.plain.operands(), self.windows
        w = constant("w", (self.blocks, where.segments * where.quads, 1, BLOCK, QUAD), "int8")
        return x, w, *self.blocked, y, *self.image

    def packed(self, w: Int8, bias: Int32, multiplier: Int32, shift: Int8) -> tuple[Array, ...]:
        where = self.windows
        flat = w.reshape(self.channels, where.segments, where.size)
        return pack_weights(flat, 1, where.quads), *self.in_blocks(bias, multiplier, shift)

    def unpacked(self, *constants: Array) -> tuple[Array, ...]:
        packed, *others = constants
        w = unpack_weights(packed, self.channels, self.windows.segments, self.windows.size)
        return w.reshape(self.plain.operands()[1].shape), *self.from_blocks(others)

    def loops(self, at: tuple[Any, ...]) -> None:
        NeonLoops(self, self.windows, self.fused, Buffers(*at)).build()

    def example(self, rng: np.random.Generator) -> tuple[Array, ...]:
        x, w, *others = self.plain.example(rng)
        return x, *self.packed(w if self.fused else np.maximum(w, LOWEST + 1), *others)


def specialize(call: Call, target: Target) -> Special | str:
    plain = dense_of(call.kernel)
    if isinstance(plain, str):
        return plain
    if why := refused(plain, call, target):
        return why
    kernel = DotsArm(plain, "dotprod" in target.abilities)
    if not kernel.fused and (call.constants[0] == LOWEST).any():
        return f"a weight of {LOWEST}, where {target.name} has no dot products"
    return Special(kernel, kernel.packed(*call.constants))


def cases() -> Iterable[DotsArm]:
    for plain in plain_cases():
        yield DotsArm(plain, fused=True)
        yield DotsArm(plain, fused=False)
