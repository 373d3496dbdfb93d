"""Choose formats of weights and results under the budgets of the command line: the data flow of the search.

Losses and costs of every site and format are measured once; a solver answers in their terms; what it answers is then
made and measured for real, and where the product differs from what was predicted, asked again.
"""

from __future__ import annotations

from dataclasses import dataclass

import onnx

from bevel.backends.program.resources import Resource, Resources
from bevel.passes.assign.output_noise import Advance
from bevel.passes.assign.problem import Assignment
from bevel.tools.accuracy.metrics.meters import Judging
from bevel.tools.assign.accuracy import Judge, cheapest, check_accuracy, judge
from bevel.tools.assign.explain import Assigned, explain
from bevel.tools.assign.limits import limits_of
from bevel.tools.assign.measure import STAGE, open_search
from bevel.tools.assign.memory import whole
from bevel.tools.assign.search import Search
from bevel.tools.assign.trial import Maker
from bevel.tools.assign.within import within
from bevel.tools.run.budgets import WORK, Budgets
from bevel.tools.run.stages import Stages


@dataclass
class Searches:
    """What runs that differ in their flash budgets alone have in common: the search that the first of them opened."""

    opened: Search | None = None

    def of(self, maker: Maker, measure: bool, stages: Stages) -> Search:
        if self.opened is None:
            self.opened = open_search(maker, measure, stages)
        return self.opened


def assign(
    maker: Maker, exact: onnx.ModelProto, budgets: Budgets, judging: Judging, stages: Stages, searches: Searches
) -> Assigned:
    """The formats that keep `budgets`, with the reasons. exact: the float model as loaded.

    Budgets of cost: the most accurate assignment within them; of accuracy alone: the one of least flash.
    Raises UserError for budgets that no assignment keeps, with the nearest that one does.
    """
    search = searches.of(maker, bool(budgets.work), stages)
    return answer(search, exact, budgets, judging, stages)


def answer(search: Search, exact: onnx.ModelProto, budgets: Budgets, judging: Judging, stages: Stages) -> Assigned:
    """As `assign`, of a search whose losses and costs are known."""
    with stages(STAGE) as advance:
        limits = limits_of(budgets, search)
        if search.maker.options.max_ram is None and Resource.RAM in limits:  # nothing runs in bands
            search = search.with_moments(whole(search))
        judged = judge(search, exact, budgets, judging) if budgets.of_accuracy else None
        found = chosen_by(search, judged, budgets, limits, advance)
        return explain(search, found)


def chosen_by(
    search: Search, judged: Judge | None, budgets: Budgets, limits: Resources, advance: Advance
) -> Assignment:
    if not budgets.costs.only(Resource.FLASH, *WORK) and judged is not None:
        return cheapest(search, judged, limits, advance)
    found = within(search, budgets, limits)
    if judged is not None:
        check_accuracy(search, judged, found, advance)
    return found
