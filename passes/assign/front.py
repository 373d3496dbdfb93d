"""The front of loss over flash: the best assignment for each of a series of budgets."""

from __future__ import annotations

from functools import partial

import numpy as np

from bevel.backends.program.resources import Resource, Resources
from bevel.passes.assign.allocate import allocate, smallest
from bevel.passes.assign.probe import Floats
from bevel.passes.assign.problem import Assignment, Problem
from bevel.passes.assign.refine import power, refine


def front(problem: Problem, products: Floats, limits: Resources, count: int) -> list[Assignment]:
    """Up to `count` assignments within `limits`, smallest first, each with less loss than those before it.

    Empty where nothing is within `limits`.
    """
    least, best = smallest(problem, limits), allocate(problem, limits)
    if least is None or best is None:
        return []
    flash_of = partial(problem.amount, Resource.FLASH)
    formats = len(problem.formats)
    found = [least, refine(problem, products, best, limits)]
    for flash in np.linspace(flash_of(least), flash_of(best), count):
        one = limits | {Resource.FLASH: float(np.ceil(flash))}
        if (assignment := allocate(problem, one)) is not None:
            found.append(refine(problem, products, assignment, one))
    kept: list[Assignment] = []
    for assignment in sorted(set(found), key=lambda one: (flash_of(one), power(products, formats, one))):
        if not kept or power(products, formats, assignment) < power(products, formats, kept[-1]):
            kept.append(assignment)
    return kept
