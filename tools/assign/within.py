"""The most accurate assignment within budgets of cost, as the product and the device show them."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

import numpy as np

from bevel.backends.program.resources import Resource, Resources, told
from bevel.calib.errors import UserError
from bevel.passes.assign.allocate import allocate, least_each, smallest
from bevel.passes.assign.problem import Assignment
from bevel.passes.assign.refine import changed, gains_of, refine
from bevel.tools.assign.limits import nearly_all, spent_by, work_spent
from bevel.tools.assign.search import Search
from bevel.tools.assign.trial import Trial
from bevel.tools.run.budgets import WORK, Budgets

ROUNDS = 5  # builds: kernels that formats share make predictions wrong by some bytes
NEIGHBOURS = 12  # of an answer that are made for real


def within(search: Search, budgets: Budgets, limits: Resources) -> Assignment:
    """The assignment of the highest measured SQNR among those that were built and found within `limits`.

    Where a product takes more or less than predicted, the program is asked again with limits moved by the difference.
    Uniform formats that fit are among the answers. Raises UserError where nothing fits.
    """
    asked, fitting, seen = limits, fitting_uniforms(search, limits), set[Assignment]()
    for _ in range(ROUNDS):
        answer = answered(search, asked)
        if answer is None or answer in seen:
            break
        seen.add(answer)
        spent = spent_by(search.maker.built(search.formats_of(answer), bool(budgets.work)), budgets, limits)
        if spent.within(limits):
            fitting.append(answer)
            if nearly_all(spent, limits):
                break
        missed = (search.problem.takes(answer) - spent).only(*limits)  # by the prediction
        asked = limits + missed
    return search.best(fitting) if fitting else last_resort(search, budgets, limits)


def fitting_uniforms(search: Search, limits: Resources) -> list[Assignment]:
    """One format at every node, where the build of that was within the limits."""
    return [
        search.problem.uniform(format) for format, one in enumerate(search.uniforms) if one.figures.takes.within(limits)
    ]


def answered(search: Search, limits: Resources) -> Assignment | None:
    """The best by measured SQNR of what the integer program says, refined, and of its neighbours."""
    problem = search.problem
    start = allocate(problem, limits)
    if start is None:
        return None
    refined = refine(problem, search.products, start, limits)
    best = search.best([start, refined])
    return search.best([best, *islice(neighbours(search, best, limits), NEIGHBOURS)])


def neighbours(search: Search, assignment: Assignment, limits: Resources) -> Iterator[Assignment]:
    """What one or two changes make of `assignment` within `limits`, best by prediction first."""
    problem = search.problem
    for _, changes in sorted(gains_of(problem, search.products, assignment), reverse=True):
        found = changed(assignment, changes)
        if problem.fits(found, limits):
            yield found


def last_resort(search: Search, budgets: Budgets, limits: Resources) -> Assignment:
    """The cheapest assignment if it fits after all. Raises UserError with its figures if not."""
    work = limits.only(*WORK)
    cheapest = {smallest(search.problem, work)}
    if work:
        cheapest |= {smallest(search.problem), *(least_each(search.problem, name) for name in work)}
    nearest = []
    for assignment in sorted(one for one in cheapest if one is not None):
        trial = search.maker.built(search.formats_of(assignment), bool(budgets.work))
        if spent_by(trial, budgets, limits).within(limits):
            return assignment
        nearest.append(described(search, assignment, trial, budgets))
    asked = [told(flash)] if (flash := limits.only(Resource.FLASH)) else []
    asked += [f"--max-latency {told(budgets.work)}"] if budgets.work else []
    raise UserError(
        f"{search.maker.name}: no formats of {', '.join(search.problem.formats)} keep {' and '.join(asked)}; "
        f"the nearest: {'; or '.join(dict.fromkeys(nearest))}"
        + "".join(f"; {name} could not be built: {why}" for name, why in search.left_out.items())
    )


def described(search: Search, assignment: Assignment, trial: Trial, budgets: Budgets) -> str:
    """'61,232 bytes of flash and 5,000,000 instructions at 20.1 dB (all int2)'."""
    names = [search.problem.formats[format] for format in np.unique(assignment)]
    costs = trial.artifact.takes.only(Resource.FLASH)
    if budgets.work and trial.measurement is not None:
        costs |= work_spent(trial.measurement, budgets.work)
    which = f"all {names[0]}" if len(names) == 1 else ", ".join(names)
    return f"{told(costs)} at {search.sqnr_db(assignment):.1f} dB ({which})"
