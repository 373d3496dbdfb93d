"""The most accurate assignment within budgets of cost, as the product and the device show them."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from bevel.backends.program.resources import Resource, Resources, told
from bevel.backends.ram import STACK_GUESS
from bevel.calib.errors import UserError
from bevel.passes.assign.allocate import least_each, smallest
from bevel.passes.assign.problem import Assignment, everywhere
from bevel.passes.assign.refine import better_first, changed
from bevel.tools.assign.limits import nearly_all, spent_by, work_spent
from bevel.tools.assign.memory import too_full
from bevel.tools.assign.search import Search
from bevel.tools.assign.trial import Trial
from bevel.tools.run.budgets import WORK, Budgets

ROUNDS = 5  # builds: kernels that formats share make predictions wrong by some bytes
NEIGHBOURS = 12  # of an answer that are scored with it
MADE = 4  # answers that are quantized for real, the likeliest
LESSONS = 16  # what does not fit into RAM is learned from so often


def within(search: Search, budgets: Budgets, limits: Resources) -> Assignment:
    """The assignment of the highest measured SQNR among those that were built and found within `limits`.

    Where a product takes more or less than predicted, the program is asked again with limits moved by the difference.
    Uniform formats that fit are among the answers. Raises UserError where nothing fits.
    """
    asked, fitting, seen = limits, fitting_uniforms(search, limits), set[Assignment]()
    for _ in range(ROUNDS):
        search, answer = roomy(search, asked)
        if answer is None or answer in seen:
            break
        seen.add(answer)
        try:
            trial = search.maker.built(search.formats_of(answer), bool(budgets.work))
        except UserError:  # in bands of rows, and still too large: stack and code are known from here on
            asked = asked | {Resource.RAM: asked[Resource.RAM] - STACK_GUESS}
            continue
        spent = spent_by(trial, budgets, limits)
        if spent.within(limits):
            fitting.append(answer)
            if nearly_all(spent, limits):
                break
        missed = (search.problem.takes(answer) - spent).only(*limits)  # by the prediction
        asked = limits + missed.only(Resource.FLASH, *WORK) | asked.only(Resource.RAM)
    if not fitting:
        return last_resort(search, budgets, limits)
    return search.best(sorted(fitting, key=search.foreseen_db)[-MADE:])


def roomy(search: Search, limits: Resources) -> tuple[Search, Assignment | None]:
    """The best answer that fits into RAM, and the search that knows what was learned of RAM on the way."""
    for _ in range(LESSONS):
        answer = answered(search, limits)
        learned = [] if answer is None else too_full(search, answer, limits)
        if not learned:
            return search, answer
        search = search.with_moments(learned)
    return search, None


def fitting_uniforms(search: Search, limits: Resources) -> list[Assignment]:
    """One format at every node, where the build of that was within the limits."""
    return [one.assignment for one in search.uniforms if one.figures.takes.within(limits)]


def answered(search: Search, limits: Resources) -> Assignment | None:
    """The best by SQNR, as it is foreseen, of what the solver says and of its neighbours."""
    best = search.solver.best(search.problem, search.products, limits)
    if best is None:
        return None
    return search.likeliest([best, *islice(neighbours(search, best, limits), NEIGHBOURS)])


def neighbours(search: Search, assignment: Assignment, limits: Resources) -> Iterator[Assignment]:
    """What one or two changes make of `assignment` within `limits`, best by prediction first."""
    problem = search.problem
    for changes in better_first(problem, search.products, assignment):
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
    memories = limits.only(Resource.FLASH, *budgets.costs.only(Resource.RAM))
    asked = [told(memories)] if memories else []
    asked += [f"--max-latency {told(budgets.work)}"] if budgets.work else []
    raise UserError(
        f"{search.maker.name}: no formats of {', '.join(search.problem.formats)} keep {' and '.join(asked)}; "
        f"the nearest: {'; or '.join(dict.fromkeys(nearest))}"
        + "".join(f"; {name} could not be built: {why}" for name, why in search.left_out.items())
    )


def described(search: Search, assignment: Assignment, trial: Trial, budgets: Budgets) -> str:
    """'61,232 bytes of flash and 5,000,000 instructions at 20.1 dB (int2 everywhere)'."""
    costs = trial.artifact.takes.only(Resource.FLASH, *budgets.costs.only(Resource.RAM))
    if budgets.work and trial.measurement is not None:
        costs |= work_spent(trial.measurement, budgets.work)
    return f"{told(costs)} at {search.sqnr_db(assignment):.1f} dB ({everywhere(search.problem, assignment)})"
