"""Each pass of quantizing names what it must have seen, and nothing else is observed."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_graphsurgeon as gs
import pytest

from bevel.calib.observe.base import Want
from bevel.calib.observe.mean import Mean
from bevel.calib.observe.observe import observe
from bevel.calib.observe.statistics import RANGE
from bevel.passes.base import ContractError, Work
from bevel.passes.canonicalize import canonicalize
from bevel.passes.pipeline import Pipeline
from bevel.passes.quantize import QuantizeOptions, quantize
from bevel.passes.quantize.choose_rounders import RoundWeights
from bevel.passes.quantize.correct_bias import CorrectBias
from bevel.passes.quantize.plan_scales import PlanScales
from bevel.passes.quantize.wanted import means, ranges

BODY = "c = Conv (x, w, b)\n r = Relu (c)\n s = Sigmoid (r)\n f = Flatten (s)\n m = MatMul (f, v)\n y = Add (m, a)"
WEIGHTS = "float[2,3,8,8] w, float[2] b, float[2,5] v, float[5] a"


def graph_of(text: Any, body: str = BODY, **given: Any) -> gs.Graph:
    return canonicalize(text(body, **{"weights": WEIGHTS, **given}))[0]


def test_ranges_are_wanted_of_what_gets_a_scale_and_not_of_what_is_fused(text: Any) -> None:
    found = ranges(graph_of(text))
    assert {"x", "r", "s", "y"} <= set(found) and not {"c", "m"} & set(found)
    assert set(found.values()) == {(RANGE,)}


def test_means_are_wanted_along_the_axis_that_a_product_with_a_bias_sums_over(text: Any) -> None:
    graph = graph_of(text)
    (matrix,) = (node for node in graph.nodes if node.op in ("MatMul", "Gemm"))
    assert means(graph) == {
        "x": (RANGE, Want(Mean, (1,))),
        matrix.inputs[0].name: (RANGE, Want(Mean, (-1,))),
    }


def test_what_a_clip_leaves_of_an_input_is_wanted(text: Any) -> None:
    body = "k = Clip (x, low, high)\n y = Mul (k, k)"
    graph = graph_of(text, body, weights="float low, float high", values={"low": -1.0, "high": 2.0})
    assert ranges(graph)["k"] == (RANGE,)


def test_a_pipeline_wants_what_its_passes_want(text: Any) -> None:
    graph = graph_of(text)
    both = Pipeline([PlanScales(), CorrectBias()]).wants(graph)
    assert {name: set(wants) for name, wants in both.items()} == {
        name: {*ranges(graph).get(name, ()), *means(graph).get(name, ())} for name in {**ranges(graph), **means(graph)}
    }
    assert not RoundWeights("nearest").wants(graph) and not RoundWeights("auto", corrected=False).wants(graph)


def test_without_bias_correction_nobody_sums(text: Any) -> None:
    graph = graph_of(text)
    wanted = QuantizeOptions(bias_correction=False).wants(graph)
    assert {want.kind for wants in wanted.values() for want in wants} == {RANGE.kind}
    samples = [{"x": np.random.default_rng(0).standard_normal((1, 3, 8, 8)).astype(np.float32)}] * 2
    statistics = observe(gs.export_onnx(graph), samples, wanted)
    assert quantize(graph, statistics, QuantizeOptions(bias_correction=False), samples).modified


def test_a_pass_that_runs_without_what_it_wants_is_caught(text: Any) -> None:
    graph = graph_of(text)
    with pytest.raises(ContractError, match=r"plan-scales requires observations of what it wants.*: Histogram of x"):
        PlanScales()(Work(graph))
