"""The best formats within budgets, as an integer linear program for HiGHS (scipy.optimize.milp).

x[i, f] = 1 where site i has format f; y[k] = 1 where shared code k is needed:

    minimise sum loss[i, f] x[i, f]
    with     sum_f x[i, f] = 1,  x[i, f] <= y[k] for the users (i, f) of k,
             sum takes[r, i, f] x[i, f] + sum takes[r, k] y[k] <= limit[r] for each limited resource r.

Source of the integer program: Yao et al. 2021, "HAWQ-V3: Dyadic Neural Network Quantization"; code that
formats share, and that a first use therefore pays for, is the fixed charge of facility location.
"""

from __future__ import annotations

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import csr_array, lil_array

from bevel.backends.program.resources import NOTHING, Resource, Resources
from bevel.passes.assign.probe import Floats
from bevel.passes.assign.problem import Assignment, Problem

SECONDS = 20.0  # such programs take a tenth of one; what was found by then is used
GAP = 1e-6  # relative, to the optimum


def allocate(problem: Problem, limits: Resources) -> Assignment | None:
    """The assignment of least loss within `limits`, None where there is none."""
    return solve(problem, problem.losses, limits)


def smallest(problem: Problem, limits: Resources = NOTHING) -> Assignment | None:
    """The assignment of least flash within `limits`; of several, that of least loss, which counts for under a byte."""
    worst = float(problem.losses.max(axis=1).sum()) or 1.0
    flash = problem.costs.each[Resource.FLASH]
    return solve(problem, flash + 0.5 * problem.losses / worst, limits, minimised=Resource.FLASH)


def least_each(problem: Problem, name: Resource) -> Assignment:
    """The assignment that takes least of a resource, but for shared parts; of several, that of least loss."""
    takes = np.where(problem.allowed, problem.costs.each[name], np.inf)
    tied = np.where(takes == takes.min(axis=1, keepdims=True), problem.losses, np.inf)
    return tuple(int(one) for one in np.argmin(tied, axis=1))


def solve(problem: Problem, weights: Floats, limits: Resources, minimised: Resource | None = None) -> Assignment | None:
    """Minimise the sum of `weights` [sites, formats] and of what shared parts take of the resource `minimised`."""
    sites, formats = weights.shape
    parts = problem.costs.parts
    largest = float(np.max(np.where(problem.allowed, np.abs(weights), 0.0), initial=0.0)) or 1.0
    of_parts = taken_by(problem, minimised) if minimised is not None else np.zeros(len(parts))
    objective = np.concatenate([weights.ravel(), of_parts]) / largest
    upper = np.concatenate([problem.allowed.ravel().astype(float), np.ones(len(parts))])
    constraints = [one_each(sites, formats, len(parts)), *charges(problem)]
    for name, each in problem.costs.each.items():
        if name in limits:
            row = np.concatenate([each.ravel(), taken_by(problem, name)])
            constraints.append(at_most(row, limits[name] - problem.costs.beside.get(name, 0)))
    found = milp(
        objective,
        integrality=np.concatenate([np.ones(sites * formats), np.zeros(len(parts))]),
        bounds=Bounds(np.zeros(len(upper)), upper),
        constraints=constraints,
        options={"time_limit": SECONDS, "mip_rel_gap": GAP},
    )
    if found.x is None:
        return None
    chosen = np.argmax(found.x[: sites * formats].reshape(sites, formats), axis=1)
    return tuple(int(one) for one in chosen)


def taken_by(problem: Problem, name: Resource) -> Floats:
    """What each shared part takes of a resource."""
    return np.array([part.takes.get(name, 0) for part in problem.costs.parts], float)


def one_each(sites: int, formats: int, parts: int) -> LinearConstraint:
    rows = np.concatenate([np.kron(np.eye(sites), np.ones(formats)), np.zeros((sites, parts))], axis=1)
    return LinearConstraint(csr_array(rows), 1, 1)


def charges(problem: Problem) -> list[LinearConstraint]:
    """x[i, f] - y[k] <= 0 for each user of each part."""
    sites, formats = problem.losses.shape
    pairs = [(site, format, k) for k, part in enumerate(problem.costs.parts) for site, format in sorted(part.users)]
    if not pairs:
        return []
    rows = lil_array((len(pairs), sites * formats + len(problem.costs.parts)))
    for row, (site, format, k) in enumerate(pairs):
        rows[row, site * formats + format] = 1
        rows[row, sites * formats + k] = -1
    return [LinearConstraint(csr_array(rows), -np.inf, 0)]


def at_most(row: Floats, limit: float) -> LinearConstraint:
    """Scaled to a limit near 1, where the solver's tolerances are meant to be."""
    scale = float(np.max(np.abs(row), initial=1.0)) or 1.0
    return LinearConstraint(csr_array(row[None, :] / scale), -np.inf, limit / scale)
