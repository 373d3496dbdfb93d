"""The integer program (`bevel.passes.assign.allocate`), improved by changes of one or two sites.

Exact in the sum of losses; `refine` then counts how errors of two sites act together. What a format adds beside the
others' errors of an answer, |e|^2 + 2 <e, the others>, are losses that add up again near it: the program is asked with
them, too (Frank and Wolfe 1956, "An algorithm for quadratic programming": linear steps). The path is the answer to a
series of budgets of flash.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from bevel.backends.program.resources import Resources
from bevel.passes.assign.allocate import allocate, solve
from bevel.passes.assign.front import front
from bevel.passes.assign.probe import Floats
from bevel.passes.assign.problem import Assignment, Problem
from bevel.passes.assign.refine import power, refine
from bevel.passes.assign.solvers.base import Solver

STEPS = 4
FRONT = 48  # budgets that the program is asked for


class Milp(Solver):
    name: ClassVar[str] = "milp"

    def best(self, problem: Problem, products: Floats, limits: Resources) -> Assignment | None:
        start = allocate(problem, limits)
        if start is None:
            return None
        best = refine(problem, products, start, limits)
        for _ in range(STEPS):
            near = solve(problem, losses_beside(problem, products, best), limits)
            found = best if near is None else refine(problem, products, near, limits)
            if power(products, len(problem.formats), found) >= power(products, len(problem.formats), best):
                break
            best = found
        return best

    def path(self, problem: Problem, products: Floats, limits: Resources) -> list[Assignment]:
        return front(problem, products, limits, FRONT)


def losses_beside(problem: Problem, products: Floats, assignment: Assignment) -> Floats:
    """[sites, formats]: what each format of a site adds to the power where all others stay as they are."""
    formats = len(problem.formats)
    rows = np.arange(len(assignment)) * formats + np.array(assignment, int)
    own = np.repeat(rows, formats)
    with_others = products[:, rows].sum(axis=1) - products[np.arange(len(own)), own]
    return np.asarray((np.diag(products) + 2 * with_others).reshape(-1, formats))


SOLVER = Milp()
