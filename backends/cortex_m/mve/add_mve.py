"""Add and Sub of tensors of one shape on Helium: eight elements at a time, as two vectors of words.

Bytes are widened as they are loaded and narrowed in pairs of vectors as they are stored, so that eight elements take
about twenty instructions. What is left at the end is done one by one.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar

from bevel.backends.program.kernel import WIDER, Special, Unpacked
from bevel.backends.program.ops import add
from bevel.backends.program.ops.add import Add
from bevel.backends.program.program import Call
from bevel.backends.program.rates import Rates
from bevel.backends.target import Target
from bevel.backends.tir import arithmetic as tir
from bevel.backends.tir.lazy import T, tirx
from bevel.calib.arithmetic.requantize import Output

BLOCK = 8  # elements


@dataclass(frozen=True)
class AddMve(Unpacked):
    """`plain` with its operands; nothing broadcasts."""

    rates: ClassVar[Rates] = Rates(input=1.62, call=16, code=130)

    plain: Add

    @property
    def header(self) -> str:
        return "bevel_mve.h"

    def build(self, name: str) -> Any:
        plain, output, size = self.plain, self.plain.output, self.plain.operands()[0].size
        a_multiplier, b_multiplier, offset, shift = plain.a_multiplier, plain.b_multiplier, plain.offset, plain.shift
        whole = size // BLOCK * BLOCK
        scaling = (a_multiplier, b_multiplier, offset, shift, output.zero_point, output.low, output.high)

        @T.prim_func(s_tir=True)
        def add_mve(A: T.Buffer((size,), "int8"), B: T.Buffer((size,), "int8"), Y: T.Buffer((size,), "int8")):
            T.func_attr({"global_symbol": name, "tirx.noalias": True})
            places = T.meta_var((tirx.address_of(Y[0]), tirx.address_of(A[0]), tirx.address_of(B[0])))
            T.evaluate(tirx.call_extern("int32", "bevel_mve_add", *places, whole, *scaling))
            for i in T.serial(size - whole):
                a = T.meta_var(T.cast(A[whole + i], "int32"))
                b = T.meta_var(T.cast(B[whole + i], "int32"))
                Y[whole + i] = tir.store((a * a_multiplier + b * b_multiplier + offset) >> shift, output)

        return add_mve


def specialize(call: Call, target: Target) -> Special | str:
    plain = call.kernel
    if not isinstance(plain, Add):
        return "not an Add"
    if plain.sum_dtype != "int32":
        return WIDER
    if "mve" not in target.abilities:
        return f"{target.name} has no Helium"
    if not plain.a_shape == plain.b_shape == plain.shape:
        return f"{plain.a_shape} and {plain.b_shape} broadcast to {plain.shape}"
    return Special(AddMve(plain), call.constants)


def cases() -> Iterable[AddMve]:
    """What the plain kernel has without broadcasting, and every length of what is left at the end; bounds both ways."""
    for plain in add.cases():
        if plain.a_shape == plain.b_shape == plain.shape and plain.sum_dtype == "int32":
            yield AddMve(plain)
    for size in range(8, 25):
        shape = (1, size)
        bounds = Output(zero_point=size - 20, low=-100 - size, high=127 - size % 3)
        yield AddMve(Add(shape, shape, shape, 700_001, -523_456, 2**19 - 40 * size, 20, bounds))
