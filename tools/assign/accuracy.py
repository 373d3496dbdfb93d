"""The smallest assignment that keeps budgets of accuracy, measured on the --eval data with the integer model."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from itertools import count

import onnx

from bevel.backends.program.resources import NOTHING, Resource, Resources, told
from bevel.calib.data.dataset import place_of
from bevel.calib.errors import UserError
from bevel.passes.assign.problem import Assignment, everywhere
from bevel.tools.accuracy.evaluate import labels_of
from bevel.tools.accuracy.metrics.meters import Judging
from bevel.tools.accuracy.metrics.metric import Metric
from bevel.tools.accuracy.outputs import describe_outputs
from bevel.tools.assign.score import Reference, Score, reference
from bevel.tools.assign.search import Search
from bevel.tools.assign.within import roomy
from bevel.tools.run.budgets import Budgets
from bevel.tools.run.stages import Advance

ROUNDING = 1e-9  # of fractions that are differences of fractions
TRIALS = 6  # that a bisection takes, roughly


@dataclass(frozen=True)
class Judge:
    """Scores assignments on the --eval data; each once."""

    search: Search
    samples: Reference
    budgets: Budgets
    known: dict[Assignment, Score] = field(default_factory=dict, compare=False)

    def score(self, assignment: Assignment) -> Score:
        if assignment not in self.known:
            maker, formats = self.search.maker, self.search.formats_of(assignment)
            integer = maker.integer(formats)
            program = maker.lowered(integer)
            self.known[assignment] = self.samples.score(integer, (*program.inputs, *program.outputs), integer=True)
        return self.known[assignment]

    def passes(self, assignment: Assignment) -> bool:
        return not missed(self.budgets, self.score(assignment))


def judge(search: Search, exact: onnx.ModelProto, budgets: Budgets, judging: Judging) -> Judge:
    """Raises UserError for budgets of right answers on data without class labels, or of a loss to a figure of 0."""
    evaluation = search.maker.data.evaluation
    assert evaluation is not None, "budgets of accuracy without --eval are refused before"
    described = describe_outputs(search.maker.canonical)
    if budgets.sqnr is not None and all(one.kind == "ids" for one in described.values()):
        raise UserError("--min-sqnr: the outputs are class numbers, without SQNR; --max-drop counts right answers")
    samples = reference(exact, evaluation, described, labels_of(search.maker.data), judging)
    given = search.maker.options.eval
    if judging.counted:
        if budgets.drop is not None and samples.float_figure() == 0:
            raise UserError("--max-drop: the float model's own figure is 0, and a loss in percent of it is none")
        return Judge(search, samples, budgets)
    if given is not None and samples.labels is None and (budgets.accuracy is not None or budgets.drop is not None):
        raise UserError(
            f"{place_of(given)} has no class labels `y` for an output of classes, which "
            f"--min-accuracy and --max-drop count; --min-sqnr needs none"
        )
    return Judge(search, samples, budgets)


def missed(budgets: Budgets, score: Score) -> list[str]:
    """What a score says of each budget that it misses."""
    found = []
    if score.metric is not None:
        found += missed_figure(score.metric, budgets, score)
    elif budgets.accuracy is not None and score.accuracy < budgets.accuracy:
        found.append(
            f"--min-accuracy {budgets.accuracy:g}: {score.right} of {score.labelled} right, {score.accuracy:.4f}"
        )
    if score.metric is None and budgets.drop is not None and score.drop > budgets.drop + ROUNDING:
        found.append(
            f"--max-drop {100 * budgets.drop:g}: {100 * score.drop:.2f} points, {score.lost} answers lost and "
            f"{score.gained} gained of {score.labelled}"
        )
    if budgets.sqnr is not None and score.sqnr_db < budgets.sqnr:
        found.append(f"--min-sqnr {budgets.sqnr:g}: {score.sqnr_db:.2f} dB")
    return found


def missed_figure(metric: Metric, budgets: Budgets, score: Score) -> list[str]:
    exact, figure = score.figures
    said = f"{metric.name} {figure:.5g}, float's is {exact:.5g}"
    found = []
    if budgets.accuracy is not None and not figure >= budgets.accuracy:
        found.append(f"--min-accuracy {budgets.accuracy:g}: {said}")
    if budgets.drop is not None and not score.drop <= budgets.drop + ROUNDING:
        found.append(f"--max-drop {100 * budgets.drop:g} {metric.loss_unit}: {said}")
    return found


def cheapest(search: Search, judge: Judge, limits: Resources, advance: Advance) -> Assignment:
    """The smallest by predicted flash that passes, of what the solver tries within `limits` and the uniform formats.

    Raises UserError where the finest formats fail.
    """
    search, _ = roomy(search, limits)
    problem, trials = search.problem, count(1)

    def passes(assignment: Assignment) -> bool:
        done = next(trials)
        advance(done, max(done, TRIALS))
        return judge.passes(assignment)

    found = search.solver.smallest(problem, search.products, limits, passes) or problem.finest
    if not judge.passes(found):
        raise UserError(
            f"{search.maker.name}: no formats of {', '.join(problem.formats)} keep "
            f"{'; '.join(missed(judge.budgets, judge.score(found)))} with {everywhere(problem, found)}"
        )
    flash_of = partial(problem.amount, Resource.FLASH)
    uniforms = [one.assignment for one in search.uniforms if one.figures.takes.only(Resource.RAM).within(limits)]
    smaller = [one for one in uniforms if flash_of(one) < flash_of(found) and judge.passes(one)]
    return min([found, *smaller], key=flash_of)


def check_accuracy(search: Search, judge: Judge, assignment: Assignment, advance: Advance) -> None:
    """Raises UserError where the best within budgets of cost misses one of accuracy, with what both would take."""
    misses = missed(judge.budgets, judge.score(assignment))
    if misses:
        needed = cheapest(search, judge, NOTHING, advance)
        takes = search.maker.built(search.formats_of(needed), False).artifact.takes
        raise UserError(
            f"{search.maker.name}: the most accurate within the other budgets misses {'; '.join(misses)}; "
            f"that takes about {told(takes.only(Resource.FLASH))}"
        )
