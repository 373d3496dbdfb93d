"""Where every activation lives: one arena, one offset a buffer, decided when the code is generated.

Time is counted in kernel calls. A graph input is live from the start to its last use, a graph output from its call to
the end, a state all the time. Inputs are consumed: once read for the last time, their place is used for other values.
Where calls read and write parts of a buffer, each part has a lifetime of its own, so that an image's rows make room one
after the other. What calls touch that may run at the same time is live while any of them runs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

from bevel.backends.program.op import Role
from bevel.backends.program.placement import ALIGNMENT as ALIGNMENT
from bevel.backends.program.placement import SEARCH_ROUNDS, Group, LivePart, Placed, place
from bevel.backends.program.placement import Lifetime as Lifetime
from bevel.backends.program.placement import aligned as aligned
from bevel.backends.program.program import Call, Program, Span
from bevel.backends.program.switching import switchings

START = -1  # the moment before the first call, when the caller fills the inputs


@dataclass(frozen=True)
class Merge:
    """A call that overwrites its first input: `output` lies where `source` lay."""

    call: int
    source: str
    output: str


@dataclass(frozen=True)
class Plan:
    """Offsets and sizes in bytes; `scratch` and `scratch_sizes` are those of each call's scratch operands, in order."""

    offsets: dict[str, int]
    sizes: dict[str, int]
    lifetimes: dict[str, Lifetime]
    scratch: tuple[tuple[int, ...], ...]
    scratch_sizes: tuple[tuple[int, ...], ...]
    merged: tuple[Merge, ...]
    arena_bytes: int
    lower_bound: int

    @cached_property
    def in_place_calls(self) -> frozenset[int]:
        return frozenset(merge.call for merge in self.merged)

    def live_at(self, call: int) -> list[str]:
        """Buffers that are live during a call, largest first."""
        live = [name for name, lifetime in self.lifetimes.items() if lifetime.first <= call <= lifetime.last]
        return sorted(live, key=lambda name: (-self.sizes[name], name))


def plan(program: Program, in_place: bool = True, rounds: int = SEARCH_ROUNDS) -> Plan:
    """An arena for `program`. `in_place=False` gives every call an output apart from its inputs.

    More `rounds` of search never make the arena larger.
    """
    parts = find_parts(program)
    lifetimes = {name: spanned(found) for name, found in parts.items()}
    pieces = [*buffer_pieces(program, parts), *scratch_pieces(program)]
    merges = find_merges(program, lifetimes) if in_place else ()
    bound = lower_bound(pieces, merges)
    chosen, groups, layout = merges, grouped(pieces, merges), place(grouped(pieces, merges), bound, rounds)
    if merges and layout.end > bound:  # sharing an offset can cost more than it saves
        apart = place(grouped(pieces, ()), bound, rounds)
        if apart.end < layout.end:
            chosen, groups, layout = (), grouped(pieces, ()), apart
    placed = [(piece, layout.offsets[index]) for index, group in enumerate(groups) for piece in group]
    slots = {piece.scratch: offset for piece, offset in placed if piece.scratch is not None}
    slots = {one: slots[held] + before for one, (held, before) in shared_scratch(program).items()} | slots
    scratch_sizes = tuple(tuple(size for _, size in scratch_of(call)) for call in program.calls)
    return Plan(
        offsets={piece.name: offset for piece, offset in placed if piece.scratch is None},
        sizes={name: program.buffers[name].bytes for name in lifetimes},
        lifetimes=lifetimes,
        scratch=tuple(
            tuple(slots[index, number] for number in range(len(sizes))) for index, sizes in enumerate(scratch_sizes)
        ),
        scratch_sizes=scratch_sizes,
        merged=chosen,
        arena_bytes=layout.end,
        lower_bound=layout.end if layout.proven and not merges else bound,
    )


def find_parts(program: Program) -> dict[str, tuple[LivePart, ...]]:
    """What of every buffer in the arena is live when; buffers in the order they come to life."""
    touched: dict[str, list[tuple[Span, int]]] = {}
    for time, span in accesses(program):
        if span.buffer not in program.constants:
            touched.setdefault(span.buffer, []).append((span, time))
    return {name: tuple(parts_of(found)) for name, found in touched.items()}


def accesses(program: Program) -> Iterator[tuple[int, Span]]:
    """When which bytes are read or written, in order."""

    def whole(buffer: str) -> Span:
        return Span(buffer, 0, program.buffers[buffer].bytes)

    for port in program.inputs:
        if port.buffer not in program.outside:
            yield START, whole(port.buffer)
    for call in program.entries:
        yield from ((START, span) for span in call.writes())
    for name in program.states:
        yield from ((time, whole(name)) for time in (START, len(program.calls)))
    for call, times in zip(program.calls, program.teams, strict=True):
        for span in (*call.reads(), *call.writes()):
            yield from ((time, span) for time in dict.fromkeys(times))
    for port in program.outputs:
        if port.buffer not in program.outside:
            yield len(program.calls), whole(port.buffer)
    for name in dict.fromkeys(name for call in program.exits for name in call.inputs):
        yield len(program.calls), whole(name)


def parts_of(touched: Sequence[tuple[Span, int]]) -> Iterator[LivePart]:
    """The bytes of one buffer, cut where lifetimes change; those that nobody touches are in no part."""
    if all(span.first == span.end for span, _ in touched):  # an empty buffer still has a time and a place
        yield LivePart(0, 0, Lifetime(touched[0][1], touched[-1][1]))
    cuts = sorted({cut for span, _ in touched for cut in (span.first, span.end)})
    held: LivePart | None = None
    for first, end in pairwise(cuts):
        times = [time for span, time in touched if span.first <= first and end <= span.end]
        if not times:
            continue
        part = LivePart(first, end, Lifetime(min(times), max(times)))
        if held is not None and held.end == first and held.lifetime == part.lifetime:
            held = LivePart(held.first, end, held.lifetime)
            continue
        if held is not None:
            yield held
        held = part
    if held is not None:
        yield held


def spanned(parts: Sequence[LivePart]) -> Lifetime:
    """From the first to the last moment at which any part is live."""
    lifetimes = [part.lifetime for part in parts]
    return Lifetime(min(one.first for one in lifetimes), max(one.last for one in lifetimes))


def find_merges(program: Program, lifetimes: dict[str, Lifetime]) -> tuple[Merge, ...]:
    merges = []
    for index, call in enumerate(program.calls):
        if call.kernel.in_place and can_overwrite(program, lifetimes, index):
            merges.append(Merge(index, call.inputs[0], call.output))
    return tuple(merges)


def can_overwrite(program: Program, lifetimes: dict[str, Lifetime], index: int) -> bool:
    """Whether the first input of a call dies there, is read by no other operand, and has room for the output.

    A graph output lives to the end, so it never dies at a call; a buffer that is written twice, or was live before the
    call, is no fresh output. Parts of buffers are left apart.
    """
    call = program.calls[index]
    source, output = call.inputs[0], call.output
    return (
        source in lifetimes
        and call.input_starts[0] == call.output_start == 0
        and source not in call.inputs[1:]
        and source != output
        and lifetimes[source].last == index
        and lifetimes[output].first == index
        and program.buffers[output].bytes <= program.buffers[source].bytes
    )


def buffer_pieces(program: Program, parts: dict[str, tuple[LivePart, ...]]) -> list[Placed]:
    return [Placed(name, aligned(program.buffers[name].bytes), rounded(found)) for name, found in parts.items()]


def rounded(parts: tuple[LivePart, ...]) -> tuple[LivePart, ...]:
    """A buffer that is empty, or lives as a whole, takes whole units of the arena."""
    if len(parts) > 1:
        return parts
    return tuple(LivePart(part.first, part.first + aligned(part.end - part.first), part.lifetime) for part in parts)


def scratch_pieces(program: Program) -> list[Placed]:
    """Of calls, and of teams: the parts with one number have theirs at one place, as one thread computes them: lines of
    its cache that another thread wrote last cost as much as the part."""
    found, sizes = [], dict.fromkeys((held for held, _ in shared_scratch(program).values()), 0)
    for (index, number), (held, before) in shared_scratch(program).items():
        sizes[held] = max(sizes[held], before + aligned(scratch_of(program.calls[index])[number][1]))
    for index, (call, times) in enumerate(zip(program.calls, program.teams, strict=True)):
        for number, (name, size) in enumerate(scratch_of(call)):
            if (index, number) in sizes:
                part = LivePart(0, sizes[index, number], team_times(program))
            elif times[0] == times[1]:
                part = LivePart(0, aligned(size), Lifetime(*times))
            else:
                continue
            found.append(Placed(f"{call.node} {name}", part.end, (part,), (index, number)))
    return found


def shared_scratch(program: Program) -> dict[tuple[int, int], tuple[tuple[int, int], int]]:
    """{(call, number) of a part's scratch: (that of the part that holds it, bytes before it)}."""
    holders: dict[int, tuple[int, int]] = {}
    found = {}
    for index, (call, (first, last)) in enumerate(zip(program.calls, program.teams, strict=True)):
        before = 0
        for number, (_, size) in enumerate(scratch_of(call) if first < last else ()):
            found[index, number] = holders.setdefault(index - first, (index, number)), before
            before += aligned(size)
    return found


def team_times(program: Program) -> Lifetime:
    """From the first team to the last."""
    several = [times for times in program.teams if times[0] < times[1]]
    return Lifetime(several[0][0], several[-1][1])


def scratch_of(call: Call) -> list[tuple[str, int]]:
    """Name and bytes of a call's working memory: the kernel's own, then that for constants rounded to fewer bits."""
    own = [(operand.name, operand.bytes) for operand in call.kernel.roles(Role.SCRATCH)]
    pairs = zip(call.kernel.roles(Role.CONSTANT), switchings(call) if call.narrower else (), strict=False)
    return own + [(operand.name, operand.bytes) for operand, one in pairs if one is not None and one.lane is not None]


def lower_bound(pieces: Sequence[Placed], merges: Sequence[Merge]) -> int:
    """The most bytes live during one call; a merged pair counts once, as its source, during the call that merges it."""
    changes: dict[int, int] = {}
    for piece in pieces:
        for part in piece.parts:
            size = part.end - part.first
            changes[part.lifetime.first] = changes.get(part.lifetime.first, 0) + size
            changes[part.lifetime.last + 1] = changes.get(part.lifetime.last + 1, 0) - size
    sizes = {piece.name: piece.size for piece in pieces if piece.scratch is None}
    for merge in merges:
        changes[merge.call] = changes.get(merge.call, 0) - sizes[merge.output]
        changes[merge.call + 1] = changes.get(merge.call + 1, 0) + sizes[merge.output]
    highest = live = 0
    for time in sorted(changes):
        live += changes[time]
        highest = max(highest, live)
    return highest


def grouped(pieces: Sequence[Placed], merges: Sequence[Merge]) -> list[Group]:
    """Pieces chained by merges, as groups that share an offset; each other piece is a group of its own."""
    follower = {merge.source: merge.output for merge in merges}
    by_name = {piece.name: piece for piece in pieces if piece.scratch is None}
    inner = set(follower.values())

    def chain(name: str) -> Iterator[Placed]:
        yield by_name[name]
        while name in follower:
            name = follower[name]
            yield by_name[name]

    heads = [piece for piece in pieces if piece.scratch is not None or piece.name not in inner]
    return [(piece,) if piece.scratch is not None else tuple(chain(piece.name)) for piece in heads]
