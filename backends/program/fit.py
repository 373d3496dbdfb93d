"""Make a program fit into less memory: choose which chains of calls to run band by band, and in how high bands.

The most that a chain needs while it runs depends on nothing but the chain: what crosses it is whole before and behind
it. So the best choice is found by going through the calls once, remembering for each position the cheapest way to get
there under the limit (dynamic programming over the ends of chains). Offsets are planned afterwards, and take a little
more than what is live at a time: while the plan is above the limit, chains are turned to run from the bottom up, and
then the choice is made again, for lower bands or a lower limit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from bevel.backends.program import memory
from bevel.backends.program.memory import Lifetime, Plan
from bevel.backends.program.placement import aligned
from bevel.backends.program.program import Program
from bevel.backends.program.streaming import Stream, stream, streamed

LONGEST_CHAIN = 10  # calls
HEIGHTS = (1, 2, 3, 4, 6, 8, 12, 16, 24)  # rows of the chain's last output
HIGHEST = (24, 6, 2, 1)  # what HEIGHTS are limited to, one after the other: low bands overlap more tightly
ATTEMPTS = 4  # limits tried for each
# What makes one choice dearer than another, roughly in instructions: bytes moved, a call, and code for bands at the
# top, inside and at the bottom of an image, in place of one function.
CALL_COST = 50
STAGE_COST = 1000

Planner = Callable[[Program], Plan]


@dataclass(frozen=True)
class BandChain:
    """Calls first..last, `rows` rows of the last one's output at a time, from the top of the image or the bottom."""

    first: int
    last: int
    rows: int
    upward: bool = False


@dataclass(frozen=True)
class Way:
    """How to run calls first..last: as a chain in bands, or one call as it is."""

    first: int
    last: int
    chain: BandChain | None
    peak: int  # bytes live at a time
    cost: int


@dataclass(frozen=True)
class Fit:
    """`program` in the place of one that was too large, its plan, and the chains that are now run in bands. `fits` is
    False where the limit cannot be reached; this is then the smallest that was found."""

    program: Program
    plan: Plan
    chains: tuple[BandChain, ...]
    fits: bool


def fit(program: Program, limit: int, planner: Planner = memory.plan) -> Fit:
    """`program` with an arena of at most `limit` bytes, changed as little as possible; see `Fit.fits`.

    `planner` plans a program as it will be built, so that scratch of specialised kernels counts.
    """
    plan = planner(program)
    best = Fit(program, plan, (), plan.arena_bytes <= limit)
    if best.fits:
        return best
    needs = Needs.of(program, plan)
    for highest in HIGHEST:
        for chosen in selections(needs, limit, highest):
            best = smaller(best, turned(program, chosen, planner, limit))
            if best.fits:
                return best
    for highest in HIGHEST:
        best = smaller(best, turned(program, smallest(needs, highest), planner, limit))
    return best


def selections(needs: Needs, limit: int, highest: int) -> Iterator[tuple[Way, ...]]:
    """The cheapest choices that need at most `limit`, then a few that need less and less."""
    aim = limit
    for _ in range(ATTEMPTS):
        chosen = cheapest(choices(needs, aim, highest), len(needs.peaks), aim)
        if chosen is None:
            return
        yield chosen
        aim = min(max(choice.peak for choice in chosen), aim * 15 // 16) - 1


def smallest(needs: Needs, highest: int) -> tuple[Way, ...]:
    """The smallest peak that any choice of chains reaches, and that choice at its cheapest."""
    every = list(choices(needs, 0, highest))
    calls, peaks = len(needs.peaks), sorted({choice.peak for choice in every})
    low, high = 0, len(peaks) - 1
    while low < high:  # the first peak that some way through stays under
        middle = (low + high) // 2
        low, high = (low, middle) if cheapest(every, calls, peaks[middle]) else (middle + 1, high)
    return cheapest(every, calls, peaks[low]) or ()


def turned(program: Program, chosen: Iterable[Way], planner: Planner, limit: int) -> Fit:
    """The chains of `chosen`, each in the direction that makes the arena smaller, no more turned than it takes to fit.

    A chain that runs down moves its image down in memory, and one that runs up moves it back: so those that take turns
    are the second start.
    """
    chains = tuple(choice.chain for choice in chosen if choice.chain is not None)
    best = applied(program, chains, planner, limit)
    if not best.fits:
        turns = tuple(replace(chain, upward=index % 2 == 1) for index, chain in enumerate(chains))
        best = smaller(best, applied(program, turns, planner, limit))
    for index, chain in enumerate(chains):
        if best.fits:
            break
        other = replace(chain, upward=not best.chains[index].upward)
        best = smaller(best, applied(program, (*best.chains[:index], other, *best.chains[index + 1 :]), planner, limit))
    return best


def applied(program: Program, chains: tuple[BandChain, ...], planner: Planner, limit: int) -> Fit:
    changed = in_bands(program, chains)
    plan = planner(changed)
    return Fit(changed, plan, chains, plan.arena_bytes <= limit)


def in_bands(program: Program, chains: Sequence[BandChain]) -> Program:
    """`program` with these chains run in bands. Their numbers are those of its calls, in ascending order."""
    for chain in reversed(chains):  # from the end, so that the calls before keep their numbers
        program = streamed(program, chain.first, chain.last, chain.rows, chain.upward)
    return program


def smaller(one: Fit, other: Fit) -> Fit:
    return other if other.plan.arena_bytes < one.plan.arena_bytes else one


def cheapest(found: Iterable[Way], calls: int, limit: int) -> tuple[Way, ...] | None:
    """The choices that together cover all calls, none above `limit`, at the least cost; None where there is no way."""
    by_end: dict[int, list[Way]] = {}
    for choice in found:
        if choice.peak <= limit:
            by_end.setdefault(choice.last, []).append(choice)
    ways: list[tuple[int, tuple[Way, ...]] | None] = [(0, ())]
    for last in range(calls):
        reached = [
            (way[0] + choice.cost, choice.peak, (*way[1], choice))
            for choice in by_end.get(last, ())
            if (way := ways[choice.first]) is not None
        ]
        best = min(reached, key=lambda one: one[:2], default=None)
        ways.append(None if best is None else (best[0], best[2]))
    way = ways[calls]
    return None if way is None else way[1]


@dataclass(frozen=True)
class Needs:
    """What each call of a program needs as it is."""

    program: Program
    lifetimes: dict[str, Lifetime]
    sizes: dict[str, int]
    scratch: tuple[int, ...]  # bytes, by call
    peaks: tuple[int, ...]  # bytes live during each call, scratch included

    @classmethod
    def of(cls, program: Program, plan: Plan) -> Needs:
        sizes = {name: aligned(size) for name, size in plan.sizes.items()}
        scratch = tuple(sum(aligned(size) for size in of_call) for of_call in plan.scratch_sizes)
        shared = {merge.call: sizes[merge.output] for merge in plan.merged}
        peaks = tuple(
            sum(sizes[name] for name in plan.live_at(index)) + scratch[index] - shared.get(index, 0)
            for index in range(len(program.calls))
        )
        return cls(program, plan.lifetimes, sizes, scratch, peaks)


def choices(needs: Needs, limit: int, highest: int) -> Iterator[Way]:
    """Every call as it is, and the chains with a call that is above `limit` as it is."""
    for index, peak in enumerate(needs.peaks):
        yield Way(index, index, None, peak, 0)
    for first in range(len(needs.peaks)):
        for last in range(first, min(first + LONGEST_CHAIN, len(needs.peaks))):
            if max(needs.peaks[first : last + 1]) > limit:
                yield from chains(needs, first, last, highest)


def chains(needs: Needs, first: int, last: int, highest: int) -> Iterator[Way]:
    for rows in (height for height in HEIGHTS if height <= highest):
        found = stream(needs.program, first, last, rows)
        if found is None or found.steps == 1:
            return
        peak = stream_peak(needs, found) + max(needs.scratch[first : last + 1])
        cost = found.copied_bytes + CALL_COST * found.calls + STAGE_COST * len(found.stages)
        yield Way(first, last, BandChain(first, last, rows), peak, cost)


def stream_peak(needs: Needs, found: Stream) -> int:
    """The most bytes live at a step: windows, what has been written so far, and what will still be read."""
    span = Lifetime(found.first, found.first + len(found.stages) - 1)
    made = {stage.call.output for stage in found.stages}
    live = [name for name, lifetime in needs.lifetimes.items() if lifetime.overlaps(span) and name not in made]
    waning = [name for name in live if needs.lifetimes[name].last <= span.last]
    steady = sum(needs.sizes[name] for name in live if name not in waning) + found.window_bytes
    whole = [stage for stage in found.stages if stage.call.output not in found.windows]
    return max(
        steady
        + sum(unread(needs, found, name, step) for name in waning)
        + sum(stage.ends[step] * stage.row_bytes for stage in whole)
        for step in range(found.steps)
    )


def unread(needs: Needs, found: Stream, buffer: str, step: int) -> int:
    """Bytes of an input of the chain that are read at `step` or later."""
    kept = []
    for stage, window in found.readers(buffer):
        done = stage.band(step)[0]
        rows = window.rows if window is not None else 1
        gone = rows if done == stage.ends[-1] else window.first(done) if window is not None else 0
        kept.append(needs.sizes[buffer] * (rows - gone) // rows)
    return max(kept, default=needs.sizes[buffer])
