"""Calls cut into parts that do not depend on each other, for threads to compute at the same time.

A call that takes long enough becomes a team: calls one after another, each of some rows of the output, of the outputs
of a single row, or of matrices. Every element is computed by one of them, by the same arithmetic, so
that results do not depend on how many threads there are, nor on who runs what when. Parts are as equal as rows are.
Short calls are cut, too: what a part reads was then written by the same thread, and is in the cache of its core.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from bevel.backends.encodings.planes import LANES
from bevel.backends.program.bands import Piece, banding
from bevel.backends.program.op import Role
from bevel.backends.program.ops.gemm import Gemm
from bevel.backends.program.ops.mat_mul import MatMul
from bevel.backends.program.ops.mat_mul_n_bits import MatMulNBits
from bevel.backends.program.ops.quantize import Quantize
from bevel.backends.program.ops.softmax import Softmax, WideSoftmax
from bevel.backends.program.program import Call, Program

WORTH_S = 6e-7  # what a call spends at least that is cut: to begin and end a part elsewhere takes half of it
CHANNELS = 16  # that the parts of a single row are multiples of


@dataclass(frozen=True)
class Cuts:
    """A call as `count` steps, in whole multiples of `together`; part(first, end): some of them, and the bytes before
    each input and before the output."""

    count: int
    part: Callable[[int, int], tuple[Piece, tuple[int, ...], int]]
    together: int = 1


def in_teams(program: Program, threads: int, seconds: Sequence[float]) -> Program:
    """`program` with the calls that are worth it as teams. seconds: what each call is estimated to spend."""
    calls: list[Call] = []
    for call, spent in zip(program.calls, seconds, strict=True):
        found = cuts_of(program, call) if spent >= WORTH_S else None
        parts = [] if found is None else list(shares(found, threads))
        if found is None or len(parts) < 2:
            calls.append(call)
            continue
        team = len(calls)
        for first, end in parts:
            piece, starts, place = found.part(first, end)
            cut = replace(call, kernel=piece.op, constants=piece.constants, input_starts=starts, output_start=place)
            calls.append(replace(cut, team=team))
    return replace(program, calls=tuple(calls))


def shares(cuts: Cuts, threads: int) -> Iterator[tuple[int, int]]:
    """(first, end) of each part."""
    units = -(-cuts.count // cuts.together)
    parts = min(threads, units)
    ends = [min(units * part // parts * cuts.together, cuts.count) for part in range(parts + 1)]
    yield from pairwise(ends)


def cuts_of(program: Program, call: Call) -> Cuts | None:
    """How `call` can be cut, or None where it cannot."""
    if any(call.input_starts) or call.output_start or call.more or call.states or call.narrower:
        return None
    match call.kernel:
        case Quantize():  # its floats, four times its output, are in the cache of who wrote them
            return None
        case Gemm(rows=1) as row:
            return of_columns(call, row)
        case MatMulNBits(rows=1) as decoded:
            return of_blocks(call, decoded)
        case Gemm() | MatMulNBits() | Softmax(mask=None) | WideSoftmax(mask=None) as matrix:
            return of_rows(call, matrix)
        case MatMul(counted=None, packed=False) as product:
            return of_matrices(call, product)
    return of_image(program, call)


def of_image(program: Program, call: Call) -> Cuts | None:
    """By the rows of an image."""
    found = banding(program, call)
    if found is None:
        return None
    operands, row_bytes = call.kernel.roles(Role.INPUT), call.writes()[0].end // found.rows

    def part(first: int, end: int) -> tuple[Piece, tuple[int, ...], int]:
        starts = tuple(
            0 if window is None else window.first(first) * operand.bytes // window.rows
            for window, operand in zip(found.windows, operands, strict=True)
        )
        return found.piece(first, end), starts, first * row_bytes

    return Cuts(found.rows, part)


def of_rows(call: Call, kernel: Gemm | MatMulNBits | Softmax | WideSoftmax) -> Cuts:
    """By the rows of a matrix."""
    of_input, of_output = (spans[0].end // kernel.rows for spans in (call.reads(), call.writes()))

    def part(first: int, end: int) -> tuple[Piece, tuple[int, ...], int]:
        fewer = Piece(replace(kernel, rows=end - first), call.constants)
        return fewer, (first * of_input,), first * of_output

    return Cuts(kernel.rows, part)


def of_columns(call: Call, kernel: Gemm) -> Cuts:
    """By the outputs of a single row."""
    of_output = call.writes()[0].end // kernel.n

    def part(first: int, end: int) -> tuple[Piece, tuple[int, ...], int]:
        constants = tuple(np.ascontiguousarray(one[first:end]) for one in call.constants)
        return Piece(replace(kernel, n=end - first), constants), (0,), first * of_output

    return Cuts(kernel.n, part, CHANNELS)


def of_blocks(call: Call, kernel: MatMulNBits) -> Cuts:
    """By the outputs of a single row, in whole blocks, as their codes lie."""
    of_output = call.writes()[0].end // kernel.n

    def part(first: int, end: int) -> tuple[Piece, tuple[int, ...], int]:
        blocks, lanes = slice(first // LANES, -(-end // LANES)), slice(first, end)
        constants = tuple(np.ascontiguousarray(one[blocks if one.ndim > 1 else lanes]) for one in call.constants)
        return Piece(replace(kernel, n=end - first), constants), (0,), first * of_output

    return Cuts(kernel.n, part, LANES)


def of_matrices(call: Call, kernel: MatMul) -> Cuts:
    """By the axis of y, of its matrices or of their rows, whose steps are the largest: parts fill their bytes."""
    sizes = [np.dtype(one).itemsize for one in (kernel.a_dtype, kernel.b_dtype, kernel.output.dtype)]
    of_batch = len(kernel.batch) > 0 and kernel.y_strides[0] > kernel.y_strides[-2]
    axis = 0 if of_batch else -2
    strides = (kernel.a_strides, kernel.b_strides, kernel.y_strides)
    a, b, y = (own[axis] * size for own, size in zip(strides, sizes, strict=True))

    def part(first: int, end: int) -> tuple[Piece, tuple[int, ...], int]:
        count = end - first
        fewer = replace(kernel, batch=(count, *kernel.batch[1:])) if of_batch else replace(kernel, m=count)
        return Piece(fewer, call.constants), (first * a, first * b if of_batch else 0), first * y

    return Cuts(kernel.batch[0] if of_batch else kernel.m, part)
