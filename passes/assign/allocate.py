"""The best formats within budgets, as an integer linear program for HiGHS (scipy.optimize.milp).

x[i, f] = 1 where site i has format f; z[c, f, g] = 1 where the weights of couple c have f and what they multiply has g;
y[k] = 1 where shared part k is needed:

    minimise sum loss[i, f] x[i, f]
    with     sum_f x[i, f] = 1
             sum_g z[c, f, g] = x[weights of c, f],  sum_f z[c, f, g] = x[what c reads, g]
             x[i, f] <= y[k], z[c, f, g] <= y[k] for the users of k
             sum takes[r, i, f] x[i, f] + sum takes[r, c, f, g] z[c, f, g] + sum takes[r, k] y[k] <= limit[r]
             sum takes[m, i, f] x[i, f] <= limit of RAM, for each moment m that is known.

Only x must be integers; z and y then are. Source of the integer program: Yao et al. 2021, "HAWQV3: Dyadic Neural
Network Quantization"; code that formats share, and that a first use therefore pays for, is the fixed charge of facility
location.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from bevel.backends.program.resources import NOTHING, Resource, Resources
from bevel.passes.assign.probe import Floats
from bevel.passes.assign.problem import Assignment, Problem

if TYPE_CHECKING:  # a recipe's passes are found by importing all of them, and SciPy's solvers take as long as the rest
    from scipy.optimize import LinearConstraint

SECONDS = 20.0  # such programs take a tenth of one; what was found by then is used
GAP = 1e-6  # relative, to the optimum
Row = dict[int, float]  # of the constraints: {column: coefficient}


def allocate(problem: Problem, limits: Resources) -> Assignment | None:
    """The assignment of least loss within `limits`, None where there is none."""
    return solve(problem, problem.losses, limits)


def smallest(problem: Problem, limits: Resources = NOTHING) -> Assignment | None:
    """The assignment of least flash within `limits`; of several, that of least loss, which counts for under a byte."""
    worst = float(np.where(problem.allowed, problem.losses, 0.0).max(axis=1).sum()) or 1.0
    return solve(problem, 0.5 * problem.losses / worst, limits, minimised=Resource.FLASH)


def least_each(problem: Problem, name: Resource) -> Assignment | None:
    """The assignment that takes least of a resource; of several, that of least loss."""
    worst = float(np.where(problem.allowed, problem.losses, 0.0).max(axis=1).sum()) or 1.0
    return solve(problem, 0.5 * problem.losses / worst, NOTHING, minimised=name)


def solve(problem: Problem, weights: Floats, limits: Resources, minimised: Resource | None = None) -> Assignment | None:
    """Minimise the sum of `weights` [sites, formats], and of what is taken of the resource `minimised`."""
    from scipy.optimize import Bounds, milp

    columns = Variables(problem)
    objective = columns.spread(np.where(problem.allowed, weights, 0.0))
    if minimised is not None:
        objective = objective + columns.taken(minimised)
    rows = [*columns.choices(), *columns.of_couples(), *columns.charges()]
    constraints = [columns.constraint(one, *bounds) for one, bounds in rows]
    for name in problem.resources:
        if name in limits:
            constraints += [at_most(row, limits[name] - beside) for row, beside in columns.limited(name)]
    found = milp(
        objective / (float(np.max(np.abs(objective), initial=0.0)) or 1.0),
        integrality=columns.integral,
        bounds=Bounds(np.zeros(columns.count), columns.upper),
        constraints=constraints,
        options={"time_limit": SECONDS, "mip_rel_gap": GAP},
    )
    if found.x is None:
        return None
    chosen = found.x[: problem.losses.size].reshape(problem.losses.shape)
    return tuple(int(one) for one in np.argmax(np.where(problem.allowed, chosen, -1.0), axis=1))


class Variables:
    """The variables of the program in order: x, z, y."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.sites, self.formats = len(problem.sites), len(problem.formats)
        self.first_z = self.sites * self.formats
        self.first_y = self.first_z + len(problem.costs.couples) * self.formats**2
        self.count = self.first_y + len(problem.costs.parts)
        self.integral = (np.arange(self.count) < self.first_z).astype(int)
        self.upper = np.concatenate([problem.allowed.ravel().astype(float), np.ones(self.count - self.first_z)])
        self.upper[[self.z(k, *pair) for k, one in enumerate(problem.costs.couples) for pair in one.refused]] = 0

    def x(self, site: int, format: int) -> int:
        return site * self.formats + format

    def z(self, couple: int, weights: int, reads: int) -> int:
        return self.first_z + (couple * self.formats + weights) * self.formats + reads

    def spread(self, each: Floats) -> Floats:
        """A value for each x, [sites, formats], and 0 for all other columns."""
        return np.concatenate([each.ravel(), np.zeros(self.count - self.first_z)])

    def taken(self, name: Resource) -> Floats:
        """What each column takes of a resource that adds up."""
        costs, zeros = self.problem.costs, np.zeros((self.formats, self.formats))
        of_couples = [one.takes.get(name, zeros).ravel() for one in costs.couples]
        of_parts = np.array([part.takes.get(name, 0) for part in costs.parts], float)
        each = np.where(self.problem.allowed, costs.each[name], 0.0)
        return np.concatenate([each.ravel(), *of_couples, of_parts])

    def limited(self, name: Resource) -> Iterator[tuple[Floats, float]]:
        """(what each column takes, what is taken beside) of a resource, or of RAM at each moment."""
        if name == Resource.RAM:
            for moment in self.problem.costs.moments:
                row = self.spread(np.where(self.problem.allowed, moment.takes, 0.0))
                if moment.couple is not None:
                    first = self.z(moment.couple, 0, 0)
                    row[first : first + self.formats**2] = self.scratch(moment.couple)
                yield row, moment.beside
        else:
            yield self.taken(name), self.problem.costs.beside.get(name, 0)

    def scratch(self, couple: int) -> Floats:
        return self.problem.costs.couples[couple].takes[Resource.ARENA].ravel()

    def choices(self) -> Iterator[tuple[list[Row], tuple[float, float]]]:
        """One format for each site."""
        yield [{self.x(site, one): 1.0 for one in range(self.formats)} for site in range(self.sites)], (1, 1)

    def of_couples(self) -> Iterator[tuple[list[Row], tuple[float, float]]]:
        """z agrees with both its x."""
        rows = []
        for k, one in enumerate(self.problem.costs.couples):
            for format in range(self.formats):
                others = range(self.formats)
                rows.append({self.x(one.weights, format): -1.0} | {self.z(k, format, g): 1.0 for g in others})
                rows.append({self.x(one.reads, format): -1.0} | {self.z(k, f, format): 1.0 for f in others})
        if rows:
            yield rows, (0, 0)

    def charges(self) -> Iterator[tuple[list[Row], tuple[float, float]]]:
        """Who uses a part pays for it."""
        rows = []
        for k, part in enumerate(self.problem.costs.parts):
            used = [self.x(*one) for one in sorted(part.users)] + [self.z(*one) for one in sorted(part.couples)]
            rows += [{column: 1.0, self.first_y + k: -1.0} for column in used]
        if rows:
            yield rows, (-np.inf, 0)

    def constraint(self, rows: list[Row], low: float, high: float) -> LinearConstraint:
        from scipy.optimize import LinearConstraint
        from scipy.sparse import csr_array

        places = np.repeat(np.arange(len(rows)), [len(row) for row in rows])
        columns = [column for row in rows for column in row]
        values = [value for row in rows for value in row.values()]
        return LinearConstraint(csr_array((values, (places, columns)), shape=(len(rows), self.count)), low, high)


def at_most(row: Floats, limit: float) -> LinearConstraint:
    """Scaled to a limit near 1, where the solver's tolerances are meant to be."""
    from scipy.optimize import LinearConstraint
    from scipy.sparse import csr_array

    scale = float(np.max(np.abs(row), initial=1.0)) or 1.0
    return LinearConstraint(csr_array(row[None, :] / scale), -np.inf, limit / scale)
