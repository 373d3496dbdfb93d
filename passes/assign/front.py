"""The front of loss over flash: the best assignment for each of a series of budgets."""

from __future__ import annotations

import numpy as np

from bevel.passes.assign.allocate import allocate, smallest
from bevel.passes.assign.probe import Floats
from bevel.passes.assign.problem import Assignment, Limits, Problem
from bevel.passes.assign.refine import power, refine


def front(problem: Problem, products: Floats, limits: Limits, count: int) -> list[Assignment]:
    """Up to `count` assignments within `limits`, smallest first, each with less loss than those before it.

    Empty where nothing is within `limits`.
    """
    least, best = smallest(problem, limits), allocate(problem, limits)
    if least is None or best is None:
        return []
    formats = len(problem.formats)
    found = [least, refine(problem, products, best, limits)]
    for flash in np.linspace(problem.flash(least), problem.flash(best), count):
        one = Limits(float(np.ceil(flash)), limits.work)
        if (assignment := allocate(problem, one)) is not None:
            found.append(refine(problem, products, assignment, one))
    kept: list[Assignment] = []
    for assignment in sorted(set(found), key=lambda one: (problem.flash(one), power(products, formats, one))):
        if not kept or power(products, formats, assignment) < power(products, formats, kept[-1]):
            kept.append(assignment)
    return kept
