"""Float inputs and outputs of a microcontroller, converted between the application's memory and the arena.

A QuantizeLinear that alone reads a graph input may run before everything else, and a DequantizeLinear whose result
leaves the graph after everything else. The arena then holds integers only, a quarter of the bytes:

    <model>_set_input_<name>(arena, values)     the entries: float from the application's memory, integers to the arena
    <model>_run(arena)                          the calls
    <model>_get_output_<name>(arena, values)    the exits: integers from the arena, float to the application's memory

Every element is computed by the kernel that computed it before, so results are the same bit for bit. An exit is cut
into parts, so that who compares or prints a large output needs no room for all of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from math import prod

from bevel.backends.program.op import Role
from bevel.backends.program.ops.dequantize import Dequantize
from bevel.backends.program.ops.quantize import Quantize
from bevel.backends.program.ops.quantize_fixed import QuantizeFixed
from bevel.backends.program.ops.quantize_float import QuantizeFloat
from bevel.backends.program.ops.transpose import Transpose
from bevel.backends.program.program import Buffer, Call, Port, Program
from bevel.backends.target import Target

QUANTIZERS = (Quantize, QuantizeFixed, QuantizeFloat)
PART = 64  # elements of an output that are converted at once


def split_conversions(program: Program, target: Target) -> Program:
    """`program` as `target` runs it: float ports of a microcontroller, and of a GPU, are converted outside the arena,
    those of a CPU in it."""
    if not target.converts_outside:
        return inside(program)
    return program if program.entries or program.exits else outside(program)


def inside(program: Program) -> Program:
    """`program` with its conversions among its calls."""
    return replace(program, calls=(*program.entries, *program.calls, *program.exits), entries=(), exits=())


def outside(program: Program) -> Program:
    """`program` with the conversions of its ports apart from its calls, where that is possible.

    A program of nothing else is left as it is: there would be nothing to run.
    """
    moved = program
    for port in program.outputs:
        moved = moved_before(moved, port)
    entries = [call for port in program.inputs for call in entries_of(moved, port)]
    exits = [call for port in program.outputs for call in exits_of(moved, port)]
    apart = {id(call) for call in (*entries, *exits)}
    calls = tuple(call for call in moved.calls if id(call) not in apart)
    if not calls:
        return program
    parts = [part for call in exits for part in in_parts(call)]
    return replace(moved, calls=calls, entries=tuple(entries), exits=tuple(parts))


def entries_of(program: Program, port: Port) -> list[Call]:
    """The quantizers of a float input; none where something else reads it too."""
    found = readers(program, port.buffer)
    leaves = any(one.buffer == port.buffer for one in program.outputs)
    if port.dtype != "float32" or leaves or not all(quantizes(program, call) for call in found):
        return []
    return found


def quantizes(program: Program, call: Call) -> bool:
    """Whether a call quantizes all of its input into a buffer that nothing else writes."""
    alone = len(writers(program, call.output)) == 1
    return isinstance(call.kernel, QUANTIZERS) and call.input_starts == (0,) and call.output_start == 0 and alone


def exits_of(program: Program, port: Port) -> list[Call]:
    """The dequantizers that write a float output, from its first element to its last; none where it is read again,
    made otherwise, or comes from an array in flash."""
    found = sorted(writers(program, port.buffer), key=lambda call: call.output_start)
    ends = [call.writes()[0].end for call in found]
    if (
        port.dtype != "float32"
        or readers(program, port.buffer)
        or not all(isinstance(call.kernel, Dequantize) and call.inputs[0] not in program.constants for call in found)
        or [call.output_start for call in found] != [0, *ends[:-1]]
        or sum(one.buffer == port.buffer for one in (*program.inputs, *program.outputs)) != 1
    ):
        return []
    return found


def readers(program: Program, buffer: str) -> list[Call]:
    return [call for call in program.calls if buffer in call.inputs]


def writers(program: Program, buffer: str) -> list[Call]:
    return [call for call in program.calls if buffer in call.outputs]


def moved_before(program: Program, port: Port) -> Program:
    """`program` with the floats of an output moved into their order while they are still integers."""
    found = floats_moved(program, port)
    if found is None:
        return program
    dequantize, move = found
    assert isinstance(dequantize.kernel, Dequantize) and isinstance(move.kernel, Transpose)
    codes = f"{port.buffer}/codes"
    while codes in program.buffers:
        codes += "'"
    held = Buffer(codes, program.buffers[port.buffer].shape, dequantize.kernel.dtype)
    kernel = replace(move.kernel, dtype=held.dtype)
    first = Call(move.node, kernel, dequantize.inputs, (), codes, dequantize.input_starts)
    last = Call(dequantize.node, dequantize.kernel, (codes,), (), port.buffer)
    changed = {id(dequantize): first, id(move): last}
    calls = tuple(changed.get(id(call), call) for call in program.calls)
    return replace(program, buffers=program.buffers | {codes: held}, calls=calls)


def floats_moved(program: Program, port: Port) -> tuple[Call, Call] | None:
    """A dequantizer and the transpose that alone reads it and makes an output."""
    match writers(program, port.buffer):
        case [Call(kernel=Transpose(dtype="float32")) as move] if not readers(program, port.buffer):
            between = move.inputs[0]
        case _:
            return None
    match writers(program, between):
        case [Call(kernel=Dequantize()) as source] if len(readers(program, between)) == 1:
            leaves = any(one.buffer == between for one in program.outputs)
            return None if leaves else (source, move)
        case _:
            return None


def in_parts(call: Call) -> Iterator[Call]:
    """A dequantizer as several of at most PART elements, all of one size but for the last."""
    kernel = call.kernel
    assert isinstance(kernel, Dequantize)
    (source,) = kernel.roles(Role.INPUT)
    (result,) = kernel.roles(Role.OUTPUT)
    read, written = (operand.bytes // prod(operand.shape) for operand in (source, result))
    for first in range(0, kernel.size, PART):
        yield replace(
            call,
            kernel=replace(kernel, size=min(PART, kernel.size - first)),
            input_starts=(call.input_starts[0] + first * read,),
            output_start=call.output_start + first * written,
        )
