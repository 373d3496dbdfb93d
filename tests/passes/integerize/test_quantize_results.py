"""A quantized model that ends in a float product runs in integers to its end, within a step of int16."""

from __future__ import annotations

import numpy as np
import pytest

from bevel.passes.base import Work
from bevel.passes.canonicalize import canonicalize
from bevel.passes.exchange.export import export
from bevel.passes.integerize.carry_quantizers import CarryQuantizers
from bevel.passes.integerize.quantize_results import QuantizeResults
from bevel.passes.pipeline import Pipeline

KEPT = [CarryQuantizers(), QuantizeResults()]
Q = "q = QuantizeLinear (x, s, z)\n d = DequantizeLinear (q, s, z)\n"
CONV = Q + "k = DequantizeLinear <axis = 0> (w, sw, zw)\n y = Conv (d, k, b)"
WEIGHTS = "float s, int8 z, int8[4,3,3,3] w, float[4] sw, int8[4] zw, float[4] b"
VALUES = {
    "s": 0.05,
    "z": -7,
    "w": np.random.default_rng(0).integers(-7, 8, (4, 3, 3, 3)),
    "sw": [0.1, 0.02, 0.3, 0.07],
    "zw": np.zeros(4),
}


def test_a_product_at_the_end_runs_in_integers_and_loses_half_a_step(text, stages) -> None:
    graph, _ = canonicalize(text(CONV, weights=WEIGHTS, values=VALUES))
    assert [note.node for note in Pipeline(KEPT)(Work(graph)).notes]
    step = next(float(node.inputs[1].values) for node in graph.nodes if node.name == "y/quantize")
    done = stages(export(graph))
    assert done.program.outputs[0].dtype == "int16"
    for sample in done.extremes():
        assert done.error(sample) <= 1
    farthest = [done.run({"x": np.full((1, 3, 8, 8), code, np.int8)})["y"] for code in (-128, 127)]
    assert max(int(np.abs(codes).max()) for codes in farthest) < 32767  # nothing is clipped
    assert 10 < step * 32767 < 1000


@pytest.mark.parametrize(
    "body",
    [
        CONV.replace("y = Conv", "p = Conv") + "\n u = QuantizeLinear (p, s, z)\n y = DequantizeLinear (u, s, z)",
        CONV.replace("(d, k, b)", "(x, k, b)"),
        CONV.replace("y = Conv", "p = Conv") + "\n y = Sigmoid (p)",
    ],
)
def test_other_results_stay_as_they_are(text, body) -> None:
    graph, _ = canonicalize(text(body, weights=WEIGHTS, values=VALUES))
    before = [node.name for node in graph.nodes]
    assert not Pipeline(KEPT)(Work(graph)).notes
    assert [node.name for node in graph.nodes] == before
