"""Matrix product of float32 by weights of 1 to 8 bits, which are decoded where they are multiplied (W4A16 and alike).

    y[i, j] = bias[j] + sum over groups g of scale[g, j] * sum over k in g of x[i, k] * (code[k, j] - zero[g, j])

Both sums go up, one term after the other, from 0, and each term is added by one fused multiplication and addition
(`bevel.calib.arithmetic.fused`); the bias is added last. That says every bit of y: whoever computes outputs side by
side computes the same. A group's scale multiplies its sum and not its weights, so that a weight takes one operation.

Named for onnxruntime's operator. Source: Frantar et al. 2023, "GPTQ: Accurate Post-Training Quantization for
Generative Pre-trained Transformers", section 4 (a product that decodes its weights); Lin et al. 2024, "AWQ:
Activation-aware Weight Quantization for LLM Compression and Acceleration", section 4 (weights packed in the order in
which vectors decode them).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from bevel.backends.encodings.planes import LANES, blocks_of, by_lanes, from_lanes, pack_planes, units_of, unpack_planes
from bevel.backends.program.op import Array, Op, Operand, activation, constant, output
from bevel.calib.arithmetic.fused import fused


@dataclass(frozen=True)
class MatMulNBits(Op):
    """x: float32 [rows, k]; y: float32 [rows, n]. Codes lie as `bevel.backends.encodings.planes` says, from 0 on.

    group: inputs that share a scale, the last may be fewer. zero: the code that is 0 everywhere; None: each group and
    output has its own, an operand. Raises ValueError for codes wider than 8 bits.
    """

    rows: int
    k: int
    n: int
    bits: int
    group: int
    zero: int | None
    bias: bool = False

    def __post_init__(self) -> None:
        if not 1 <= self.bits <= 8 or not 1 <= self.group <= self.k:
            raise ValueError(f"codes have 1 to 8 bits, not {self.bits}, and groups 1 to {self.k}, not {self.group}")

    @property
    def groups(self) -> int:
        return -(-self.k // self.group)

    def operands(self) -> tuple[Operand, ...]:
        blocks = blocks_of(self.n)
        of_groups = (blocks, self.groups, LANES)
        return (
            activation("x", (self.rows, self.k), "float32"),
            constant("w", (blocks, units_of(self.k), self.bits, LANES), "int32"),
            constant("scale", of_groups, "float32"),
            *((constant("zeros", of_groups, "uint8"),) if self.zero is None else ()),
            *((constant("bias", (self.n,), "float32"),) if self.bias else ()),
            output("y", (self.rows, self.n), "float32"),
        )

    @property
    def stock(self) -> bool:
        """onnxruntime sums in an order of its own."""
        return False

    @property
    def macs(self) -> int:
        return self.rows * self.k * self.n

    @property
    def besides(self) -> int:
        """Codes that are decoded."""
        return self.k * self.n

    def packed(self, codes: Array, scale: Array, zeros: Array | None, bias: Array | None) -> tuple[Array, ...]:
        """The constants: codes [k, n] from 0 on, scale and zeros [groups, n], bias [n]."""
        return (
            pack_planes(codes, self.bits),
            by_lanes(scale.astype(np.float32)),
            *((by_lanes(zeros.astype(np.uint8)),) if self.zero is None and zeros is not None else ()),
            *((bias.astype(np.float32),) if self.bias and bias is not None else ()),
        )

    def reference(self, *arrays: Array) -> Array:
        x, w, scale, *rest = arrays
        codes, steps = unpack_planes(w, self.k, self.n), from_lanes(scale, self.n)
        zeros = from_lanes(rest.pop(0), self.n) if self.zero is None else np.full_like(steps, self.zero)
        total = np.zeros((self.rows, self.n), np.float32)
        for group in range(self.groups):
            part = np.zeros_like(total)
            for k in range(group * self.group, min((group + 1) * self.group, self.k)):
                weight = (codes[k] - zeros[group].astype(np.int32)).astype(np.float32)
                part = fused(x[:, k : k + 1], weight[np.newaxis], part)
            total = fused(part, steps[group][np.newaxis], total)
        return total + rest[0] if self.bias else total

    def example(self, rng: np.random.Generator) -> tuple[Array, ...]:
        """Values of all sizes among normal ones, zeros of both signs; all codes."""
        x = rng.standard_normal((self.rows, self.k)) * 2.0 ** rng.integers(-20, 20, (self.rows, self.k))
        x[rng.random(x.shape) < 0.1] = rng.choice([0.0, -0.0])
        codes = rng.integers(0, 2**self.bits, (self.k, self.n))
        scale = np.ldexp(rng.random((self.groups, self.n)) + 0.5, rng.integers(-12, 3, (self.groups, self.n)))
        zeros, bias = rng.integers(0, 2**self.bits, scale.shape), rng.standard_normal(self.n)
        return x.astype(np.float32), *self.packed(codes, scale, zeros, bias)


def cases() -> Iterable[MatMulNBits]:
    yield MatMulNBits(1, 64, 16, 4, 32, 8)
    yield MatMulNBits(3, 70, 21, 4, 32, None, bias=True)
    yield MatMulNBits(2, 33, 5, 3, 33, 4, bias=True)
    yield MatMulNBits(5, 96, 40, 2, 16, 2)
    yield MatMulNBits(2, 50, 17, 1, 20, 1)
    for bits in (5, 6, 7, 8):
        yield MatMulNBits(2, 40, 9, bits, 32, None if bits % 2 else 2 ** (bits - 1))
