"""Which loops of a nest may run in any order, each iteration in a thread of its own.

They may where every iteration has a window to itself in each buffer that is written and seen by others, and where what
it reads of a thread's own buffers it has written itself before: then no iteration knows of another.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from bevel.backends.gpu.accesses import Access, accesses
from bevel.backends.gpu.indices import Place, all_apart, flat, places_of
from bevel.backends.tir.lazy import tirx


@dataclass(frozen=True)
class Setting:
    """What is around a nest. `turn`: variables of loops that the host runs; `before`: statements that every thread
    repeats; `spoiled`: stores into own buffers that only some launch makes: others do not see what they store."""

    turn: tuple[Any, ...] = ()
    before: tuple[Any, ...] = ()
    spoiled: tuple[Access, ...] = ()


def chain_of(nest: Any) -> list[Any]:
    """The loops of a nest that have nothing beside them, outermost first."""
    chain = []
    while isinstance(nest, tirx.For) and isinstance(nest.extent, tirx.IntImm) and int(nest.min) == 0:
        chain.append(nest)
        nest = nest.body
    return chain


def parallel_loops(nest: Any, setting: Setting) -> list[Any] | str:
    """The outer loops of `nest` that may run in any order, as many as can be proven; the reason where none may."""
    chain, reason = chain_of(nest), "it is no loop of a constant number of turns"
    for count in range(len(chain), 0, -1):
        inside = list(accesses(chain[count - 1].body))
        found = shared(inside, chain[:count], setting.turn) or unknown(inside, setting)
        if found is None:
            return chain[:count]
        reason = found
    return reason


def shared(inside: Sequence[Access], chain: Sequence[Any], turn: Iterable[Any]) -> str | None:
    """Why iterations of a chain of loops would touch what others write; None where they do not."""
    extents = {loop.loop_var: int(loop.extent) for loop in chain}
    for buffer in dict.fromkeys(one.buffer for one in inside if one.stores and not one.local):
        touching = [one for one in inside if one.buffer.same_as(buffer)]
        if not all_apart([by_axis(one, (*extents, *turn)) for one in touching], buffer.shape, extents):
            return f"iterations do not write places of their own in {buffer.name}"
    return None


def unknown(inside: Sequence[Access], setting: Setting) -> str | None:
    """Why a thread would read of its own buffers what it has not written; None where it does not."""
    repeated = [one for statement in setting.before for one in accesses(statement) if one.local and one.stores]
    changed = [*setting.spoiled, *(one for one in inside if one.local and one.stores)]
    for one, stores in reads(inside):
        if not one.local or covered(one, stores):
            continue
        if any(one.buffer.same_as(other.buffer) and not distinct(one, other) for other in changed):
            return f"{one.buffer.name} is kept from one iteration to the next"
        if not covered(one, [other for other in repeated if other.buffer.same_as(one.buffer)]):
            return f"{one.buffer.name} holds nothing before"
    return None


def uncovered(inside: Sequence[Access]) -> Any | None:
    """The first buffer that is read where it has not been written, of accesses in order."""
    return next((one.buffer for one, stores in reads(inside) if not covered(one, stores)), None)


def reads(inside: Sequence[Access]) -> Iterator[tuple[Access, list[Access]]]:
    """Each load with the stores into its buffer before it, of accesses in order."""
    written: dict[Any, list[Access]] = {}
    for one in inside:
        if one.stores:
            written.setdefault(one.buffer, []).append(one)
        else:
            yield one, written.get(one.buffer, [])


def distinct(one: Access, other: Access) -> bool:
    """Whether two accesses of a buffer never touch the same element."""
    a, b = placed(one, ()), placed(other, ())
    return a.high < b.low or b.high < a.low


def covered(load: Access, stores: Sequence[Access]) -> bool:
    """Whether stores before a load have written all that it may read. Loops around both are at the same turn, those
    around a store alone have ended. The last stores are looked at first: of hundreds in a row, one of them is it."""
    spans = []
    for store in reversed(stores):
        common = tuple(variable for variable in store.loops if variable in load.loops)
        read, written = placed(load, common), placed(store, common)
        rest = {variable: extent for variable, extent in store.extents.items() if variable not in common}
        if store.doubts <= load.doubts and read.steps == written.steps and written.whole(rest):
            spans.append((written.low, written.high))
            if within(read, spans):
                return True
    return False


def within(read: Place, spans: Iterable[tuple[int, int]]) -> bool:
    """Whether spans, ends included, cover a place together."""
    reached = read.low
    for low, high in sorted(spans):
        if low <= reached:
            reached = max(reached, high + 1)
    return reached > read.high


@lru_cache(maxsize=100_000)
def placed(one: Access, parallel: tuple[Any, ...]) -> Place:
    return flat(by_axis(one, parallel), one.buffer.shape)


def by_axis(one: Access, parallel: Iterable[Any]) -> list[Place]:
    return places_of(one.indices, one.buffer.shape, parallel, one.extents)
