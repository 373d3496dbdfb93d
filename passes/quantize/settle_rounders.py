"""One rounder for each product so that the errors of all together leave most of the model's results.

    accept a change of rounders:  sum(d) > CLEARLY * s(d) * sqrt(n),     d = error before - error after, of each sample

The best rounder of each product by itself is where it starts: how errors of several products add up or cancel is seen
in the model's results alone. First one rounder for all is tried in its place, then each product's other rounders, one
product after the other, twice. Before and after are compared sample by sample, and a change must be better by two
standard errors of what they differ by: what comes and goes with the samples is not followed. A change that is no better
on the first fold is dropped there.

Price: a run of the float model for each sample and change that is tried.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count

import numpy as np
from numpy.typing import NDArray

from bevel.calib.rounding import rounder_names
from bevel.passes.quantize.result_probe import ResultProbe

CLEARLY = 2.0  # standard errors: nineteen of twenty differences that are none are left alone
LEAST = 8  # samples, of which two halves of a difference can be told apart
ROUNDS = 2  # through all products: the third changed nothing in any network of ours

Way = list[str]  # the rounder of each product
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class SettledWay:
    """way: the rounders; swayed: of each product whose rounder the model's results decided, the dB that were left of
    these before and after."""

    way: Way
    swayed: Mapping[int, tuple[float, float]]


def trials(names: Iterable[Sequence[str]]) -> int:
    """How often the model is run for a sample at most. names: the rounders that each group can have."""
    return 1 + len(rounder_names()) + ROUNDS * sum(len(one) - 1 for one in names)


def settled(
    probe: ResultProbe, start: Way, groups: Sequence[Sequence[int]], names: Sequence[Sequence[str]]
) -> SettledWay:
    """groups: products that share weights; names: the rounders that each product can have."""
    first = sum(sample.fold == 0 for sample in probe.samples)
    way, errors = list(start), np.fromiter(probe.errors(start), np.float64)
    swayed: dict[int, tuple[float, float]] = {}
    for places, other in proposals(way, groups, names):
        found = better(errors, probe.errors(other), first)
        if found is not None:
            sway = (decibels(errors), decibels(found))
            swayed |= dict.fromkeys((place for place in places if other[place] != way[place]), sway)
            way[:], errors = other, found
    kept = {place: sway for place, sway in swayed.items() if way[place] != start[place]}
    return SettledWay(way, kept)


def proposals(
    way: Way, groups: Sequence[Sequence[int]], names: Sequence[Sequence[str]]
) -> Iterator[tuple[Sequence[int], Way]]:
    """Ways to round beside `way`, which changes as they are taken, with the products that they change."""
    everywhere = range(len(way))
    asked = [list(way)]
    for name in rounder_names():
        other = [name if name in names[place] else way[place] for place in everywhere]
        if other not in asked:
            asked.append(other)
            yield everywhere, other
    for _ in range(ROUNDS):
        before = list(way)
        for places in groups:
            for name in names[places[0]]:
                if name != way[places[0]]:
                    yield places, [name if place in places else one for place, one in zip(count(), way)]
        if way == before:
            return


def better(before: Floats, trial: Iterable[float], first: int) -> Floats | None:
    """The errors of `trial`, if they are clearly less; None as soon as they are not after `first` of them."""
    found = np.full_like(before, np.nan)
    for place, error in enumerate(trial):
        found[place] = error
        if place + 1 == first and not found[:first].sum() < before[:first].sum():
            return None
    gained = before - found
    clear: bool = gained.sum() > CLEARLY * gained.std(ddof=1) * np.sqrt(gained.size)
    return found if clear else None


def decibels(errors: Floats) -> float:
    """What is left of the results: errors are over their powers already."""
    total = errors.sum()
    return float(-10 * np.log10(total)) if total > 0 else np.inf
