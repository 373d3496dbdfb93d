"""Rows of a mask that keep their first elements are looked up as how many these are, and work ends there.

A step of a decoder has a row of the causal mask, the one at its position: truth values over all slots of the cache, of
which the first few hold something. Where the rows of that table are all of this kind, its counts stand in its place:

    Lookup(keep) ─> Softmax              Lookup(counts) ─┬─> scores (columns)
    scores ────────────┘     ==                          ├─> Softmax
                  └─> values                             └─> values (terms)

The scores of other slots are read by nobody, and need not be computed; their shares are 0, and what they are multiplied
with adds nothing. So sums are the same integers, and a step costs what its filled slots do.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod

import numpy as np

from bevel.backends.program.conversions import readers, writers
from bevel.backends.program.op import Array
from bevel.backends.program.ops.lookup import Lookup
from bevel.backends.program.ops.mat_mul import Counted, MatMul
from bevel.backends.program.ops.power_softmax import PowerSoftmax
from bevel.backends.program.ops.shift_mat_mul import ShiftMatMul
from bevel.backends.program.ops.softmax import Softmax, WideSoftmax
from bevel.backends.program.program import Buffer, Call, Program
from bevel.calib.arithmetic.power_softmax import NONE
from bevel.passes.operators.functions.masks import prefix_of

DTYPE = "int32"
OfShares = Softmax | WideSoftmax | PowerSoftmax


@dataclass(frozen=True, eq=False)
class Counting:
    """A Softmax whose rows keep the first `counts` [positions] elements, by the position that `lookup` reads."""

    lookup: Call
    softmax: Call
    counts: Array


def count_prefixes(program: Program) -> Program:
    """`program` with counts in place of the rows of such masks."""
    for call in program.calls:
        found = find_counting(program, call)
        if found is not None:
            program = with_counts(program, found)
    return program


def find_counting(program: Program, call: Call) -> Counting | None:
    """The table behind the mask of a Softmax, where one of its rows is that of all the scores'."""
    kernel = call.kernel
    if not isinstance(kernel, OfShares) or kernel.mask is None or any(call.input_starts):
        return None
    mask = kernel.mask
    if mask.constant or mask.prefix or prod(mask.mask_shape) != 1:
        return None
    match writers(program, call.inputs[1]):
        case [Call(kernel=Lookup(count=1, width=mask.n)) as lookup] if not lookup.output_start:
            counts = prefix_of(lookup.constants[0].astype(np.bool_) ^ mask.inverted)
            return None if counts is None or counts.min() < 1 else Counting(lookup, call, counts)
    return None


def with_counts(program: Program, found: Counting) -> Program:
    """The Softmax with the counts, and the products around it, as far as they see what is kept alone."""
    program, kept = looked_up(program, found)
    kernel, softmax = found.softmax.kernel, found.softmax
    assert isinstance(kernel, OfShares) and kernel.mask is not None
    mask = replace(kernel.mask, prefix=True, constant=False, inverted=False)
    changed = {id(softmax): replace(softmax, kernel=replace(kernel, mask=mask), inputs=(softmax.inputs[0], kept))}
    ports = {port.buffer for port in program.outputs} | program.carried.keys()
    scores, shares = softmax.inputs[0], softmax.output
    made = writers(program, scores)
    if len(made) == 1 and len(readers(program, scores)) == 1 and scores not in ports:
        changed |= counted(made[0], kept, "columns", kernel)
    for call in readers(program, shares) if len(writers(program, shares)) == 1 else ():
        if call.inputs.count(shares) == 1 and call.inputs[0] == shares:
            changed |= counted(call, kept, "terms", kernel)
    calls = tuple(changed.get(id(call), call) for call in program.calls)
    return without_unread(replace(program, calls=calls), found.lookup)


def counted(call: Call, kept: str, which: Counted, softmax: OfShares) -> dict[int, Call]:
    """A product of which so many columns, or terms, are there; nothing where its rows are not the Softmax's."""
    kernel = call.kernel
    shifts = isinstance(kernel, ShiftMatMul) and which == "terms"
    made = kernel.product if isinstance(kernel, ShiftMatMul) and shifts else kernel
    if not isinstance(made, MatMul) or made.counted or any(call.input_starts) or call.output_start:
        return {}
    shape, strides = (made.y_shape, made.y_strides) if which == "columns" else (made.a_shape, made.a_strides)
    whole = prod(shape) == softmax.rows * softmax.n and shape[-1] == softmax.n
    same = which == "columns" or softmax.nothing == (NONE if shifts else made.a_zero_point)
    if not whole or not same or not lie_in_rows(shape, strides):
        return {}
    partial = replace(made, counted=which)
    changed = ShiftMatMul(partial) if shifts else partial
    return {id(call): replace(call, kernel=changed, inputs=(*call.inputs, kept), input_starts=(), input_bounds=())}


def lie_in_rows(shape: tuple[int, ...], strides: tuple[int, ...]) -> bool:
    """Whether the last axis lies side by side, in rows as long as it is."""
    lead = sorted((stride, size) for size, stride in zip(shape[:-1], strides[:-1], strict=True) if size > 1)
    expected = shape[-1]
    for stride, size in lead:
        if stride != expected:
            return False
        expected *= size
    return shape[-1] == 1 or strides[-1] == 1


def looked_up(program: Program, found: Counting) -> tuple[Program, str]:
    """With a Lookup of the counts before the mask's, unless there is one; and the buffer that it fills."""
    indices, table = found.lookup.inputs[0], found.counts.astype(DTYPE).reshape(-1, 1)
    for call in program.calls:
        if call.kernel == counts_of(found) and call.inputs == (indices,) and np.array_equal(call.constants[0], table):
            return program, call.output
    name = f"{found.lookup.output}/kept"
    call = Call(f"{found.lookup.node}/kept", counts_of(found), (indices,), (table,), name)
    place = next(index for index, one in enumerate(program.calls) if one is found.lookup)
    calls = (*program.calls[:place], call, *program.calls[place:])
    return replace(program, calls=calls, buffers=program.buffers | {name: Buffer(name, (1, 1), DTYPE)}), name


def counts_of(found: Counting) -> Lookup:
    before = found.lookup.kernel
    assert isinstance(before, Lookup)
    return replace(before, width=1, dtype=DTYPE)


def without_unread(program: Program, lookup: Call) -> Program:
    """Without rows of truth values that nobody reads any more."""
    if readers(program, lookup.output) or any(port.buffer == lookup.output for port in program.outputs):
        return program
    buffers = {name: one for name, one in program.buffers.items() if name != lookup.output}
    return replace(program, calls=tuple(call for call in program.calls if call is not lookup), buffers=buffers)
