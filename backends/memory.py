"""Where every activation lives: one arena, one offset a buffer, decided when the code is generated.

Offsets are chosen greedily, one buffer at a time, for several orders (largest first, longest-lived first, ...), as in
Pisarchyk and Lee 2020, "Efficient Memory Management for Deep Neural Net Inference", section 4; a short seeded search
over orders follows while the result is above the lower bound. The lower bound is the most that is live at one time.

Time is counted in kernel calls. A graph input is live from the start to its last use, a graph output from its call to
the end. Inputs are consumed: once read for the last time, their place is used for other values.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from random import Random

from bevel.backends.kernel import Role
from bevel.backends.program import Program

ALIGNMENT = 16
START = -1  # the moment before the first call, when the caller fills the inputs
SEARCH_ROUNDS = 1000


@dataclass(frozen=True)
class Lifetime:
    """The calls, first and last included, during which a buffer's contents matter."""

    first: int
    last: int

    def overlaps(self, other: Lifetime) -> bool:
        return self.first <= other.last and other.first <= self.last


@dataclass(frozen=True)
class Merge:
    """A call that overwrites its first input: `output` lies where `source` lay."""

    call: int
    source: str
    output: str


@dataclass(frozen=True)
class Plan:
    """Offsets and sizes in bytes. `scratch` holds, for each call, the offsets of its scratch operands in order."""

    offsets: dict[str, int]
    sizes: dict[str, int]
    lifetimes: dict[str, Lifetime]
    scratch: tuple[tuple[int, ...], ...]
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


@dataclass(frozen=True)
class Piece:
    """Something to place: a buffer, or call `scratch[0]`'s scratch operand number `scratch[1]`."""

    name: str
    size: int  # a multiple of ALIGNMENT
    lifetime: Lifetime
    scratch: tuple[int, int] | None = None


Group = tuple[Piece, ...]  # pieces that share an offset; no two are live together, except at the call that merges them


@dataclass(frozen=True)
class Layout:
    """Group index to offset."""

    offsets: dict[int, int]
    end: int


def plan(program: Program, in_place: bool = True) -> Plan:
    """An arena for `program`. `in_place=False` gives every call an output apart from its inputs."""
    lifetimes = find_lifetimes(program)
    pieces = [*buffer_pieces(program, lifetimes), *scratch_pieces(program)]
    merges = find_merges(program, lifetimes) if in_place else ()
    bound = lower_bound(pieces, merges)
    chosen, groups, layout = merges, grouped(pieces, merges), place(grouped(pieces, merges), bound)
    if merges and layout.end > bound:  # sharing an offset can cost more than it saves
        apart = place(grouped(pieces, ()), bound)
        if apart.end < layout.end:
            chosen, groups, layout = (), grouped(pieces, ()), apart
    placed = [(piece, layout.offsets[index]) for index, group in enumerate(groups) for piece in group]
    slots = {piece.scratch: offset for piece, offset in placed if piece.scratch is not None}
    return Plan(
        offsets={piece.name: offset for piece, offset in placed if piece.scratch is None},
        sizes={name: program.buffers[name].bytes for name in lifetimes},
        lifetimes=lifetimes,
        scratch=tuple(
            tuple(slots[index, number] for number in range(len(call.kernel.roles(Role.SCRATCH))))
            for index, call in enumerate(program.calls)
        ),
        merged=chosen,
        arena_bytes=layout.end,
        lower_bound=bound,
    )


def find_lifetimes(program: Program) -> dict[str, Lifetime]:
    """The lifetime of every buffer in the arena, in the order they come to life."""
    first = {port.buffer: START for port in program.inputs}
    last = dict(first)
    for index, call in enumerate(program.calls):
        for name in (*call.inputs, call.output):
            if name not in program.constants:
                first.setdefault(name, index)
                last[name] = index
    for port in program.outputs:
        if port.buffer not in program.constants:
            last[port.buffer] = len(program.calls)
    return {name: Lifetime(first[name], last[name]) for name in first}


def find_merges(program: Program, lifetimes: dict[str, Lifetime]) -> tuple[Merge, ...]:
    merges = []
    for index, call in enumerate(program.calls):
        if call.kernel.in_place and can_overwrite(program, lifetimes, index):
            merges.append(Merge(index, call.inputs[0], call.output))
    return tuple(merges)


def can_overwrite(program: Program, lifetimes: dict[str, Lifetime], index: int) -> bool:
    """Whether the first input of a call dies there, is read by no other operand, and has room for the output.

    A graph output lives to the end, so it never dies at a call; a buffer that is written twice, or was live before the
    call, is no fresh output.
    """
    call = program.calls[index]
    source, output = call.inputs[0], call.output
    return (
        source in lifetimes
        and source not in call.inputs[1:]
        and source != output
        and lifetimes[source].last == index
        and lifetimes[output].first == index
        and program.buffers[output].bytes <= program.buffers[source].bytes
    )


def buffer_pieces(program: Program, lifetimes: dict[str, Lifetime]) -> list[Piece]:
    return [Piece(name, aligned(program.buffers[name].bytes), lifetime) for name, lifetime in lifetimes.items()]


def scratch_pieces(program: Program) -> list[Piece]:
    return [
        Piece(f"{call.node} {operand.name}", aligned(operand.bytes), Lifetime(index, index), (index, number))
        for index, call in enumerate(program.calls)
        for number, operand in enumerate(call.kernel.roles(Role.SCRATCH))
    ]


def aligned(size: int) -> int:
    """`size` rounded up to the alignment; nothing is smaller than one unit, so that no two live values coincide."""
    return max(-(-size // ALIGNMENT), 1) * ALIGNMENT


def lower_bound(pieces: Sequence[Piece], merges: Sequence[Merge]) -> int:
    """The most bytes live during one call; a merged pair counts once, as its source, during the call that merges it."""
    shared = {(merge.call, merge.output) for merge in merges}
    times = {time for piece in pieces for time in (piece.lifetime.first, piece.lifetime.last)}

    def live(time: int) -> int:
        return sum(
            piece.size
            for piece in pieces
            if piece.lifetime.first <= time <= piece.lifetime.last and (time, piece.name) not in shared
        )

    return max((live(time) for time in times), default=0)


def grouped(pieces: Sequence[Piece], merges: Sequence[Merge]) -> list[Group]:
    """Pieces chained by merges, as groups that share an offset; each other piece is a group of its own."""
    follower = {merge.source: merge.output for merge in merges}
    by_name = {piece.name: piece for piece in pieces if piece.scratch is None}
    inner = set(follower.values())

    def chain(name: str) -> Iterator[Piece]:
        yield by_name[name]
        while name in follower:
            name = follower[name]
            yield by_name[name]

    heads = [piece for piece in pieces if piece.scratch is not None or piece.name not in inner]
    return [(piece,) if piece.scratch is not None else tuple(chain(piece.name)) for piece in heads]


def place(groups: list[Group], bound: int) -> Layout:
    """The best layout that the greedy orders and a short search find; stops at the bound. Equal input, equal layout."""
    neighbours = conflicts(groups)
    best_order, best = [], Layout({}, 0)
    for number, order in enumerate(orders(groups)):
        layout = place_in_order(groups, neighbours, order)
        if number == 0 or layout.end < best.end:
            best_order, best = order, layout
    random = Random(0)
    for _ in range(SEARCH_ROUNDS if len(groups) > 2 else 0):
        if best.end <= bound:
            break
        order = earlier(best_order, highest(groups, best), random)
        layout = place_in_order(groups, neighbours, order)
        if layout.end <= best.end:
            best_order, best = order, layout
    return best


def orders(groups: list[Group]) -> Iterator[list[int]]:
    """Orders to place groups in, each by a different idea of which are hardest to place."""

    def size(index: int) -> int:
        return max(piece.size for piece in groups[index])

    def length(index: int) -> int:
        return groups[index][-1].lifetime.last - groups[index][0].lifetime.first + 1

    def start(index: int) -> int:
        return groups[index][0].lifetime.first

    indices = range(len(groups))
    yield sorted(indices, key=lambda i: (-size(i), -length(i), i))
    yield sorted(indices, key=lambda i: (-length(i), -size(i), i))
    yield sorted(indices, key=lambda i: (-size(i) * length(i), i))
    yield sorted(indices, key=lambda i: (start(i), -size(i), i))


def highest(groups: list[Group], layout: Layout) -> list[int]:
    """The groups that reach the end of the arena: those that make it as large as it is."""
    tops = {index: offset + max(piece.size for piece in groups[index]) for index, offset in layout.offsets.items()}
    return [index for index, top in tops.items() if top == layout.end]


def earlier(order: list[int], candidates: list[int], random: Random) -> list[int]:
    """`order` with one of the candidates placed sooner, or, one time in two, any group anywhere else."""
    result = list(order)
    if random.random() < 0.5:
        position = result.index(random.choice(candidates))
        result.insert(random.randrange(position + 1), result.pop(position))
    else:
        result.insert(random.randrange(len(order)), result.pop(random.randrange(len(order))))
    return result


Conflict = tuple[int, int, int]  # the other group, the size of its piece, the size of ours


def conflicts(groups: list[Group]) -> list[list[Conflict]]:
    """For each group, the pieces of other groups that are live together with one of its own."""
    return [
        [
            (other, theirs.size, mine.size)
            for other, members in enumerate(groups)
            if other != index
            for theirs in members
            for mine in groups[index]
            if mine.lifetime.overlaps(theirs.lifetime)
        ]
        for index in range(len(groups))
    ]


def place_in_order(groups: list[Group], neighbours: list[list[Conflict]], order: Sequence[int]) -> Layout:
    """Each group in the smallest gap that holds it, or the lowest offset above all."""
    offsets: dict[int, int] = {}
    end = 0
    for index in order:
        taken = sorted(
            (offsets[other] - mine + ALIGNMENT, offsets[other] + theirs)
            for other, theirs, mine in neighbours[index]
            if other in offsets
        )
        offset = best_fit(taken)
        offsets[index] = offset
        end = max(end, offset + max(piece.size for piece in groups[index]))
    return Layout(offsets, end)


def best_fit(taken: Sequence[tuple[int, int]]) -> int:
    """The start of the smallest gap between `taken`, sorted intervals [first, end) of offsets that are not free."""
    best, best_room, free_from = None, 0, 0
    for first, end in taken:
        room = first - free_from
        if room > 0 and (best is None or room < best_room):
            best, best_room = free_from, room
        free_from = max(free_from, end)
    return free_from if best is None else best
