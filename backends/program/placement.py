"""Offsets in one arena for pieces of memory with known lifetimes, as small as can be found, or proven smallest.

First greedily, one group of pieces at a time, for several orders (largest first, longest-lived first, ...), as in
Pisarchyk and Lee 2020, "Efficient Memory Management for Deep Neural Net Inference", section 4. While the result is
above the lower bound, a seeded search over orders follows, and then branch and bound, which ends with the optimum or
when its budget of steps is spent. Nothing depends on a clock: equal input gives equal offsets.

A piece may consist of parts that live at different times, as the rows of an image that is consumed from the top while
another one is written. Two pieces may then overlap as long as no two parts do that are live together:

    time 0   x0 x1 x2 x3         the rows of x, read for the last time one by one
    time 1   y0 x1 x2 x3         row y0 lies where x0 was
    time 2   y0 y1 x2 x3         (Zheng et al. 2024, "vMCU: Coordinated Memory Management and Kernel Optimization for
    time 3   y0 y1 y2 x3         DNN Inference on MCUs", section 4, has this at the level of segments of a tensor)
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from random import Random

ALIGNMENT = 16
SEARCH_ROUNDS = 1000
BRANCHES = 20_000  # steps of the exact search, a few seconds at most


@dataclass(frozen=True)
class Lifetime:
    """The calls, first and last included, during which contents matter."""

    first: int
    last: int

    def overlaps(self, other: Lifetime) -> bool:
        return self.first <= other.last and other.first <= self.last


@dataclass(frozen=True)
class LivePart:
    """Bytes [first, end) of a piece, which are live during `lifetime`."""

    first: int
    end: int
    lifetime: Lifetime


@dataclass(frozen=True)
class Placed:
    """Something to place: a buffer, or call `scratch[0]`'s scratch operand number `scratch[1]`."""

    name: str
    size: int  # a multiple of ALIGNMENT
    parts: tuple[LivePart, ...]
    scratch: tuple[int, int] | None = None

    @property
    def first(self) -> int:
        return min((part.lifetime.first for part in self.parts), default=0)

    @property
    def last(self) -> int:
        return max((part.lifetime.last for part in self.parts), default=0)


Group = tuple[Placed, ...]  # pieces that share an offset; no two are live together, except at the call that merges them


@dataclass(frozen=True)
class Layout:
    """Group index to offset. `proven`: no layout of these groups ends earlier."""

    offsets: dict[int, int]
    end: int
    proven: bool = False


Interval = tuple[int, int]
Conflicts = list[dict[int, list[Interval]]]  # of each group: other group -> distances to it that may not be


def aligned(size: int) -> int:
    """`size` rounded up to the alignment; nothing is smaller than one unit, so that no two live values coincide."""
    return max(-(-size // ALIGNMENT), 1) * ALIGNMENT


def place(groups: Sequence[Group], bound: int, rounds: int = SEARCH_ROUNDS) -> Layout:
    """The best layout that is found; the search stops at `bound`, which no layout can be below, or after `rounds`."""
    neighbours = conflicts(groups)
    sizes = [max(piece.size for piece in group) for group in groups]
    best_order, best = [], Layout({}, 0)
    for number, order in enumerate(orders(groups, sizes)):
        layout = place_in_order(sizes, neighbours, order)
        if number == 0 or layout.end < best.end:
            best_order, best = order, layout
    random = Random(0)
    for _ in range(rounds if len(groups) > 1 else 0):
        if best.end <= bound:
            break
        order = earlier(best_order, highest(sizes, best), random)
        layout = place_in_order(sizes, neighbours, order)
        if layout.end <= best.end:
            best_order, best = order, layout
    if best.end > bound and all(lives_whole(piece) for group in groups for piece in group):
        return branch_and_bound(groups, sizes, neighbours, best, bound)
    return Layout(best.offsets, best.end, proven=best.end <= bound)


def orders(groups: Sequence[Group], sizes: Sequence[int]) -> Iterator[list[int]]:
    """Orders to place groups in, each by a different idea of which are hardest to place."""
    starts = [group[0].first for group in groups]
    lengths = [group[-1].last - start + 1 for group, start in zip(groups, starts, strict=True)]
    indices = range(len(groups))
    yield sorted(indices, key=lambda i: (-sizes[i], -lengths[i], i))
    yield sorted(indices, key=lambda i: (-lengths[i], -sizes[i], i))
    yield sorted(indices, key=lambda i: (-sizes[i] * lengths[i], i))
    yield sorted(indices, key=lambda i: (starts[i], -sizes[i], i))
    yield sorted(indices, key=lambda i: (-starts[i], -sizes[i], i))


def highest(sizes: Sequence[int], layout: Layout) -> list[int]:
    """The groups that reach the end of the arena: those that make it as large as it is."""
    return [index for index, offset in layout.offsets.items() if offset + sizes[index] == layout.end]


def earlier(order: list[int], candidates: list[int], random: Random) -> list[int]:
    """`order` with one of the candidates placed sooner, or, one time in two, any group anywhere else."""
    result = list(order)
    if random.random() < 0.5:
        position = result.index(random.choice(candidates))
        result.insert(random.randrange(position + 1), result.pop(position))
    else:
        result.insert(random.randrange(len(order)), result.pop(random.randrange(len(order))))
    return result


def conflicts(groups: Sequence[Group]) -> Conflicts:
    """For each group, how far from each other group it may not lie."""
    met: dict[tuple[int, int], list[tuple[Placed, Placed]]] = {}
    for (index, mine), (other, theirs) in live_together(groups):
        met.setdefault((index, other), []).append((mine, theirs))
    found: Conflicts = [{} for _ in groups]
    for (index, other), pairs in met.items():
        ways = united(way for mine, theirs in pairs for way in forbidden(mine, theirs))
        if ways:
            found[index][other] = ways
            # Rounding to the alignment makes [first, end) the mirror image of [ALIGNMENT - end, ALIGNMENT - first).
            mirrored = [(ALIGNMENT - end, ALIGNMENT - first) for first, end in ways]
            found[other][index] = sorted(mirrored)
    return found


Member = tuple[int, Placed]  # a group's index, and one of its pieces


def live_together(groups: Sequence[Group]) -> Iterator[tuple[Member, Member]]:
    """Pairs of pieces of two groups whose spans of time meet, the larger index first. In order of time, each piece is
    held against those that are still live, so that a chain takes time in proportion to its length."""
    pieces = [(piece.first, piece.last, index, piece) for index, group in enumerate(groups) for piece in group]
    live: list[tuple[int, Member]] = []
    for first, last, index, piece in sorted(pieces, key=lambda one: one[:3]):
        live = [one for one in live if one[0] >= first]
        for _, (other, theirs) in live:
            if other != index:
                mine = (index, piece)
                yield (mine, (other, theirs)) if index > other else ((other, theirs), mine)
        live.append((last, (index, piece)))


def forbidden(piece: Placed, other: Placed) -> Iterator[Interval]:
    """Multiples of ALIGNMENT, as intervals [first, end), that `piece` may not lie above `other`."""
    for a in piece.parts:
        for b in other.parts:
            if a.lifetime.overlaps(b.lifetime):
                lowest = ((b.first - a.end) // ALIGNMENT + 1) * ALIGNMENT
                yield lowest, -((a.first - b.end) // ALIGNMENT) * ALIGNMENT


def united(intervals: Iterable[Interval]) -> list[Interval]:
    """The same numbers in as few intervals as can be, sorted."""
    result: list[Interval] = []
    for first, end in sorted(set(intervals)):
        if result and first <= result[-1][1]:
            result[-1] = (result[-1][0], max(end, result[-1][1]))
        else:
            result.append((first, end))
    return result


def place_in_order(sizes: Sequence[int], neighbours: Conflicts, order: Sequence[int]) -> Layout:
    """Each group in the smallest gap that holds it, or the lowest offset above all."""
    offsets: dict[int, int] = {}
    end = 0
    for index in order:
        taken = sorted(
            (offsets[other] + first, offsets[other] + after)
            for other, ways in neighbours[index].items()
            if other in offsets
            for first, after in ways
        )
        offsets[index] = best_fit(taken)
        end = max(end, offsets[index] + sizes[index])
    return Layout(offsets, end)


def best_fit(taken: Sequence[Interval]) -> int:
    """The start of the smallest gap between `taken`, sorted intervals [first, end) of offsets that are not free."""
    best, best_room, free_from = None, 0, 0
    for first, end in taken:
        room = first - free_from
        if room > 0 and (best is None or room < best_room):
            best, best_room = free_from, room
        free_from = max(free_from, end)
    return free_from if best is None else best


def lives_whole(piece: Placed) -> bool:
    return len(piece.parts) == 1 and piece.parts[0].first == 0


def branch_and_bound(
    groups: Sequence[Group], sizes: Sequence[int], neighbours: Conflicts, known: Layout, bound: int
) -> Layout:
    """The smallest layout, if BRANCHES steps are enough, else the smallest seen, `known` included. Pieces live whole.

    Pushing every group down until it rests on another one, or on the ground, never makes a layout larger. So it is
    enough to lay groups in the order of their offsets, each on the highest of those below it that it conflicts with.
    """
    times = sorted({piece.first for group in groups for piece in group})
    live = [[i for i, group in enumerate(groups) if group[0].first <= time <= group[-1].last] for time in times]
    best, steps = known, 0

    def hopeless(lowest: dict[int, int], ground: int) -> bool:
        """Whether what is still to be laid cannot end below the best."""
        if any(offset + sizes[index] >= best.end for index, offset in lowest.items()):
            return True
        waiting = ([index for index in together if index in lowest] for together in live)
        return any(
            max(ground, min(lowest[index] for index in some)) + sum(least[index] for index in some) >= best.end
            for some in waiting
            if len(some) > 1
        )

    # A group of several pieces may take less room at a time than its largest piece.
    least = [min(piece.size for piece in group) for group in groups]
    open_branches: list[tuple[dict[int, int], dict[int, int], int]] = [({}, dict.fromkeys(range(len(groups)), 0), 0)]
    while open_branches and steps < BRANCHES and best.end > bound:
        steps += 1
        laid, lowest, ground = open_branches.pop()
        if not lowest:
            best = Layout(laid, max(offset + sizes[index] for index, offset in laid.items()))
            continue
        if hopeless(lowest, ground):
            continue
        choices = sorted((offset, -sizes[index], index) for index, offset in lowest.items() if offset >= ground)
        for offset, _, index in reversed(choices):
            ways = neighbours[index]
            rest = {
                other: max(low, offset + ALIGNMENT - ways[other][0][0]) if other in ways else low
                for other, low in lowest.items()
                if other != index
            }
            open_branches.append((laid | {index: offset}, rest, offset))
    return Layout(best.offsets, best.end, proven=not open_branches or best.end <= bound)
