"""A population of assignments, mixed and mutated, of which those that fit and err least go on.

Two parents, each the better of a few drawn at random, give each site's format to a child, some of which change; what
breaks a limit counts as worse than all that break none. Wang et al. 2020, "APQ: Joint Search for Network Architecture,
Pruning and Quantization Policy", section 3, search so over predicted accuracy and looked-up costs; there with a learned
predictor, here with the power of summed errors.

It needs no linear costs, and finds what pairs of errors do without a second step; it proves nothing. Drawn from a fixed
seed.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from bevel.backends.program.resources import NOTHING, Resource, Resources
from bevel.passes.assign.allocate import smallest
from bevel.passes.assign.probe import Floats
from bevel.passes.assign.problem import Assignment, Problem
from bevel.passes.assign.refine import power
from bevel.passes.assign.solvers.base import Solver, rising

POPULATION, GENERATIONS, KEPT = 64, 60, 8
TOURNAMENT = 3  # drawn for each parent
MUTATIONS = 1.5  # sites of a child, on average
POINTS = 8  # budgets of a path
SEED = 0


class Genetic(Solver):
    name: ClassVar[str] = "genetic"

    def best(self, problem: Problem, products: Floats, limits: Resources) -> Assignment | None:
        rng = np.random.default_rng(SEED)
        population = first(problem, rng)
        ranked = order(problem, products, limits, population)
        for _ in range(GENERATIONS):
            children = [child(problem, ranked, rng) for _ in range(POPULATION - KEPT)]
            ranked = order(problem, products, limits, [*ranked[:KEPT], *children])
        return ranked[0] if problem.fits(ranked[0], limits) else None

    def path(self, problem: Problem, products: Floats, limits: Resources) -> list[Assignment]:
        least = smallest(problem, limits)
        if least is None:
            return []
        low, high = (problem.amount(Resource.FLASH, one) for one in (least, problem.finest))
        most = limits.get(Resource.FLASH, high)
        wanted = [limits | {Resource.FLASH: min(float(flash), most)} for flash in np.linspace(low, high, POINTS)]
        found = [one for limit in wanted if (one := self.best(problem, products, limit)) is not None]
        return rising(problem, products, [least, *found])


def first(problem: Problem, rng: np.random.Generator) -> list[Assignment]:
    """What takes least, each format everywhere, and assignments drawn at random."""
    given = [problem.finest, *(problem.uniform(format) for format in range(len(problem.formats)))]
    if (least := smallest(problem)) is not None:
        given.append(least)
    choices = [row.nonzero()[0] for row in problem.allowed]
    drawn = [tuple(int(rng.choice(row)) for row in choices) for _ in range(POPULATION - len(given))]
    return [*given, *drawn]


def order(problem: Problem, products: Floats, limits: Resources, population: list[Assignment]) -> list[Assignment]:
    """Those within the limits by their power, then the others by how far they are beyond."""
    formats = len(problem.formats)

    def key(one: Assignment) -> tuple[float, float, Assignment]:
        takes = problem.takes(one)
        over = sum(more / max(takes[name], 1.0) for name, more in takes.beyond(limits).items())
        refused = 0.0 if problem.fits(one, NOTHING) else 1.0
        return over + refused, power(products, formats, one), one

    return sorted(set(population), key=key)


def child(problem: Problem, ranked: list[Assignment], rng: np.random.Generator) -> Assignment:
    mother, father = (ranked[int(rng.integers(len(ranked), size=TOURNAMENT).min())] for _ in range(2))
    sites = len(mother)
    found = np.where(rng.random(sites) < 0.5, mother, father)
    for site in np.flatnonzero(rng.random(sites) < MUTATIONS / sites):
        found[site] = rng.choice(problem.allowed[site].nonzero()[0])
    return tuple(int(one) for one in found)


SOLVER = Genetic()
