"""An operator behind one that only moves integers finds its input quantized, though nobody quantized it there."""

from __future__ import annotations

import numpy as np
import onnx_graphsurgeon as gs
import pytest

from bevel.passes.base import Work
from bevel.passes.canonicalize import canonicalize
from bevel.passes.integerize.carry_quantizers import CarryQuantizers

Q = "q = QuantizeLinear (x, s, z)\n d = DequantizeLinear (q, s, z)\n"
END = "u = QuantizeLinear (r, t, z)\n y = DequantizeLinear (u, t, z)\n"
WEIGHTS = "float s, float t, int8 z, int8[4,3,1,1] w, float sw, int8 zw"
VALUES = {"s": 0.05, "t": 0.5, "z": 3, "sw": 0.02, "zw": 0, "w": np.arange(12).reshape(4, 3, 1, 1)}
CONV = "k = DequantizeLinear (w, sw, zw)\n r = Conv (p, k)\n"


def operators(graph: gs.Graph) -> list[str]:
    return [node.op for node in graph.nodes]


@pytest.mark.parametrize(
    "move",
    [
        "p = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (d)",
        "a = MaxPool <kernel_shape = [2, 2]> (d)\n p = Transpose <perm = [0, 1, 3, 2]> (a)",
        "p = Concat <axis = 2> (d, d)",
        "a = QuantizeLinear (x, s, z)\n b = DequantizeLinear (a, s, z)\n p = Concat <axis = 3> (d, b)",
    ],
)
def test_a_convolution_behind_moved_integers_runs_in_integers(text, stages, move) -> None:
    done = stages(text(f"{Q}{move}\n{CONV}{END}", weights=WEIGHTS, values=VALUES))
    assert "Conv" in done.ops and "DequantizeLinear" not in done.ops
    for sample in done.extremes():
        assert done.error(sample) <= 1


def test_a_moved_result_of_the_model_can_be_integers(text, stages) -> None:
    done = stages(
        text(f"{Q}y = Reshape (d, shape)", weights=f"{WEIGHTS}, int64[2] shape", values=VALUES | {"shape": [3, 64]})
    )
    assert done.program.outputs[0].dtype == "int8"


@pytest.mark.parametrize(
    "body",
    [
        Q + "p = MaxPool <kernel_shape = [2, 2]> (d)\n" + END.replace("(r,", "(p,"),  # quantized already
        Q + "p = Concat <axis = 1> (d, x)\n y = Exp (p)",  # one input is float
        Q
        + "a = QuantizeLinear (x, t, z)\n b = DequantizeLinear (a, t, z)\n p = Concat <axis = 1> (d, b)\n y = Exp (p)",
        "p = MaxPool <kernel_shape = [2, 2]> (x)\n y = Exp (p)",
        Q + "y = Add (d, d)",  # makes new values
    ],
)
def test_other_operators_get_no_quantizer(text, body) -> None:
    graph, _ = canonicalize(text(body, weights=WEIGHTS, values=VALUES))
    before = operators(graph)
    CarryQuantizers()(Work(graph))
    assert operators(graph) == before
