"""The most accurate assignment within budgets of cost, as the product and the device show them."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

import numpy as np

from bevel.calib.errors import UserError
from bevel.passes.assign.allocate import allocate, least_work, smallest
from bevel.passes.assign.problem import Assignment, Limits
from bevel.passes.assign.refine import changed, gains_of, refine
from bevel.tools.assign.limits import kept, latency_spent, nearly_all, spent_by
from bevel.tools.assign.search import Search
from bevel.tools.assign.trial import Trial
from bevel.tools.run.budgets import Budgets, Instructions

ROUNDS = 5  # builds: kernels that formats share make predictions wrong by some bytes
NEIGHBOURS = 12  # of an answer that are made for real


def within(search: Search, budgets: Budgets, limits: Limits) -> Assignment:
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
        spent = spent_by(search.maker.built(search.formats_of(answer), budgets.latency is not None), budgets, limits)
        if kept(spent, limits):
            fitting.append(answer)
            if nearly_all(spent, limits):
                break
        asked = moved(limits, spent, Limits(search.problem.flash(answer), search.problem.work(answer)))
    return search.best(fitting) if fitting else last_resort(search, budgets, limits)


def fitting_uniforms(search: Search, limits: Limits) -> list[Assignment]:
    """One format at every node, where the build of that was within the limits."""
    return [
        search.problem.uniform(format)
        for format, one in enumerate(search.uniforms)
        if kept(Limits(float(one.figures.flash), one.figures.total), limits)
    ]


def answered(search: Search, limits: Limits) -> Assignment | None:
    """The best by measured SQNR of what the integer program says, refined, and of its neighbours."""
    problem = search.problem
    start = allocate(problem, limits)
    if start is None:
        return None
    refined = refine(problem, search.products, start, limits)
    best = search.best([start, refined])
    return search.best([best, *islice(neighbours(search, best, limits), NEIGHBOURS)])


def neighbours(search: Search, assignment: Assignment, limits: Limits) -> Iterator[Assignment]:
    """What one or two changes make of `assignment` within `limits`, best by prediction first."""
    problem = search.problem
    for _, changes in sorted(gains_of(problem, search.products, assignment), reverse=True):
        found = changed(assignment, changes)
        if problem.fits(found, limits):
            yield found


def moved(limits: Limits, spent: Limits, predicted: Limits) -> Limits:
    """`limits` less what was spent beyond the prediction."""

    def one(limit: float | None, real: float | None, guess: float | None) -> float | None:
        return limit if limit is None or real is None or guess is None else limit - (real - guess)

    return Limits(one(limits.flash, spent.flash, predicted.flash), one(limits.work, spent.work, predicted.work))


def last_resort(search: Search, budgets: Budgets, limits: Limits) -> Assignment:
    """The cheapest assignment if it fits after all. Raises UserError with its figures if not."""
    cheapest = {smallest(search.problem, Limits(work=limits.work))}
    if budgets.latency is not None:
        cheapest |= {smallest(search.problem), least_work(search.problem)}
    told = []
    for assignment in sorted(one for one in cheapest if one is not None):
        trial = search.maker.built(search.formats_of(assignment), budgets.latency is not None)
        if kept(spent_by(trial, budgets, limits), limits):
            return assignment
        told.append(described(search, assignment, trial, budgets))
    asked = [f"{limits.flash:,.0f} bytes of flash"] if limits.flash is not None else []
    asked += [f"--max-latency {budgets.latency}"] if budgets.latency is not None else []
    raise UserError(
        f"{search.maker.name}: no formats of {', '.join(search.problem.formats)} keep {' and '.join(asked)}; "
        f"the nearest: {'; or '.join(dict.fromkeys(told))}"
        + "".join(f"; {name} could not be built: {why}" for name, why in search.left_out.items())
    )


def described(search: Search, assignment: Assignment, trial: Trial, budgets: Budgets) -> str:
    """'61,232 bytes of flash and 5,000,000 instructions at 20.1 dB (all int2)'."""
    names = [search.problem.formats[format] for format in np.unique(assignment)]
    parts = [f"{trial.artifact.flash_bytes:,} bytes of flash"]
    if budgets.latency is not None and trial.measurement is not None:
        spent = latency_spent(trial.measurement, budgets.latency)
        counted = isinstance(budgets.latency, Instructions)
        parts.append(f"{spent:,.0f} instructions" if counted else f"{spent * 1e3:.3f} ms")
    which = f"all {names[0]}" if len(names) == 1 else ", ".join(names)
    return f"{' and '.join(parts)} at {search.sqnr_db(assignment):.1f} dB ({which})"
