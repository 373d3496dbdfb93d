"""Which integers a buffer can hold: known from the kernels that write it, before anything runs.

A result is clamped to its `Output`, so that two bits of activations are four of int8's values, wherever they lie. What
only moves elements keeps their bounds: `Op.bounds` says what an operator does. Kernels that count bits want to know.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from bevel.backends.program.op import Bounds, Role, joined, of_type, of_values
from bevel.backends.program.program import Call, Program


def with_bounds(program: Program) -> Program:
    """`program` with every call's `input_bounds`."""
    known = {name: Held(str(array.dtype), of_values(array)) for name, array in program.constants.items()}
    known |= {name: Held(program.buffers[name].dtype, of_type(program.buffers[name].dtype)) for name in program.carried}
    known |= {port.buffer: Held(port.dtype, of_type(port.dtype)) for port in program.inputs}
    for call in program.entries:
        known |= written(call, (None,))
    calls = []
    for call in program.calls:
        inputs = tuple(
            known.get(name, NOTHING).read_as(operand.dtype)
            for name, operand in zip(call.inputs, call.kernel.roles(Role.INPUT), strict=True)
        )
        calls.append(replace(call, input_bounds=inputs))
        for name, result in written(call, inputs).items():
            known[name] = known[name].or_else(result) if name in known else result
    return replace(program, calls=tuple(calls))


class Held(NamedTuple):
    """What a buffer holds. `bounds` is None where nothing is known, as of floats."""

    dtype: str
    bounds: Bounds | None

    def read_as(self, dtype: str) -> Bounds | None:
        return self.bounds if dtype == self.dtype else of_type(dtype)

    def or_else(self, other: Held) -> Held:
        if self.dtype != other.dtype or self.bounds is None or other.bounds is None:
            return Held(other.dtype, of_type(other.dtype))
        return Held(self.dtype, joined((self.bounds, other.bounds)))


NOTHING = Held("", None)


def written(call: Call, inputs: Sequence[Bounds | None]) -> dict[str, Held]:
    """What each output holds; of others than the first, its operand knows."""
    first, *others = call.kernel.roles(Role.OUTPUT)
    found = {call.output: Held(first.dtype, call.kernel.bounds(inputs, call.constants))}
    return found | {name: Held(one.dtype, one.known) for name, one in zip(call.more, others, strict=True)}
