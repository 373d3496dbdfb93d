"""Where an access of a buffer can lie: steps of the loops that may run in parallel, and what everything else adds.

    y[row * 8 + channel + 3]        row parallel, channel in [0, 8)        {row: 8}, 3 .. 10

The index of an axis is such a sum, or it is not, as where it comes out of another buffer: then it lies somewhere on its
axis, and nothing else is known of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any

from bevel.backends.tir.lazy import tirx

Extents = Mapping[Any, int]  # of loop variables, at most


@dataclass(frozen=True)
class Place:
    """Elements from the buffer's first: `steps` of each parallel loop's variable, and between `low` and `high` beside
    it: `turns` are the steps of the other loops, `sure` says that nothing else adds to them."""

    steps: Mapping[Any, int] = field(default_factory=dict)
    turns: Mapping[Any, int] = field(default_factory=dict)
    low: int = 0
    high: int = 0
    sure: bool = True

    def plus(self, other: Place, times: int = 1) -> Place:
        ends = times * other.low, times * other.high
        steps, turns = added(self.steps, other.steps, times), added(self.turns, other.turns, times)
        return Place(steps, turns, self.low + min(ends), self.high + max(ends), self.sure and other.sure)

    @property
    def number(self) -> int | None:
        """What it is, if nothing changes it."""
        return None if self.steps or self.low != self.high else self.low

    def whole(self, extents: Extents) -> bool:
        """Whether every element from `low` to `high` is reached as the other loops run, which do so that often."""
        reach = 0
        for variable, step in sorted(self.turns.items(), key=lambda one: abs(one[1])):
            if abs(step) > reach + 1:
                return False
            reach += abs(step) * (extents[variable] - 1)
        return self.sure and reach == self.high - self.low


def added(one: Mapping[Any, int], other: Mapping[Any, int], times: int) -> dict[Any, int]:
    total = {name: one.get(name, 0) + times * other.get(name, 0) for name in (*one, *other)}
    return {name: step for name, step in total.items() if step}


def places_of(indices: Sequence[Any], shape: Sequence[Any], parallel: Iterable[Any], inner: Extents) -> list[Place]:
    """Where an access lies on each axis. `parallel`: variables of loops that may run in parallel; `inner`: those of
    other loops, with their extents."""
    variables = frozenset(parallel)
    found = [linear(index, variables, inner) for index in indices]
    ends = (Place(low=0, high=int(size) - 1, sure=False) for size in shape)
    return [end if one is None else one for one, end in zip(found, ends, strict=True)]


def flat(places: Sequence[Place], shape: Sequence[Any]) -> Place:
    """The same in elements from the buffer's first."""
    result = Place()
    for axis, place in enumerate(places):
        result = result.plus(place, prod(int(size) for size in shape[axis + 1 :]))
    return result


def linear(index: Any, parallel: frozenset[Any], inner: Extents) -> Place | None:
    """An index that is a sum of loop variables times constants; None for others."""
    if isinstance(index, tirx.IntImm):
        return Place(low=int(index.value), high=int(index.value))
    if isinstance(index, tirx.Var):
        if index in parallel:
            return Place({index: 1})
        return Place({}, {index: 1}, 0, inner[index] - 1) if inner.get(index, 0) > 0 else None
    if isinstance(index, tirx.Cast):
        return linear(index.value, parallel, inner)
    if not isinstance(index, tirx.Add | tirx.Sub | tirx.Mul):
        return None
    a, b = linear(index.a, parallel, inner), linear(index.b, parallel, inner)
    if a is None or b is None:
        return None
    if not isinstance(index, tirx.Mul):
        return a.plus(b, 1 if isinstance(index, tirx.Add) else -1)
    if b.number is not None:
        return Place().plus(a, b.number)
    return None if a.number is None else Place().plus(b, a.number)


def bound_of(extent: Any) -> int | None:
    """A loop's extent, or the most that it can be; None where nothing says it."""
    if isinstance(extent, tirx.IntImm):
        return int(extent.value)
    if isinstance(extent, tirx.Cast):
        return bound_of(extent.value)
    if isinstance(extent, tirx.Min):
        return min((one for one in (bound_of(extent.a), bound_of(extent.b)) if one is not None), default=None)
    return None


def apart(places: Sequence[Place], parallel: Extents) -> bool:
    """Whether every iteration of the parallel loops that `places` step with has a window to itself in which all of them
    lie: all take the same steps, and each step is longer than what all shorter ones reach."""
    steps = places[0].steps
    if any(place.steps != steps for place in places):
        return False
    reach = max(place.high for place in places) - min(place.low for place in places)
    running = [(abs(step), parallel.get(variable, 1)) for variable, step in steps.items()]
    for step, extent in sorted(one for one in running if one[1] > 1):
        if step <= reach:
            return False
        reach += step * (extent - 1)
    return True


def all_apart(accesses: Sequence[Sequence[Place]], shape: Sequence[Any], parallel: Extents) -> bool:
    """Whether iterations of the parallel loops never touch the same element: each access is given by its axes. Either
    in elements, or on each axis for itself: what is the same on all axes is then of one iteration."""
    running = {variable for variable, extent in parallel.items() if extent > 1}
    if any(not running <= {variable for place in one for variable in place.steps} for one in accesses):
        return False
    by_axis = all(apart(axis, parallel) for axis in zip(*accesses, strict=True))
    return by_axis or apart([flat(one, shape) for one in accesses], parallel)
