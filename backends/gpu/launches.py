"""A kernel's loops as launches: each loop nest whose iterations are independent is one, a thread an iteration.

    for step in range(3):                     a loop that the host runs: the body's launches, three times, given `step`
        for i in range(64): P[i] = ...        a launch of 64 threads
        for y, x in grid(8, 8): Y[...] = ...  another, behind it in the queue

Statements that write a thread's own buffers only are repeated by the threads of every launch behind them. What cannot
be proven independent (`parallel.py`) runs in one thread, in the order of the loops, and the reason is kept.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from math import prod
from typing import Any

from bevel.backends.gpu.accesses import accesses, stores_outside
from bevel.backends.gpu.parallel import Setting, chain_of, parallel_loops, uncovered, unknown
from bevel.backends.tir.lazy import tirx

GROUP = 64  # threads of a work-group, where a target says nothing
MOST_TURNS = 1024  # of loops that the host runs, in a call
INDEX = "int32"


@dataclass(frozen=True)
class Launch:
    """One loop nest on the device: `groups` work-groups of `threads`. `body`: its statements, the threads' loops around
    them. `serial`: why it runs in one thread, empty where it does not."""

    body: Any
    groups: int
    threads: int
    turn: tuple[Any, ...] = ()
    serial: str = ""


@dataclass(frozen=True)
class Repeat:
    """Launches that the host repeats, for each value of `variable` below `extent`."""

    variable: Any
    extent: int
    items: tuple[Item, ...]


Item = Launch | Repeat


def launches_of(body: Any, group: int = GROUP) -> tuple[Item, ...]:
    """The launches that together do what `body` does, in their order; buffers of scope local are a thread's own."""
    found = split(statements(body), Setting(), group)
    if isinstance(found, str):
        return (alone((), body, (), found),)
    return found if turns(found) <= MOST_TURNS else (alone((), body, (), f"it would be {turns(found)} launches"),)


def statements(body: Any) -> list[Any]:
    """The statements of a body in order."""
    if isinstance(body, tirx.SeqStmt):
        return [one for part in body.seq for one in statements(part)]
    return [body]


def turns(items: Sequence[Item]) -> int:
    """How often something is launched."""
    return sum(one.extent * turns(one.items) if isinstance(one, Repeat) else 1 for one in items)


def every(items: Sequence[Item]) -> Iterator[Launch]:
    """Each launch once."""
    for one in items:
        if isinstance(one, Repeat):
            yield from every(one.items)
        else:
            yield one


def split(parts: Sequence[Any], setting: Setting, group: int) -> tuple[Item, ...] | str:
    """The launches of some statements; the reason where their own buffers do not let them be apart."""
    launched = [access for part in parts if stores_outside(part) for access in accesses(part)]
    spoiled = (one for one in launched if one.stores and one.local)
    setting = replace(setting, spoiled=(*setting.spoiled, *spoiled))
    repeated: list[Any] = []
    made: list[Item] = []
    for part in parts:
        if not stores_outside(part):
            repeated.append(part)
            continue
        found = launch(part, replace(setting, before=(*setting.before, *repeated)), group)
        if isinstance(found, str):
            return found
        made += found
        if why := unrepeatable(repeated, made):
            return why
    return merged(made)


def launch(part: Any, setting: Setting, group: int) -> tuple[Item, ...] | str:
    """The launches of a statement that others see."""
    if any(int(loop.extent) == 0 for loop in chain_of(part)):
        return ()
    loops = parallel_loops(part, setting)
    if not isinstance(loops, str):
        return (threaded(loops, setting, group),)
    if (chain := chain_of(part)) and int(chain[0].extent) <= MOST_TURNS:
        inner = replace(setting, turn=(*setting.turn, chain[0].loop_var))
        found = split(statements(chain[0].body), inner, group)
        if not isinstance(found, str) and gains(found):
            return (Repeat(chain[0].loop_var, int(chain[0].extent), found),)
    others = replace(setting, spoiled=tuple(one for one in setting.spoiled if one not in accesses(part)))
    if (why := unknown(accesses(part), others)) is not None:
        return why
    return (alone(setting.before, part, setting.turn, loops if chain else ""),)


def gains(items: Sequence[Item]) -> bool:
    """Whether launches that the host repeats are more than one thread that goes through the loop."""
    several = any(one.groups * one.threads > 1 for one in every(items))
    return several and not any(one.serial for one in every(items))


def unrepeatable(repeated: Sequence[Any], made: Sequence[Item]) -> str | None:
    """Why statements cannot be repeated by launches: one of these changes what they read, or they add to what they hold
    themselves."""
    if (why := adding(tuple(repeated))) is not None:
        return why
    read = {one.buffer for part in repeated for one in accesses(part) if not one.local}
    written = {one.buffer for each in every(made) for one in accesses(each.body) if one.stores and not one.local}
    return next((f"{one.name} changes behind where it is read" for one in read if one in written), None)


@lru_cache(maxsize=100)
def adding(repeated: tuple[Any, ...]) -> str | None:
    """Why statements do not begin anew where they are repeated."""
    inside = [one for part in repeated for one in accesses(part)]
    own = {one.buffer for one in inside if one.stores}
    left = uncovered([one for one in inside if one.local and one.buffer in own])
    return None if left is None else f"{left.name} is kept from one loop to the next"


def merged(items: Sequence[Item]) -> tuple[Item, ...]:
    """Neighbours that run in one thread, as single elements do, in one launch, unless both repeat statements."""
    result: list[Item] = []
    for one in items:
        last = result[-1] if result else None
        both = joined(last, one) if isinstance(one, Launch) and isinstance(last, Launch) else None
        if both is None:
            result.append(one)
        else:
            result[-1] = both
    return tuple(result)


def joined(first: Launch, second: Launch) -> Launch | None:
    """Two launches of one thread as one: a body defines its buffers, and the variables of its loops, once."""
    if first.groups * first.threads * second.groups * second.threads > 1:
        return None
    known = statements(first.body)
    again = [one for one in statements(second.body) if not any(one.same_as(other) for other in known)]
    shared = [one for one in statements(second.body) if any(one.same_as(other) for other in known)]
    if not all(isinstance(one, tirx.AllocBuffer) for one in shared):
        return None
    return Launch(tirx.SeqStmt([*known, *again]), 1, 1, second.turn, first.serial or second.serial)


def alone(before: Sequence[Any], part: Any, turn: tuple[Any, ...], why: str) -> Launch:
    """A statement in one thread."""
    return Launch(tirx.SeqStmt([*before, *statements(part)]) if before else part, 1, 1, turn, why)


def threaded(loops: Sequence[Any], setting: Setting, group: int) -> Launch:
    """A nest with its outer loops' iterations numbered, the last loop's fastest, each number a thread."""
    total = prod(int(loop.extent) for loop in loops)
    threads = min(group, total)
    groups = -(-total // threads)
    block, thread, index = (tirx.Var(name, INDEX) for name in ("group", "thread", "index"))
    binds: list[Any] = []
    rest, below = index, total
    for loop in reversed(loops):
        extent = int(loop.extent)
        below //= extent
        place = tirx.floormod(rest, extent) if below > 1 else rest
        variable = loop.loop_var
        wide = str(variable.ty.dtype) != INDEX
        binds.insert(0, tirx.Bind(variable, tirx.Cast(str(variable.ty.dtype), place) if wide else place))
        rest = tirx.floordiv(rest, extent)
    work = tirx.SeqStmt([*setting.before, *binds, *statements(loops[-1].body)])
    if groups * threads != total:
        work = tirx.IfThenElse(index < total, work, None)
    work = tirx.SeqStmt([tirx.Bind(index, block * threads + thread), work])
    for variable, extent, tag in ((thread, threads, "threadIdx.x"), (block, groups, "blockIdx.x")):
        axis = tirx.IterVar(None, tirx.Var(tag.replace(".", "_"), INDEX), 1, tag)  # 1: of threads
        work = tirx.For(variable, 0, extent, tirx.ForKind.THREAD_BINDING, work, axis)
    return Launch(work, groups, threads, setting.turn)
