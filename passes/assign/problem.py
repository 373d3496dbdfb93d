"""The choice to be made: for each site one of several formats; what each loses and costs, and the budgets."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bevel.passes.assign.probe import Floats

Assignment = tuple[int, ...]  # the format of each site, by index


@dataclass(frozen=True)
class Part:
    """Something that is in flash once, whichever of `users` (site, format) needs it: a kernel's code, its helpers."""

    bytes: int
    users: frozenset[tuple[int, int]]


@dataclass(frozen=True)
class Costs:
    """flash: bytes of constants; work: instructions or seconds; both [sites, formats].

    parts: shared code. flash_beside, work_beside: all that no choice changes.
    """

    flash: Floats
    work: Floats
    parts: tuple[Part, ...] = ()
    flash_beside: float = 0.0
    work_beside: float = 0.0


@dataclass(frozen=True)
class Limits:
    """What the sums may not exceed; None: anything goes."""

    flash: float | None = None
    work: float | None = None


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

    def flash(self, assignment: Assignment) -> float:
        chosen = set(enumerate(assignment))
        parts = sum(part.bytes for part in self.costs.parts if part.users & chosen)
        constants = self.costs.flash[np.arange(len(assignment)), assignment].sum()
        return float(self.costs.flash_beside + constants + parts)

    def work(self, assignment: Assignment) -> float:
        return float(self.costs.work_beside + self.costs.work[np.arange(len(assignment)), assignment].sum())

    def fits(self, assignment: Assignment, limits: Limits) -> bool:
        flash = limits.flash is None or self.flash(assignment) <= limits.flash
        return flash and (limits.work is None or self.work(assignment) <= limits.work)


def named(problem: Problem, assignment: Assignment) -> dict[str, str]:
    """{site: format}"""
    return {site: problem.formats[format] for site, format in zip(problem.sites, assignment, strict=True)}
