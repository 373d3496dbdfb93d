"""Choose a format for each node's weights under the budgets of the command line: the data flow of the search.

Losses and costs of every node and format are measured once; the integer program answers in their terms; what it
answers is then made and measured for real, and where the product differs from what was predicted, asked again.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import prod

import numpy as np
import onnx

from bevel.backends.program.resources import Resources
from bevel.calib.errors import UserError
from bevel.passes.assign.curvature import curvature
from bevel.passes.assign.divergence import divergence
from bevel.passes.assign.output_noise import Advance, OutputNoise, output_noise
from bevel.passes.assign.probe import Floats, Probe, open_probe, weighted_nodes
from bevel.passes.assign.problem import Assignment, Problem
from bevel.passes.quantize.formats import weight_format
from bevel.tools.accuracy.metrics.meters import Judging
from bevel.tools.accuracy.outputs import describe_outputs, with_scores
from bevel.tools.assign import costs as assign_costs
from bevel.tools.assign.accuracy import Judge, cheapest, check_accuracy, judge
from bevel.tools.assign.costs import Uniform
from bevel.tools.assign.explain import Assigned, explain
from bevel.tools.assign.limits import limits_of
from bevel.tools.assign.score import reference
from bevel.tools.assign.search import Search, samples_of
from bevel.tools.assign.trial import Formats, Maker, fixed_formats, no_sites
from bevel.tools.assign.within import within
from bevel.tools.run.budgets import CANDIDATES, Budgets
from bevel.tools.run.stages import Stages

DIRECTIONS = 8  # of the weights of each node, for curvature
STAGE = "assign"


def assign(maker: Maker, exact: onnx.ModelProto, budgets: Budgets, judging: Judging, stages: Stages) -> Assigned:
    """The formats that keep `budgets`, with the reasons. exact: the float model as loaded.

    Budgets of cost: the most accurate assignment within them; of accuracy alone: the one of least flash.
    Raises UserError for budgets that no assignment keeps, with the nearest that one does.
    """
    search = open_search(maker, exact, bool(budgets.work), stages)
    with stages(STAGE) as advance:
        limits = limits_of(budgets, search.uniforms, maker)
        judged = judge(search, exact, budgets, judging) if budgets.of_accuracy else None
        answer = chosen_by(search, judged, budgets, limits, advance)
        return explain(search, answer, None if judged is None else judged.answers(answer))


def open_search(maker: Maker, exact: onnx.ModelProto, measure: bool, stages: Stages) -> Search:
    """Losses and costs of every node that may choose, in each of the formats. measure: instructions or seconds too."""
    formats = {name: weight_format(name) for name in maker.options.formats or CANDIDATES}
    found = weighted_nodes(maker.canonical)
    fixed = fixed_formats(found, maker.observed.schemes)
    sites = [site for site in found if site not in fixed]
    if not sites:
        raise no_sites(maker.options.model)
    if maker.data.calib is None:
        raise ValueError("a model that came quantized has no format to choose")
    first, held_out = samples_of(maker.data.calib, output_elements(maker.canonical))

    with stages(STAGE) as advance:
        everywhere = {name: dict.fromkeys(sites, format) for name, format in formats.items()}
        uniforms, left_out = build_all(maker, everywhere, measure, advance)
        names = tuple(uniforms)
        costs = assign_costs.costs(sites, list(uniforms.values()))

    with stages(STAGE) as advance:
        quantized = [with_scores(maker.quantized(everywhere[name])) for name in names]
        scored = with_scores(maker.canonical)
        probe = open_probe(scored, sites, quantized, first)
        noise = output_noise(probe, advance)
        losses, products = sensitivity(maker.options.sensitivity, probe, noise, maker.options.seed, advance)
        problem = Problem(tuple(sites), names, losses, costs, np.ones(losses.shape, np.bool_))
        samples = reference(scored, held_out, describe_outputs(maker.canonical))
    return Search(maker, problem, formats, noise, products, tuple(uniforms.values()), samples, left_out)


def build_all(
    maker: Maker, everywhere: Mapping[str, Formats], measure: bool, advance: Advance
) -> tuple[dict[str, Uniform], dict[str, str]]:
    """The builds of each format, and why there is none of some: they take too much RAM, or have no kernel.

    Raises the first one's UserError where there is no other.
    """
    built: dict[str, Uniform] = {}
    failed: dict[str, UserError] = {}
    for name, formats in everywhere.items():
        try:
            built[name] = assign_costs.uniform(maker, formats, measure)
        except UserError as error:
            failed[name] = error
        advance(len(built) + len(failed), len(everywhere))
    if not built:
        raise next(iter(failed.values()))
    return built, {name: str(error) for name, error in failed.items()}


def output_elements(model: onnx.ModelProto) -> int:
    return sum(prod(dim.dim_value for dim in output.type.tensor_type.shape.dim) for output in model.graph.output)


def sensitivity(metric: str, probe: Probe, noise: OutputNoise, seed: int, advance: Advance) -> tuple[Floats, Floats]:
    """(losses that add up, [sites, formats]; the products that `refine` takes): only noise says how errors combine."""
    if metric == "sqnr":
        return noise.losses, noise.shrunk
    if metric == "kl":
        losses = divergence(probe, advance)
    else:
        curved = curvature(probe, DIRECTIONS, seed, advance)
        losses = curved.by_trace() if metric == "hessian-trace" else curved.by_eigenvalue()
    return losses, np.diag(losses.ravel())


def chosen_by(
    search: Search, judged: Judge | None, budgets: Budgets, limits: Resources, advance: Advance
) -> Assignment:
    if not budgets.costs and judged is not None:
        return cheapest(search, judged, limits, advance)
    answer = within(search, budgets, limits)
    if judged is not None:
        check_accuracy(search, judged, answer, advance)
    return answer
