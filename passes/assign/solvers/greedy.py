"""From the finest formats down, always the change that saves most for what it loses.

All sites begin with the format that loses least; in each round one site gets the format by which the limits are missed
least for the power of errors that it adds, until they hold. Tai et al. 2024, "MPTQ-ViT: Mixed-Precision Post-Training
Quantization for Vision Transformer", describe this walk with compression in place of limits.

It looks one change ahead, so that what only two changes save (the last users of a kernel) is found late.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from bevel.backends.program.resources import NOTHING, Resource, Resources
from bevel.passes.assign.probe import Floats
from bevel.passes.assign.problem import Assignment, Problem
from bevel.passes.assign.refine import changed, power
from bevel.passes.assign.solvers.base import Solver, rising

LEAST = 1e-12  # of the power that the coarsest formats add: what a change that adds none is taken for


class Greedy(Solver):
    name: ClassVar[str] = "greedy"

    def best(self, problem: Problem, products: Floats, limits: Resources) -> Assignment | None:
        return next((one for one in descent(problem, products, limits) if problem.fits(one, limits)), None)

    def path(self, problem: Problem, products: Floats, limits: Resources) -> list[Assignment]:
        flash = limits | {Resource.FLASH: 0.0}  # to the end
        found = [one for one in descent(problem, products, flash) if problem.fits(one, limits)]
        return rising(problem, products, found)


def descent(problem: Problem, products: Floats, limits: Resources) -> Iterator[Assignment]:
    """From the finest formats to where no change saves anything that `limits` ask for."""
    current = problem.finest
    yield current
    while (found := step(problem, products, current, limits)) is not None:
        current = found
        yield current


def step(problem: Problem, products: Floats, current: Assignment, limits: Resources) -> Assignment | None:
    """The change of one site with the least added power for what it brings nearer to the limits; None without any."""
    formats = len(problem.formats)
    now, missed = power(products, formats, current), excess(problem, current, limits)
    floor = LEAST * (float(problem.losses.max()) or 1.0)
    best, least = None, float("inf")
    for site, row in enumerate(problem.allowed):
        for format in row.nonzero()[0].tolist():
            one = changed(current, ((site, format),))
            saved = missed - excess(problem, one, limits)
            if saved <= 0 or not problem.fits(one, NOTHING):
                continue
            price = max(power(products, formats, one) - now, floor) / saved
            if price < least:
                best, least = one, price
    return best


def excess(problem: Problem, assignment: Assignment, limits: Resources) -> float:
    """By how much limits are missed, in shares of what the finest formats take."""
    takes, whole = problem.takes(assignment), problem.takes(problem.finest)
    return sum(over / (whole[name] or 1.0) for name, over in takes.beyond(limits).items())


SOLVER = Greedy()
