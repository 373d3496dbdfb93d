"""Improve an assignment by changing one or two sites at a time, with the errors of all sites taken together.

`allocate` adds up losses; the power of a sum of errors also has the products of errors of two sites. A quadratic
integer program would take them in at once; from the linear one's answer a local search finds what they are worth.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from bevel.backends.program.resources import Resources
from bevel.passes.assign.probe import Floats
from bevel.passes.assign.problem import Assignment, Problem

ROUNDS = 60
SMALLEST_GAIN = 1e-4  # of the power: less is below what the linear model of errors can tell


def power(products: Floats, formats: int, assignment: Assignment) -> float:
    """|sum of the sites' errors|^2, from their products [sites * formats, sites * formats]."""
    rows = np.arange(len(assignment)) * formats + np.array(assignment, int)
    return float(products[np.ix_(rows, rows)].sum())


def refine(problem: Problem, products: Floats, start: Assignment, limits: Resources) -> Assignment:
    """The best that changes of one or two sites at a time reach from `start` within `limits`."""
    current, formats = start, len(problem.formats)
    for _ in range(ROUNDS):
        now = power(products, formats, current)
        moves = (changed(current, one) for one in better_first(problem, products, current, SMALLEST_GAIN * now))
        found = next((one for one in moves if problem.fits(one, limits)), None)
        if found is None:
            return current
        current = found
    return current


Changes = tuple[tuple[int, int], ...]  # (site, its new format)


def better_first(problem: Problem, products: Floats, current: Assignment, least: float = -np.inf) -> Iterator[Changes]:
    """All changes of one site by which the power falls by more than `least`, and of two by which it falls by more than
    that and 0; those that gain most first."""
    formats = len(problem.formats)
    rows = np.arange(len(current)) * formats + np.array(current, int)
    with_all = products[:, rows].sum(axis=1)  # of each candidate's error with the error of now
    singles = [(site, f) for site, f in np.argwhere(problem.allowed).tolist() if f != current[site]]
    new = np.array([site * formats + f for site, f in singles], int)
    old = rows[np.array([site for site, _ in singles], int)]
    # |e + d|^2 - |e|^2 = 2 <e, d> + |d|^2 with d = new - old, and 2 <d, d'> for two changes at a time
    alone = 2 * (with_all[new] - with_all[old])
    alone += products[new, new] - 2 * products[new, old] + products[old, old]
    both = products[np.ix_(new, new)] - products[np.ix_(new, old)] - products[np.ix_(old, new)]
    both += products[np.ix_(old, old)]
    first, second = np.triu_indices(len(singles), 1)
    pairs = -(alone[first] + alone[second] + 2 * both[first, second])
    apart = (old[first] != old[second]) & (pairs > 0)
    first, second = first[apart], second[apart]
    gains = np.concatenate([-alone, pairs[apart]])
    for one in np.argsort(-gains, kind="stable"):
        if gains[one] <= least:
            return
        place = one - len(singles)
        yield (singles[one],) if place < 0 else (singles[first[place]], singles[second[place]])


def changed(assignment: Assignment, changes: Changes) -> Assignment:
    result = list(assignment)
    for site, format in changes:
        result[site] = format
    return tuple(result)
