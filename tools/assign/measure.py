"""What every site loses and costs in every format: the part of a search that takes time, once for all budgets."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from math import prod

import numpy as np
import onnx

from bevel.calib.errors import UserError
from bevel.calib.formats.format import IntFormat
from bevel.calib.formats.tensor_format import TensorFormat
from bevel.passes.assign.curvature import curvature
from bevel.passes.assign.divergence import divergence
from bevel.passes.assign.output_noise import Advance, OutputNoise, output_noise
from bevel.passes.assign.probe import Candidate, Floats, Probe, open_probe, open_session
from bevel.passes.assign.problem import Problem
from bevel.passes.assign.results import alone, rounded
from bevel.passes.quantize.formats import activation_format, weight_format
from bevel.tools.accuracy.evaluate import Sample
from bevel.tools.accuracy.outputs import describe_outputs, with_scores
from bevel.tools.assign import costs as assign_costs
from bevel.tools.assign.costs import Uniform
from bevel.tools.assign.memory import bytes_of
from bevel.tools.assign.mixture import Mixture
from bevel.tools.assign.score import reference
from bevel.tools.assign.search import Everywhere, Search, samples_of
from bevel.tools.assign.sites import Choices, choices
from bevel.tools.assign.trial import Formats, Maker, no_sites
from bevel.tools.run.budgets import CANDIDATES, RESULTS
from bevel.tools.run.stages import Stages

DIRECTIONS = 8  # of the weights of each node, for curvature
STAGE = "assign"
Pair = tuple[str, str]  # the format of all weights, and that of all results


def open_search(maker: Maker, measure: bool, stages: Stages) -> Search:
    """Losses and costs of every site, in each of the formats. measure: instructions or seconds too."""
    if maker.data.calib is None:
        raise ValueError("a model that came quantized has no format to choose")
    asked = choices(maker, weights_asked(maker), results_asked(maker))
    if all(site.part != "weights" for site in asked.sites):
        raise no_sites(maker.options.model)

    with stages(STAGE) as advance:
        pairs = {(one, other): asked.everywhere(one, other) for one in asked.weights for other in asked.tried}
        built, left_out = build_all(maker, pairs, measure, advance)
        found = asked.only(built)
        index = {name: place for place, name in enumerate(found.formats)}
        builds = {(index[one], index[other]): build for (one, other), build in built.items()}
        costs = assign_costs.costs(len(found.sites), len(index), found.places(), builds)

    with stages(STAGE) as advance:
        first, held_out = samples_of(maker.data.calib, output_elements(maker.canonical))
        canonical, held = with_scores(maker.canonical), next(iter(found.results))
        quantized = {name: with_scores(maker.quantized(found.everywhere(name, held))) for name in found.weights}
        probe = probed(maker, found, canonical, quantized, first)
        noise = output_noise(probe, advance)
        losses, products = sensitivity(maker.options.sensitivity, probe, noise, maker.options.seed, advance)
        problem = Problem(found.sites, tuple(index), losses, costs, found.allowed())
        samples = reference(canonical, held_out, describe_outputs(maker.canonical))
        known = {problem.together(index[name], index[held]): samples.score(one) for name, one in quantized.items()}
    return Search(
        maker=maker,
        problem=problem,
        formats=found.formats,
        places=found.places(),
        elements=found.elements,
        noise=noise,
        products=products,
        uniforms=tuple(Everywhere(problem.together(*pair), one.figures) for pair, one in builds.items()),
        samples=samples,
        mixture=Mixture(maker, probe),
        left_out={told(pair, found): why for pair, why in left_out.items()},
        known={assignment: one.sqnr_db for assignment, one in known.items()},
    )


def weights_asked(maker: Maker) -> dict[str, TensorFormat]:
    return {name: weight_format(name) for name in maker.options.formats or CANDIDATES}


def results_asked(maker: Maker) -> dict[str, TensorFormat]:
    """What results have where nobody chooses, then the others that they may be given: those of --activation-formats,
    or of --formats that can be results; none where --activations says what they are."""
    options, held = maker.options, maker.observed.schemes.activations
    found = {held.name: held}
    if options.activation_formats:
        found |= {one.name: one for one in map(activation_format, options.activation_formats)}
    elif options.activations is None:
        found |= {one.name: one for one in possible(options.formats or RESULTS)}
    return {name: one for name, one in found.items() if one == held or not beaten(one, found.values())}


def possible(names: Iterable[str]) -> Iterator[TensorFormat]:
    """Those that results can have."""
    for name in names:
        with suppress(UserError):
            yield activation_format(name)


def beaten(one: TensorFormat, others: Iterable[TensorFormat]) -> bool:
    """Whether integers of more bits take no more room."""
    integers = [other for other in others if isinstance(other, IntFormat) and bytes_of(other) == bytes_of(one)]
    return isinstance(one, IntFormat) and any(other.bits > one.bits for other in integers)


def build_all(
    maker: Maker, pairs: Mapping[Pair, Formats], measure: bool, advance: Advance
) -> tuple[dict[Pair, Uniform], dict[Pair, str]]:
    """The builds of each pair of formats, and why there is none of some: they have no kernel.

    Raises the first one's UserError where there is no other.
    """
    built: dict[Pair, Uniform] = {}
    failed: dict[Pair, UserError] = {}
    for pair, formats in pairs.items():
        try:
            built[pair] = assign_costs.uniform(maker, formats, measure)
        except UserError as error:
            failed[pair] = error
        advance(len(built) + len(failed), len(pairs))
    if not built:
        raise next(iter(failed.values()))
    return built, {pair: str(error) for pair, error in failed.items()}


def told(pair: Pair, found: Choices) -> str:
    """'int4', or 'int4 with results in e2m3' where there is a choice of results."""
    return pair[0] if len(found.results) == 1 else f"{pair[0]} with results in {pair[1]}"


def output_elements(model: onnx.ModelProto) -> int:
    return sum(prod(dim.dim_value for dim in output.type.tensor_type.shape.dim) for output in model.graph.output)


def probed(
    maker: Maker,
    found: Choices,
    canonical: onnx.ModelProto,
    quantized: Mapping[str, onnx.ModelProto],
    samples: Sequence[Sample],
) -> Probe:
    """The float model `canonical` with each site in each format. quantized: with all weights in a format."""
    sites, names = [site for site in found.sites if site.part == "weights"], list(found.formats)
    probe = open_probe(canonical, [site.node for site in sites], quantized.values(), samples)
    values: list[tuple[Candidate, ...]] = []
    for row in probe.values:
        of_format = dict(zip(quantized, row, strict=True))
        values.append(tuple(of_format.get(name) for name in names))
    graphs = (
        {name: rounded(maker.planned(found.everywhere(next(iter(quantized)), name))) for name in found.results}
        if found.points
        else {}
    )
    for site, points in found.points.items():
        models = {name: alone(graph, points) for name, graph in graphs.items() if found.may(site, name)}
        values.append(tuple(open_session(with_scores(models[name])) if name in models else None for name in names))
    return replace(probe, values=tuple(values))


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
