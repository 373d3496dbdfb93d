"""Foldings of all nodes: the fewest cycles a frame that a part has room for.

The slowest node decides. For a number of cycles each node takes the cheapest folding that needs no more, in shares of
the part's resources, with multiplier blocks first; where those run out, nodes get lookup tables in their place, those
first whose blocks cost fewest of them. The least number of cycles for which that fits is found by bisection, as more
cycles never take more.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from bevel.backends.fpga import timing
from bevel.backends.fpga.logic import logic, queue, total
from bevel.backends.fpga.network import Folded, StreamNetwork
from bevel.backends.fpga.node import Folding, LogicNode
from bevel.backends.program.resources import Resource, Resources
from bevel.calib.errors import UserError

LOGIC = (Resource.LUT, Resource.FF, Resource.DSP, Resource.BRAM)
QUEUE_BITS = 16  # of a stream, for what streams take before their lanes are known
ROUNDS = 6  # of searches with less, where FIFOs take more than was left for them
FILLED = 0.9  # of a part's tables and registers: what is left is for routing


@dataclass(frozen=True)
class FoldingChoice:
    """A folding of a node: its cycles, and what it takes."""

    folding: Folding
    cycles: int
    takes: Resources


def choices(node: LogicNode) -> list[FoldingChoice]:
    """All foldings of a node; of those that multiply, with blocks and with lookup tables."""
    found = []
    for folding in node.foldings():
        for multiplier in ("dsp", "lut") if node.multiplies else ("dsp",):
            one = replace(folding, multiplier=multiplier)
            stages = node.stages(one)
            cycles = max(stage.cycles for stage in stages)
            found.append(FoldingChoice(one, cycles, total([stage.estimate() for stage in stages])))
    return found


def fold(network: StreamNetwork, limits: Resources, given: Mapping[str, Folding] | None = None) -> tuple[Folding, ...]:
    """The foldings with the fewest cycles a frame within `limits`; of nodes in `given`, that one.

    Raises UserError where none fits, with the least that would have to be there.
    """
    return folded_within(network, every_choice(network, given or {}), limits)


def every_choice(network: StreamNetwork, known: Mapping[str, Folding]) -> list[list[FoldingChoice]]:
    """Of each node. Raises UserError for a folding in `known` that its node does not have."""
    table = [
        [one for one in choices(node) if node.name not in known or one.folding == known[node.name]]
        for node in network.nodes
    ]
    for node, found in zip(network.nodes, table, strict=True):
        if not found:
            raise UserError(f"{node.name} cannot be folded so: {known[node.name]}; its divisors are those of its sizes")
    return table


def folded_within(
    network: StreamNetwork, table: Sequence[Sequence[FoldingChoice]], limits: Resources
) -> tuple[Folding, ...]:
    """`fold`, among these choices of each node."""
    usable = limits | {name: limits[name] * FILLED for name in (Resource.LUT, Resource.FF) if name in limits}
    least = max(min(one.cycles for one in found) for found in table)
    goals = sorted({one.cycles for found in table for one in found if one.cycles >= least})
    place = bisect_left(goals, True, key=lambda goal: chosen(network, table, goal, usable)[1])
    if place == len(goals):
        refuse(network, goals[-1], chosen(network, table, goals[-1], usable)[2], limits)
    return tuple(one.folding for one in chosen(network, table, goals[place], usable)[0])


def chosen(
    network: StreamNetwork, table: Sequence[Sequence[FoldingChoice]], goal: int, limits: Resources
) -> tuple[list[FoldingChoice], bool, Resources]:
    """The cheapest choices of at most `goal` cycles, whether they are within `limits`, and what they take."""

    def price(one: FoldingChoice) -> float:
        return sum(one.takes.get(name, 0) / max(limits[name], 1) for name in LOGIC if name in limits)

    def best(found: Sequence[FoldingChoice], multiplier: str) -> FoldingChoice:
        fast = [one for one in found if one.cycles <= goal and one.folding.multiplier == multiplier]
        return min(fast or [one for one in found if one.cycles <= goal], key=lambda one: (price(one), one.folding))

    blocks, tables = [best(found, "dsp") for found in table], [best(found, "lut") for found in table]
    besides = total([queue(2, QUEUE_BITS) for _ in network.edges])
    taken = list(blocks)

    def sum_of() -> Resources:
        return total([besides, *(one.takes for one in taken)])

    def exchanged(number: int) -> float:
        saved = blocks[number].takes[Resource.DSP] - tables[number].takes[Resource.DSP]
        more = tables[number].takes[Resource.LUT] - blocks[number].takes[Resource.LUT]
        return more / saved if saved > 0 else float("inf")

    for number in sorted(range(len(taken)), key=exchanged):
        if sum_of().get(Resource.DSP, 0) <= limits.get(Resource.DSP, float("inf")):
            break
        if exchanged(number) < float("inf"):
            taken[number] = tables[number]
    spent = sum_of()
    return taken, spent.within(limits), spent


def fitted(
    network: StreamNetwork, limits: Resources, given: Mapping[str, Folding] | None = None
) -> tuple[Folded, list[int]]:
    """A design within `limits` with all of its FIFOs, and their capacities; raises UserError as `fold` does.

    How deep FIFOs must be is known when all else is: what a design then has too much is taken off what the next search
    may spend.
    """
    usable, table = limits, every_choice(network, given or {})
    for _ in range(ROUNDS):
        folded = Folded.of(network, folded_within(network, table, usable))
        capacities = timing.depths(folded)
        spent = estimated(folded, capacities)
        over = spent.beyond(limits)
        if not over:
            return folded, capacities
        usable = usable | {name: usable[name] - amount for name, amount in (spent - limits).items() if name in over}
        if any(amount <= 0 for amount in usable.values()):
            break
    refuse(network, folded.cycles, spent, limits)
    raise AssertionError  # not reached


def refuse(network: StreamNetwork, cycles: int, least: Resources, limits: Resources) -> None:
    """Raises UserError that says what the nearest design takes, and what there is."""
    over = list(least.beyond(limits)) or [name for name in LOGIC if name in limits]
    told = [f"{least[name]:,.0f} {name.label} of {limits[name]:,.0f}" for name in over]
    raise UserError(
        f"{network.name} is too large: at {cycles:,} cycles a frame it takes about {' and '.join(told)} (estimates)"
    )


def estimated(folded: Folded, capacities: Sequence[int]) -> Resources:
    """What a design takes, before it is synthesized: its stages, its FIFOs and what changes beats' widths."""
    parts = [stage.estimate() for stages in folded.stages for stage in stages]
    for edge, capacity in zip(folded.network.edges, capacities, strict=True):
        given, taken = folded.given(edge), folded.taken(edge)
        parts.append(queue(capacity, taken.width))
        if given.lanes != taken.lanes:
            wider = max(given.width, taken.width)
            parts.append(logic(lut=wider, ff=wider))
    found = total(parts)
    return Resources({name: int(-(-found[name] // 1)) for name in LOGIC})
