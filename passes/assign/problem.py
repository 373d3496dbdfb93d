"""The choice to be made: for each site one of several formats; what each loses and costs, and the budgets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from bevel.backends.program.resources import NOTHING, Resource, Resources
from bevel.passes.assign.probe import Floats

Assignment = tuple[int, ...]  # the format of each site, by index


@dataclass(frozen=True)
class SharedPart:
    """Something that a product has once, whichever of `users` (site, format) needs it: a kernel's code, its helpers."""

    takes: Resources
    users: frozenset[tuple[int, int]]


@dataclass(frozen=True)
class Costs:
    """each: by resource, what each site takes in each format, [sites, formats]: bytes of constants, instructions.

    parts: shared code. beside: all that no choice changes.
    """

    each: Mapping[Resource, Floats]
    parts: tuple[SharedPart, ...] = ()
    beside: Resources = NOTHING


@dataclass(frozen=True)
class Problem:
    """losses: [sites, formats], to be made small as a sum. allowed: [sites, formats], which choices there are."""

    sites: tuple[str, ...]
    formats: tuple[str, ...]
    losses: Floats
    costs: Costs
    allowed: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]

    def uniform(self, format: int) -> Assignment:
        """`format` at every site that may have it, the site's first allowed one elsewhere."""
        return tuple(format if row[format] else int(np.argmax(row)) for row in self.allowed)

    def loss(self, assignment: Assignment) -> float:
        return float(self.losses[np.arange(len(assignment)), assignment].sum())

    def takes(self, assignment: Assignment) -> Resources:
        """Of each resource that the costs know, in all."""
        return Resources({name: self.amount(name, assignment) for name in self.costs.each})

    def amount(self, name: Resource, assignment: Assignment) -> float:
        chosen = set(enumerate(assignment))
        parts = sum(part.takes.get(name, 0) for part in self.costs.parts if part.users & chosen)
        own = self.costs.each[name][np.arange(len(assignment)), assignment].sum()
        return float(self.costs.beside.get(name, 0) + own + parts)

    def fits(self, assignment: Assignment, limits: Resources) -> bool:
        return self.takes(assignment).within(limits)


def named(problem: Problem, assignment: Assignment) -> dict[str, str]:
    """{site: format}"""
    return {site: problem.formats[format] for site, format in zip(problem.sites, assignment, strict=True)}
