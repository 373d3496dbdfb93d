"""The sites of a search: weights and results whose format nobody fixed, and what each may have."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from math import prod

import numpy as np
import onnx_graphsurgeon as gs

from bevel.calib.formats.tensor_format import TensorFormat
from bevel.passes.assign.probe import weighted_nodes
from bevel.passes.assign.problem import FormatSite
from bevel.passes.assign.results import Points, may_have, result_sites
from bevel.passes.quantize.chosen import owners
from bevel.passes.quantize.plan import QuantizationPlan, make_plan
from bevel.tools.assign.costs import Places
from bevel.tools.assign.trial import Formats, Maker, fixed_formats

Allowed = np.ndarray[tuple[int, ...], np.dtype[np.bool_]]


@dataclass(frozen=True)
class Choices:
    """sites: weights in the order of the graph, then results. weights, results: names of formats that they are chosen
    from; the first result is what all have where nobody chooses. points: the tensors of each result."""

    sites: tuple[FormatSite, ...]
    weights: Mapping[str, TensorFormat]
    results: Mapping[str, TensorFormat]
    points: Mapping[FormatSite, Points]
    plan: QuantizationPlan = field(compare=False)

    @property
    def formats(self) -> dict[str, TensorFormat]:
        return {**self.weights, **self.results}

    @property
    def tried(self) -> tuple[str, ...]:
        """The formats of results, of which there may be no choice."""
        return tuple(self.results) if self.points else tuple(self.results)[:1]

    def only(self, pairs: Iterable[tuple[str, str]]) -> Choices:
        """What is left of the formats where there are only those pairs of weights and results."""
        left = list(pairs)
        weights = {name: one for name, one in self.weights.items() if any(name == pair[0] for pair in left)}
        results = {name: one for name, one in self.results.items() if any(name == pair[1] for pair in left)}
        return replace(self, weights=weights, results=results)

    @property
    def elements(self) -> tuple[int, ...]:
        """Of the tensors of each site, none of weights."""
        return tuple(
            sum(prod(self.plan.points[point].shape) for point in self.points.get(site, ())) for site in self.sites
        )

    def allowed(self) -> Allowed:
        """[sites, formats]"""
        return np.array([[self.may(site, name) for name in self.formats] for site in self.sites], np.bool_)

    def may(self, site: FormatSite, name: str) -> bool:
        if site.part == "weights":
            return name in self.weights
        return name in self.results and may_have(self.results[name], self.points[site], self.plan)

    def everywhere(self, weights: str, result: str) -> Formats:
        """One format for all weights, and one for all results that may have it."""
        names = {site: weights if site.part == "weights" else result for site in self.sites}
        return {site: self.formats[name] for site, name in names.items() if self.may(site, name)}

    def places(self) -> Places:
        """Which sites a call of the product is about, by the name of its node."""
        index = {site: place for place, site in enumerate(self.sites)}
        of_point = {point: index[site] for site, points in self.points.items() for point in points}
        weights = {site.node: index[site] for site in self.sites if site.part == "weights"}
        reads: dict[str, int] = {}
        makes: dict[str, int] = {}
        for name, (_, match) in self.plan.taken.items():
            found = [of_point[tensor.name] for tensor in match.inputs if tensor.name in of_point]
            reads |= {name: found[0]} if found else {}
        for point, tensor in self.plan.points.items():
            if point in of_point and tensor.inputs:
                makes |= dict.fromkeys(owners(point, self.plan), of_point[point])
        return Places(weights, reads, makes)


def choices(maker: Maker, weights: Mapping[str, TensorFormat], results: Mapping[str, TensorFormat]) -> Choices:
    """`results` of one format, or none, leave nothing to choose of them."""
    found, chosen = weighted_nodes(maker.canonical), maker.observed.schemes
    fixed = fixed_formats(found, chosen)
    plan = make_plan(gs.import_onnx(maker.canonical), maker.observed.states)
    points = {FormatSite(node, "result"): group for node, group in result_sites(plan, chosen).items()}
    kept = {site: group for site, group in points.items() if choosable(results, group, plan)}
    sites = (*(FormatSite(node) for node in found if node not in fixed), *kept)
    return Choices(sites, weights, results, kept, plan)


def choosable(results: Mapping[str, TensorFormat], points: Points, plan: QuantizationPlan) -> bool:
    return sum(may_have(format, points, plan) for format in results.values()) > 1
