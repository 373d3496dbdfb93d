"""Conv and Gemm of int16 inputs and int8 weights for RISC-V with vectors: the loops of `products_rvv`.

They come as `CodedConv`, whose sums may take 64 bits; where the weights at hand keep them within 32, words hold them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import islice
from typing import ClassVar

import numpy as np

from bevel.backends.cpu.riscv.packed import lifts, too_wide
from bevel.backends.cpu.riscv.products_rvv import ProductsRvv
from bevel.backends.cpu.riscv.rvv import not_here
from bevel.backends.program import examples
from bevel.backends.program.kernel import Special
from bevel.backends.program.op import Array, Operand
from bevel.backends.program.ops.coded_conv import CodedConv, of_gemm
from bevel.backends.program.ops.conv import Conv
from bevel.backends.program.program import Call
from bevel.backends.program.rates import Rates
from bevel.backends.program.resources import Resource
from bevel.backends.target import Target
from bevel.backends.vectors.dense import plain_cases
from bevel.backends.vectors.words import reach_of
from bevel.calib.arithmetic.requantize import UPPER_WORD, Output, fixed_points, requantize

LARGEST = 2**15  # of an input
TAPS = 500  # of a case, so that its sums are within 32 bits
INT16 = Output(-9, -(2**15), 2**15 - 1, "int16")


@dataclass(frozen=True)
class WideProductsRvv(ProductsRvv):
    """x: int16; otherwise the operands of `ProductsRvv`."""

    # Estimates, beside those of the plain loops: by the instructions of both.
    rates: ClassVar[Rates] = Rates(mac=8e-12, output=9e-10, call=4e-8, code=2500, unit=Resource.LATENCY)

    plain: Conv

    @property
    def copied(self) -> bool:
        return self.windows.image.padded

    def operands(self) -> tuple[Operand, ...]:
        x, *others = super().operands()
        return replace(x, dtype="int16"), *others

    def reference(self, *arrays: Array) -> Array:
        x, *constants = arrays
        w, bias, multiplier, shift = self.unpacked(*constants)
        return requantize(self.plain.sums(x, w) + bias, multiplier, shift, self.plain.output)

    def example(self, rng: np.random.Generator) -> tuple[Array, ...]:
        x, w = (
            examples.random_values(rng, operand.shape, dtype)
            for operand, dtype in zip(self.plain.operands()[:2], ("int16", "int8"), strict=True)
        )
        deviation = np.maximum(np.abs(self.plain.sums(x, w).reshape(-1, self.channels)).mean(axis=0), 8)
        bias = rng.integers(-deviation // 4, deviation // 4, dtype=np.int64).astype(np.int32)
        width = self.plain.output.high - self.plain.output.low
        multiplier, shift = fixed_points(rng.uniform(0.1, 0.4, self.channels) * width / deviation)
        return x, *self.packed(w, bias, multiplier, np.maximum(shift, UPPER_WORD).astype(np.int8))


def specialize(call: Call, target: Target) -> Special | str:
    coded = call.kernel
    if not isinstance(coded, CodedConv) or coded.x_dtype != "int16":
        return "no Conv or Gemm of int16"
    if coded.plain.groups != 1:
        return f"{coded.plain.groups} groups"
    *codes, bias, multiplier, shift = call.constants
    w, limits = coded.weights(*codes), np.iinfo(np.int8)
    if w.min() < limits.min or w.max() > limits.max:
        return "weights wider than int8"
    if why := not_here(target) or too_wide(reach_of(w, LARGEST, bias), shift):
        return why
    kernel = WideProductsRvv(coded.plain, lifts(shift))
    return Special(kernel, kernel.packed(w.astype(np.int8), bias.astype(np.int32), multiplier, shift))


def cases() -> Iterable[WideProductsRvv]:
    """Every third of what narrower ones have, of few taps, with results of both types."""
    for index, plain in enumerate(islice(plain_cases(), 0, None, 3)):
        conv = plain if isinstance(plain, Conv) else of_gemm(plain.rows, plain.k, plain.n, plain.output)
        if conv.taps < TAPS:
            zero_point = 2**8 * conv.x_zero_point
            output = INT16 if index % 2 and not conv.output.power else replace(conv.output, power=False)
            yield WideProductsRvv(replace(conv, x_zero_point=zero_point, output=output))
