"""Improve an assignment by changing one or two sites at a time, with the errors of all sites taken together.

`allocate` adds up losses; the power of a sum of errors also has the products of errors of two sites. A quadratic
integer program would take them in at once; from the linear one's answer a local search finds what they are worth.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations

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
        gains = sorted(gains_of(problem, products, current), reverse=True)
        better = (
            moved
            for gain, changes in gains
            if gain > SMALLEST_GAIN * now
            for moved in [changed(current, changes)]
            if problem.fits(moved, limits)
        )
        found = next(better, None)
        if found is None:
            return current
        current = found
    return current


Changes = tuple[tuple[int, int], ...]  # (site, its new format)


def gains_of(problem: Problem, products: Floats, current: Assignment) -> Iterator[tuple[float, Changes]]:
    """(what the power falls by, the changes) of all changes of one site, and of all of two that lower it."""
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
    for index, change in enumerate(singles):
        yield -float(alone[index]), (change,)
    for first, second in combinations(range(len(singles)), 2):
        gain = -float(alone[first] + alone[second] + 2 * both[first, second])
        if singles[first][0] != singles[second][0] and gain > 0:
            yield gain, (singles[first], singles[second])


def changed(assignment: Assignment, changes: Changes) -> Assignment:
    result = list(assignment)
    for site, format in changes:
        result[site] = format
    return tuple(result)
