"""What a run launches, as tables of numbers: device functions, how many threads, and where each operand lies."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from bevel.backends.binary.c.constants import Constants
from bevel.backends.gpu.arguments import ARENA, MEMORIES, WEIGHTS, Argument, Row
from bevel.backends.gpu.binding import Bindable, bindable
from bevel.backends.gpu.launched import DeviceCode, LaunchNumbers
from bevel.backends.gpu.transfers import DeviceCall, actions, on_device
from bevel.backends.program.memory import Plan
from bevel.backends.program.op import Array, Role
from bevel.backends.program.placement import aligned
from bevel.backends.program.program import Program

WEIGHTS_ALIGNMENT = 64  # bytes, as the vectors of any device


Stretch = tuple[int, int]  # launches in a row: the first, and how many


@dataclass(frozen=True)
class Tables:
    """`rows`: every launch of a run, in order; `calls`: the first of each call's, and how many they are; `stretches`:
    the same of calls between which nothing else happens; `inputs`: those that may lie in buffers of the application's;
    `weights`: the arrays that the device reads, by their symbols, and where each lies; `bytes`: of each memory."""

    rows: tuple[Row, ...]
    calls: tuple[Stretch, ...]
    stretches: tuple[Stretch, ...]
    inputs: tuple[Bindable, ...]
    weights: Mapping[str, int]
    bytes: tuple[int, ...]


def tables(program: Program, plan: Plan, constants: Constants, symbols: Sequence[str], code: DeviceCode) -> Tables:
    """`symbols`: of each call's kernel."""
    weights, end = laid_out(program, constants)
    rows: list[Row] = []
    calls: list[Stretch] = []
    for index, (call, symbol) in enumerate(zip(program.calls, symbols, strict=True)):
        first = len(rows)
        if on_device(call):
            places = list(operand_places(program, plan, constants, weights, index))
            rows += [row(started, places) for started in code.launches[symbol]]
        calls.append((first, len(rows) - first))
    bytes_of = max(aligned(plan.arena_bytes), 1), max(end, 1)
    inputs = bindable(program, plan, rows)
    return Tables(tuple(rows), tuple(calls), tuple(stretches(program, calls)), inputs, weights, bytes_of)


def stretches(program: Program, calls: Sequence[Stretch]) -> Iterator[Stretch]:
    """The launches of calls in a row. `calls`: of each call."""
    for device, several in groupby(actions(program), lambda one: isinstance(one, DeviceCall)):
        if device:
            parts = [calls[one.call] for one in several if isinstance(one, DeviceCall)]
            yield parts[0][0], sum(count for _, count in parts)


def row(started: LaunchNumbers, places: Sequence[Argument]) -> Row:
    numbers = (Argument(MEMORIES, value) for value in started.values)
    return Row(started, (*(places[place] for place in started.operands), *numbers))


def laid_out(program: Program, constants: Constants) -> tuple[dict[str, int], int]:
    """Where each array lies that the device reads, and where the last one ends."""
    arrays: dict[str, Array] = {one.symbol: one.array for one in constants.arrays}
    places: dict[str, int] = {}
    end = 0
    for symbol in dict.fromkeys(read_symbols(program, constants)):
        places[symbol] = end
        end += -(-arrays[symbol].nbytes // WEIGHTS_ALIGNMENT) * WEIGHTS_ALIGNMENT
    return places, end


def read_symbols(program: Program, constants: Constants) -> Iterator[str]:
    for index, call in enumerate(program.calls):
        if on_device(call):
            yield from constants.operands[index]
            yield from (constants.buffers[name] for name in call.inputs if name in constants.buffers)


def operand_places(
    program: Program, plan: Plan, constants: Constants, weights: Mapping[str, int], index: int
) -> Iterator[Argument]:
    """Where each operand of a call lies, in their order."""
    call = program.calls[index]
    read = iter(zip(call.inputs, call.input_starts, strict=True))
    arrays, scratch = iter(constants.operands[index]), iter(plan.scratch[index])
    written = iter((*call.writes(), *call.keeps()))
    for operand in call.kernel.operands():
        match operand.role:
            case Role.INPUT:
                name, start = next(read)
                if name in constants.buffers:
                    yield Argument(WEIGHTS, weights[constants.buffers[name]] + start)
                else:
                    yield Argument(ARENA, plan.offsets[name] + start, name)
            case Role.CONSTANT:
                yield Argument(WEIGHTS, weights[next(arrays)])
            case Role.OUTPUT | Role.STATE:
                span = next(written)
                yield Argument(ARENA, plan.offsets[span.buffer] + span.first)
            case Role.SCRATCH:
                yield Argument(ARENA, next(scratch))
