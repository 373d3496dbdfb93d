"""Caches of codes of up to four bits lie two codes to a byte.

A step of a decoder writes one row of each cache in place, and products read all of it, from where it lies:

    row ─ScatterRow─> cache [slots, width]      -8 <= codes <= 7, where a sequence begins, too
    cache ─> MatMul (b)                   ==    the same, two codes to a byte (`bevel.backends.encodings.nibbles`)

Integers are the same, so results are; integer.onnx, whose states are floats, knows nothing of it. What else reads a
cache (a move that no product reads in place) would have to take it apart first: such a cache stays as it is, with a
note.
"""

from __future__ import annotations

from dataclasses import replace

from bevel.backends.encodings.nibbles import EACH, LEAST
from bevel.backends.program.bounds import with_bounds
from bevel.backends.program.conversions import readers, writers
from bevel.backends.program.op import INT4, Bounds, of_type
from bevel.backends.program.ops.mat_mul import MatMul
from bevel.backends.program.ops.scatter_row import ScatterRow
from bevel.backends.program.program import Call, Program
from bevel.passes.base import Note

PASS = "partition"


def pack_caches(program: Program) -> tuple[Program, list[Note]]:
    """`program` with such caches packed, and notes on them and on those that are not."""
    notes: list[Note] = []
    for name in program.carried:
        write = written_by_rows(program, name)
        if write is None:
            continue
        why = obstacle(program, name, write)
        if why is None:
            program = packed(program, name)
            text = f"its codes lie two to a byte: {program.buffers[name].bytes} bytes"
            notes.append(Note(PASS, write.node, "chosen", text, {"bytes": program.buffers[name].bytes}))
        else:
            notes.append(Note(PASS, write.node, "refused", f"its codes fit four bits and lie in whole bytes: {why}"))
    return program, notes


def written_by_rows(program: Program, name: str) -> Call | None:
    """The call that writes a row of int8 over the cache `name`, if the codes fit four bits and nothing else writes."""
    match writers(program, name):
        case [Call(kernel=ScatterRow(dtype="int8", packed=False) as kernel) as write]:
            found = next(one for one in with_bounds(program).calls if one.output == name)
            codes = (program.carried[name], program.carried[name]), found.input_bounds[2]
            alone = write.inputs[0] == name and not any(write.input_starts) and not write.output_start
            whole = program.buffers[name].bytes == kernel.rows * kernel.width
            return write if alone and whole and all(map(fits, codes)) else None
    return None


def fits(bounds: Bounds | None) -> bool:
    low, high = of_type(INT4) or (0, 0)
    return bounds is not None and low <= bounds[0] and bounds[1] <= high


def obstacle(program: Program, name: str, write: Call) -> str | None:
    """Why the cache cannot lie packed, if it cannot."""
    assert isinstance(write.kernel, ScatterRow)
    if write.kernel.width % EACH:
        return f"its rows have {write.kernel.width} codes, an odd number"
    others = [call for call in readers(program, name) if call is not write and not multiplies(call, name)]
    if others:
        return f"{others[0].node} reads it, which is no product of two activations"
    return None


def multiplies(call: Call, name: str) -> bool:
    """Whether a product reads the cache, from its first code on, as the factor that may lie packed."""
    kernel = call.kernel
    right = isinstance(kernel, MatMul) and kernel.b_dtype == "int8" and call.inputs[1] == name
    return right and call.inputs.count(name) == 1 and call.input_starts[1] == 0


def packed(program: Program, name: str) -> Program:
    start = program.carried[name] + LEAST
    buffer = replace(program.buffers[name], dtype="uint8", shape=(program.buffers[name].bytes // EACH,))
    calls = tuple(with_packed(call, name) if name in call.inputs else call for call in program.calls)
    carried = program.carried | {name: start | start << 4}
    return replace(program, calls=calls, carried=carried, buffers=program.buffers | {name: buffer})


def with_packed(call: Call, name: str) -> Call:
    kernel = call.kernel
    if isinstance(kernel, ScatterRow):
        return replace(call, kernel=replace(kernel, packed=True), input_bounds=())
    assert isinstance(kernel, MatMul)
    return replace(call, kernel=replace(kernel, b_dtype=INT4), input_bounds=())
