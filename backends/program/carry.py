"""State of a program: what a run leaves in an output is what the next one finds in an input.

The graph has both as floats, each with a quantizer of the same scale. A device keeps the integers between: what
Quantize makes of what Dequantize made is what it was, which is checked for every integer. Both calls go, as do two
transposes that undo each other.

    h ─Quantize─> s ... n ─Dequantize─> hn        s holds what the run before left in n

Where s is read for the last time before n is written, or by a call that may overwrite it, n is written where s lies.
Else a copy at the end of the run brings it there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod

import numpy as np

from bevel.backends.program.conversions import moved_before, readers, writers
from bevel.backends.program.ops.copy import Copy
from bevel.backends.program.ops.dequantize import Dequantize
from bevel.backends.program.ops.quantize import Quantize
from bevel.backends.program.ops.transpose import Transpose
from bevel.backends.program.program import Call, Port, Program


@dataclass(frozen=True)
class Kept:
    """The buffer that a run finds its state in, and the one that it leaves it in. `start`: what each element is where a
    sequence begins."""

    held: str
    left: str
    start: int


@dataclass
class Carrying:
    """A program on its way to keeping its states."""

    program: Program
    pairs: list[Kept]

    @property
    def ports(self) -> set[str]:
        return {port.buffer for port in (*self.program.inputs, *self.program.outputs)}

    def without(self, calls: Sequence[Call]) -> None:
        kept = tuple(call for call in self.program.calls if all(call is not one for one in calls))
        self.program = replace(self.program, calls=kept)

    def rename(self, names: Mapping[str, str]) -> None:
        self.program = renamed(self.program, names)
        self.pairs = [
            replace(pair, held=names.get(pair.held, pair.held), left=names.get(pair.left, pair.left))
            for pair in self.pairs
        ]

    def copy(self, source: str, target: str) -> None:
        """At the end of the run."""
        given, new = self.program.buffers[source], self.program.buffers[source]
        new = self.program.buffers.get(target, replace(new, name=target))
        call = Call(f"{target}/keep", Copy(prod(given.shape), given.dtype), (source,), (), target)
        calls, buffers = (*self.program.calls, call), self.program.buffers | {target: new}
        self.program = replace(self.program, calls=calls, buffers=buffers)


def carry(program: Program, states: Mapping[str, str]) -> Program:
    """`program` with its inputs `states`, {input: output}, kept in the arena. The outputs go, too, unless there are no
    others."""
    if not states:
        return program
    outputs = {port.name: port for port in program.outputs}
    for out in dict.fromkeys(states.values()):
        program = moved_before(program, outputs[out])
    held = {port.name: port.buffer for port in program.inputs}
    pairs = [Kept(held[into], outputs[out].buffer, 0) for into, out in states.items()]
    given = tuple(port for port in program.inputs if port.name not in states)
    kept = tuple(port for port in program.outputs if port.name not in states.values()) or program.outputs
    work = Carrying(replace(program, inputs=given, outputs=kept), pairs)
    for place in range(len(pairs)):
        as_integers(work, place)
        as_it_lies(work, place)
    drop_unread(work)
    set_apart(work)
    for place in range(len(pairs)):
        if not overwrite(work, place) and work.pairs[place].held != work.pairs[place].left:
            work.copy(work.pairs[place].left, work.pairs[place].held)
    return finished(work)


def finished(work: Carrying) -> Program:
    carried = {pair.held: pair.start for pair in work.pairs}
    used = work.program.touched | carried.keys()
    buffers = {name: buffer for name, buffer in work.program.buffers.items() if name in used}
    return replace(work.program, buffers=buffers, carried=carried)


# Integers in place of floats


def as_integers(work: Carrying, place: int) -> None:
    """The pair between the quantizers, where both have one, and nothing else reads the state as floats."""
    pair, program = work.pairs[place], work.program
    entries, exits = readers(program, pair.held), writers(program, pair.left)
    if not entries or len(exits) != 1 or pair.held in work.ports:
        return
    kernel, (exit_,) = entries[0].kernel, exits
    whole = all(one.kernel == kernel and one.input_starts == (0,) and one.output_start == 0 for one in entries)
    made = {one.output for one in entries}
    alone = not made & work.ports and all(len(writers(program, name)) == 1 for name in made)
    if whole and alone and isinstance(kernel, Quantize) and undoes(kernel, exit_):
        work.without(entries)
        work.pairs[place] = Kept(entries[0].output, exit_.inputs[0], kernel.zero_point)
        work.rename(dict.fromkeys(made, entries[0].output))


def undoes(quantize: Quantize, exit_: Call) -> bool:
    """Whether `quantize` makes each integer of what the exit makes of it."""
    back = exit_.kernel
    if not isinstance(back, Dequantize) or exit_.input_starts != (0,) or exit_.output_start:
        return False
    if (back.size, back.dtype) != (quantize.size, quantize.dtype):
        return False
    limits = np.iinfo(back.dtype)
    codes = np.arange(limits.min, limits.max + 1).astype(back.dtype)
    reals = replace(back, size=codes.size).reference(codes)
    return bool(np.array_equal(replace(quantize, size=codes.size).reference(reals), codes))


def as_it_lies(work: Carrying, place: int) -> None:
    """The pair behind a transpose and before one that undoes it, where nothing else reads it: it has no order of its
    own."""
    pair = work.pairs[place]
    match readers(work.program, pair.held), writers(work.program, pair.left):
        case [Call(kernel=Transpose() as first) as entry], [Call(kernel=Transpose() as last) as exit_]:
            back = tuple(first.perm[axis] for axis in last.perm)
            alone = pair.held not in work.ports and len(writers(work.program, entry.output)) == 1
            if back == tuple(range(len(back))) and first.permuted == last.shape and alone:
                work.without([entry])
                work.pairs[place] = Kept(entry.output, exit_.inputs[0], pair.start)


def drop_unread(work: Carrying) -> None:
    """Dequantizers and transposes before outputs that went, and that nobody else reads."""
    wanted = {*work.ports, *(pair.left for pair in work.pairs)}
    gone: list[Call] = []
    for call in reversed(work.program.calls):
        if isinstance(call.kernel, Dequantize | Transpose) and call.output not in wanted:
            gone.append(call)
        else:
            wanted |= {*call.inputs}
    work.without(gone)


# Where it lies


def set_apart(work: Carrying) -> None:
    """States that are other states, inputs or constants are copied before anything is written over these."""
    taken = {pair.held for pair in work.pairs} | {port.buffer for port in work.program.inputs}
    taken |= work.program.constants.keys()
    for place, pair in enumerate(work.pairs):
        if pair.left in taken and pair.left != pair.held:
            name = unused(f"{pair.held}/next", work.program)
            work.copy(pair.left, name)
            work.pairs[place] = replace(pair, left=name)


def overwrite(work: Carrying, place: int) -> bool:
    """Have the new state written where the old one lies, unless that is still read then."""
    pair, calls, buffers = work.pairs[place], work.program.calls, work.program.buffers
    held, left = pair.held, pair.left
    written = [index for index, call in enumerate(calls) if left in call.outputs]
    read = [index for index, call in enumerate(calls) if held in call.inputs or held in call.outputs]
    taken = any(one.held == left for one in work.pairs)
    if not written or taken or buffers[held].bytes != buffers[left].bytes or held in work.ports:
        return False
    last, first = max(read, default=-1), min(written)
    if last > first or (last == first and not may_overwrite(calls[first], held, left)):
        return False
    if last == first:
        call = replace(calls[first], kernel=calls[first].kernel.overwriting)
        work.program = replace(work.program, calls=(*calls[:first], call, *calls[first + 1 :]))
    work.rename({left: held})
    return True


def may_overwrite(call: Call, source: str, output: str) -> bool:
    """Whether a call may write its output where its first input lies, from the first element on."""
    whole = call.input_starts[0] == call.output_start == 0
    first = call.inputs[0] == source and source not in call.inputs[1:]
    return call.kernel.in_place and call.output == output and not call.more and whole and first


# Names


def unused(name: str, program: Program) -> str:
    while name in program.buffers:
        name += "'"
    return name


def renamed(program: Program, names: Mapping[str, str]) -> Program:
    """With other buffers in the place of some."""

    def new(name: str) -> str:
        return names.get(name, name)

    def every(given: Iterable[str]) -> tuple[str, ...]:
        return tuple(map(new, given))

    def port(one: Port) -> Port:
        return replace(one, buffer=new(one.buffer))

    calls = tuple(
        replace(
            call, inputs=every(call.inputs), output=new(call.output), more=every(call.more), states=every(call.states)
        )
        for call in program.calls
    )
    inputs, outputs = (tuple(map(port, ports)) for ports in (program.inputs, program.outputs))
    return replace(program, inputs=inputs, outputs=outputs, calls=calls)
