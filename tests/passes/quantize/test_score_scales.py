"""Scores of attention in uneven formats get the scale that keeps their shares; nothing else does."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from bevel.calib.observe.observe import observe
from bevel.passes.assign.assign_schemes import AssignSchemes
from bevel.passes.base import Work
from bevel.passes.canonicalize import canonicalize
from bevel.passes.exchange.export import export
from bevel.passes.pipeline import Pipeline
from bevel.passes.quantize.plan_scales import PlanScales
from bevel.passes.quantize.score_scales import scores

SHARES = "s = MatMul (q, k)\n p = Softmax <axis = {axis}> (s)\n y = MatMul (p, v)"
INPUTS = "float[1,2,6,4] q, float[1,2,4,6] k, float[1,2,6,4] v"
READ_TWICE = "s = MatMul (q, k)\n p = Softmax <axis = -1> (s)\n r = MatMul (p, v)\n t = MatMul (s, v)\n y = Add (r, t)"
MASKED = "s = MatMul (q, k)\n m = Add (s, b)\n p = Softmax <axis = -1> (m)\n y = MatMul (p, v)"
SHAPES = {"q": (1, 2, 6, 4), "k": (1, 2, 4, 6), "v": (1, 2, 6, 4)}
BARS = np.triu(np.full((6, 6), -1e9, np.float32), 1)


def work_of(text: Any, body: str, activations: str) -> Work:
    rng = np.random.default_rng(0)
    runs = [
        {name: (4 * rng.standard_normal(shape)).astype(np.float32) for name, shape in SHAPES.items()} for _ in range(12)
    ]
    constants = "float[6,6] b" if "b)" in body else ""
    graph, _ = canonicalize(text(body, INPUTS, "float[] y", constants, {"b": BARS} if constants else None), runs[:1])
    passes = Pipeline([AssignSchemes(activations=activations), PlanScales()])
    return passes(Work(graph, data=runs, observations=observe(export(graph), runs, passes.wants(graph)))).work


def test_the_dense_steps_of_scores_lie_where_large_ones_are(text: Any) -> None:
    scales = work_of(text, SHARES.format(axis=-1), "e2m3").plan.scales
    assert scales.scores == {"s"} and scales.quants["s"].zero_point < 0
    seen = scales.quants["s"]
    assert (60 - int(seen.zero_point)) * float(seen.scale) > 40, "the largest is not clipped"


@pytest.mark.parametrize(
    ("body", "activations"), [(SHARES.format(axis=-2), "e2m3"), (READ_TWICE, "e2m3"), (SHARES.format(axis=-1), "int6")]
)
def test_other_readers_and_other_formats_keep_the_least_squared_error(text: Any, body: str, activations: str) -> None:
    assert not work_of(text, body, activations).plan.scales.scores


def test_what_a_mask_bars_is_no_score_to_judge_by(text: Any) -> None:
    work = work_of(text, MASKED, "e2m3")
    assert not scores(work.graph) and not work.plan.scales.scores
