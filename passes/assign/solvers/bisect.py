"""The least sensitive sites first, as many of them as the user's accuracy allows, width by width.

Sites are ordered by what they lose together with all others: their own power, and their products with the errors of the
sites beside them. For each width from the finest down, the k least sensitive sites get it where it is smaller than what
they have; k is the largest for which the model is accurate enough, found by bisection in about log2(sites) trials of
the real one, and the next width goes on from there.

Source: Schaefer et al. 2023, "Augmenting Hessians with Inter-Layer Dependencies for Mixed-Precision Post-Training
Quantization": the order by a score that interactions augment, the walk over widths, and the bisection. There the
interactions are those of likely pairs; here they are all of them (`bevel.passes.assign.output_noise`).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import numpy as np

from bevel.backends.program.resources import NOTHING, Resource, Resources
from bevel.passes.assign.probe import Floats
from bevel.passes.assign.problem import Assignment, Problem
from bevel.passes.assign.refine import power
from bevel.passes.assign.solvers.base import Passes, Solver, bisected, rising


class Bisect(Solver):
    """Within limits of cost: the first of its walk that keeps them."""

    name: ClassVar[str] = "bisect"

    def best(self, problem: Problem, products: Floats, limits: Resources) -> Assignment | None:
        fitting = [one for one in walk(problem, products) if problem.fits(one, limits)]
        return min(fitting, key=lambda one: power(products, len(problem.formats), one), default=None)

    def path(self, problem: Problem, products: Floats, limits: Resources) -> list[Assignment]:
        return rising(problem, products, [one for one in walk(problem, products) if problem.fits(one, limits)])

    def smallest(self, problem: Problem, products: Floats, limits: Resources, passes: Passes) -> Assignment | None:
        current = problem.finest
        if not passes(current):
            return None
        for format in widths(problem):
            steps = [current, *lowered(problem, products, current, format)]
            possible = [one for one in steps if problem.fits(one, NOTHING)][::-1]
            place = bisected(possible, passes)
            current = possible[place] if place < len(possible) else current  # the finest may be a pair without a kernel
        return current if problem.fits(current, limits) else None


def walk(problem: Problem, products: Floats) -> Iterator[Assignment]:
    current = problem.finest
    yield current
    for format in widths(problem):
        for one in lowered(problem, products, current, format):
            yield one
            current = one


def widths(problem: Problem) -> list[int]:
    """The formats, the most accurate everywhere first."""
    return [int(one) for one in np.argsort(np.where(problem.allowed, problem.losses, 0.0).sum(axis=0), kind="stable")]


def lowered(problem: Problem, products: Floats, current: Assignment, format: int) -> Iterator[Assignment]:
    """`current` with the least sensitive site in `format`, with the two least sensitive ones, and so on; of sites where
    that saves something."""
    formats, found = len(problem.formats), list(current)
    rows = np.arange(len(current)) * formats
    new = products[np.ix_(rows + format, rows + format)]
    scores = np.abs(new).sum(axis=1) if len(rows) else np.zeros(0)
    for site in np.argsort(scores, kind="stable"):
        one = [*found]
        one[site] = format
        if problem.allowed[site, format] and saves(problem, tuple(found), tuple(one)):
            found = one
            yield tuple(found)


def saves(problem: Problem, before: Assignment, after: Assignment) -> bool:
    """Whether constants get smaller, code that is shared left aside, or a result does."""
    return smaller(problem, before) > smaller(problem, after)


def smaller(problem: Problem, assignment: Assignment) -> float:
    own = problem.costs.each[Resource.FLASH][np.arange(len(assignment)), assignment].sum()
    own += sum(
        one.takes[Resource.FLASH][assignment[one.weights], assignment[one.reads]] for one in problem.costs.couples
    )
    filled = sum(problem.filled(moment, assignment) for moment in problem.costs.moments)
    return float(own + filled)


SOLVER = Bisect()
