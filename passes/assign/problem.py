"""The choice to be made: for each site one of several formats; what each loses and costs, and the budgets.

A site is something that has a format of its own: the weights of a node, or a result, which all tensors that share its
scale have with it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal, NamedTuple

import numpy as np

from bevel.backends.program.resources import NOTHING, Resource, Resources
from bevel.passes.assign.probe import Floats

Assignment = tuple[int, ...]  # the format of each site, by index
Part = Literal["weights", "result"]


class FormatSite(NamedTuple):
    """node: of the canonical graph, or one of its inputs."""

    node: str
    part: Part = "weights"

    def __str__(self) -> str:
        return f"{self.part} of {self.node}"


@dataclass(frozen=True)
class Couple:
    """What a product by weights takes, which the formats of both its factors decide. weights, reads: two sites, by
    index; takes: by resource [formats of the weights, formats of what is read], of the arena its scratch; refused:
    pairs of formats that have no kernel."""

    weights: int
    reads: int
    takes: Mapping[Resource, Floats]
    refused: frozenset[tuple[int, int]] = frozenset()


@dataclass(frozen=True)
class SharedPart:
    """Something that a product has once, whichever of its users needs it: a kernel's code, its helpers.

    users: (site, format); couples: (couple, format of the weights, format of what is read).
    """

    takes: Resources
    users: frozenset[tuple[int, int]] = frozenset()
    couples: frozenset[tuple[int, int, int]] = frozenset()


@dataclass(frozen=True)
class Moment:
    """What is in RAM while a call runs: beside: bytes that no choice changes; takes: [sites, formats]; couple: the one
    that it computes, if it is one, whose scratch is there then."""

    beside: float
    takes: Floats
    couple: int | None = None


@dataclass(frozen=True)
class Costs:
    """each: by resource, what each site takes in each format, [sites, formats]: bytes of constants, instructions.

    couples: what products take beyond that. parts: shared code. beside: all that no choice changes. moments: those that
    are known to be the fullest; RAM is what the fullest takes.
    """

    each: Mapping[Resource, Floats]
    parts: tuple[SharedPart, ...] = ()
    beside: Resources = NOTHING
    couples: tuple[Couple, ...] = ()
    moments: tuple[Moment, ...] = ()


@dataclass(frozen=True)
class Problem:
    """losses: [sites, formats], to be made small as a sum. allowed: [sites, formats], which choices there are."""

    sites: tuple[FormatSite, ...]
    formats: tuple[str, ...]
    losses: Floats
    costs: Costs
    allowed: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]

    def uniform(self, format: int) -> Assignment:
        """`format` at every site that may have it, the one that loses least elsewhere."""
        return tuple(
            format if row[format] else int(np.argmin(np.where(row, losses, np.inf)))
            for row, losses in zip(self.allowed, self.losses, strict=True)
        )

    def together(self, weights: int, result: int) -> Assignment:
        """`weights` for all weights and `result` for all results that may have it, `uniform` elsewhere."""
        of_weights, of_results = self.uniform(weights), self.uniform(result)
        pairs = zip(self.sites, of_weights, of_results, strict=True)
        return tuple(one if site.part == "weights" else other for site, one, other in pairs)

    @property
    def finest(self) -> Assignment:
        """The format that loses least at each site."""
        return tuple(int(one) for one in np.argmin(np.where(self.allowed, self.losses, np.inf), axis=1))

    def loss(self, assignment: Assignment) -> float:
        return float(self.losses[self.sites_index, assignment].sum())

    @property
    def resources(self) -> tuple[Resource, ...]:
        """Those that the costs know."""
        ram = (Resource.RAM,) if self.costs.moments else ()
        return (*self.costs.each, *ram)

    def takes(self, assignment: Assignment) -> Resources:
        """Of each resource that the costs know, in all."""
        return Resources({name: self.amount(name, assignment) for name in self.resources})

    def amount(self, name: Resource, assignment: Assignment) -> float:
        if name == Resource.RAM:
            return max(self.filled(moment, assignment) for moment in self.costs.moments)
        own = self.costs.each[name][self.sites_index, assignment].sum()
        own += sum(
            one.takes[name][assignment[one.weights], assignment[one.reads]]
            for one in self.costs.couples
            if name in one.takes
        )
        return float(self.costs.beside.get(name, 0) + own + self.of_parts(name, assignment))

    def of_parts(self, name: Resource, assignment: Assignment) -> float:
        chosen = set(enumerate(assignment))
        pairs = {(k, assignment[one.weights], assignment[one.reads]) for k, one in enumerate(self.costs.couples)}
        return sum(
            part.takes.get(name, 0)
            for part in self.costs.parts
            if not (part.users.isdisjoint(chosen) and part.couples.isdisjoint(pairs))
        )

    def filled(self, moment: Moment, assignment: Assignment) -> float:
        own = moment.beside + float(moment.takes[self.sites_index, assignment].sum())
        if moment.couple is None:
            return own
        one = self.costs.couples[moment.couple]
        return own + float(one.takes[Resource.ARENA][assignment[one.weights], assignment[one.reads]])

    @cached_property
    def sites_index(self) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
        return np.arange(len(self.sites))

    def fits(self, assignment: Assignment, limits: Resources) -> bool:
        if any((assignment[one.weights], assignment[one.reads]) in one.refused for one in self.costs.couples):
            return False
        return self.takes(assignment).within(limits)

    def with_moments(self, moments: Iterable[Moment]) -> Problem:
        """The same, knowing more of the fullest moments."""
        return replace(self, costs=replace(self.costs, moments=(*self.costs.moments, *moments)))


def named(problem: Problem, assignment: Assignment) -> dict[FormatSite, str]:
    """{site: format}"""
    return {site: problem.formats[format] for site, format in zip(problem.sites, assignment, strict=True)}


def everywhere(problem: Problem, assignment: Assignment) -> str:
    """'int8 everywhere', or the formats of weights and those of results where they are different ones."""
    parts: dict[str, list[str]] = {}
    for site, name in named(problem, assignment).items():
        parts.setdefault(site.part, []).append(name)
    listed = {part: ", ".join(dict.fromkeys(names)) for part, names in parts.items()}
    if len(set(listed.values())) == 1:
        return f"{listed['weights']} everywhere"
    return f"weights in {listed['weights']} and results in {listed['result']}"
