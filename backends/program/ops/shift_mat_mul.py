"""MatMul of shares that are powers of two and an activation: y = requantize(sum((b - b_zero_point) << (14 - c))).

c are the codes of `PowerSoftmax`, and what has code 15 has no part in the sum. Nothing is multiplied but the sum, when
it is rescaled.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from bevel.backends.program.op import Array, Op, Operand, activation
from bevel.backends.program.ops.mat_mul import MatMul, extent, heads, laid, product
from bevel.calib.arithmetic.power_softmax import LEAST, NONE, steps_of
from bevel.calib.arithmetic.requantize import Output

STEPS: dict[str, Any] = {"a_dtype": "int16", "a_zero_point": 0}


@dataclass(frozen=True)
class ShiftMatMul(Op):
    """As `product`, whose a are the shares in units of 2**-14, int16 with zero point 0; here a is int8, their codes 0
    .. 15. `counted` are terms. Raises ValueError for other products."""

    product: MatMul

    def __post_init__(self) -> None:
        made = self.product
        if (made.a_dtype, made.a_zero_point) != ("int16", 0) or made.packed or made.counted == "columns":
            raise ValueError(f"{made} is no product of shares in int16 and codes that lie a byte or two each")

    def operands(self) -> tuple[Operand, ...]:
        codes = activation("a", (extent(self.product.a_shape, self.product.a_strides),))
        return Operand(codes.name, codes.role, codes.shape, codes.dtype, (0, NONE)), *self.product.operands()[1:]

    @property
    def any_codes(self) -> bool:
        return self.product.any_codes

    @property
    def macs(self) -> int:
        return self.product.macs

    def reference(self, *arrays: Array) -> Array:
        return self.product.reference(steps_of(arrays[0]), *arrays[1:])

    def example(self, rng: np.random.Generator) -> tuple[Array, ...]:
        """Rows that sum up to no more than there is room for: the largest share first, then ever smaller ones."""
        made, (_, b, *kept) = self.product, self.product.example(rng)
        size = extent(made.a_shape, made.a_strides)
        a = rng.integers(0, NONE + 1, size, dtype=np.int8)
        if made.largest is not None:
            laid(a, made.a_shape, made.a_strides)[...] = np.minimum(np.arange(made.k), NONE)
        for one in kept:
            laid(a, made.a_shape, made.a_strides)[..., int(one[0]) :] = NONE
        return a, b, *kept


def shifted(*args: Any, **changes: Any) -> ShiftMatMul:
    """`bevel.backends.program.ops.mat_mul.product`, of shares."""
    return ShiftMatMul(product(*args, **(STEPS | changes)))


def cases() -> Iterable[ShiftMatMul]:
    """Heads side by side, transposed and broadcast operands, both widths of values, and sums of both."""
    int16 = Output(-300, -(2**15), 2**15 - 1, "int16")
    yield shifted((), 1, 1, 1, 2.0**-14)
    yield shifted((), 3, 17, 5, 2.0**-16, b_zero_point=127, output=Output(127))
    side: dict[str, Any] = {"b_strides": heads(9, 3, 8), "y_strides": heads(9, 3, 8), "b_zero_point": -3}
    yield shifted((3,), 9, 9, 8, 2.0**-15, **side)
    yield shifted((3,), 9, 9, 8, 2.0**-13, **side, output=int16)
    bounded = 255 * (4 * 2**LEAST // 3 + 200)
    yield shifted((), 3, 200, 5, 2.0**-15, b_zero_point=7, largest=bounded)
    yield shifted((2,), 3, 70, 5, 2.0**-20, b_dtype="int16", b_zero_point=11, b_strides=(0, 5, 1))
    yield shifted((2,), 3, 70, 5, 2.0**-14, b_dtype="int16", largest=2**30, output=int16)
    yield shifted((), 5, 33, 7, 2.0**-15, a_strides=(1, 5), b_strides=(1, 33), y_strides=(1, 5))
    yield shifted((3,), 1, 40, 8, 2.0**-15, **(side | {"b_strides": heads(40, 3, 8)}), counted="terms")
    yield shifted((2,), 3, 70, 5, 2.0**-14, b_dtype="int16", largest=2**30, output=int16, counted="terms")
