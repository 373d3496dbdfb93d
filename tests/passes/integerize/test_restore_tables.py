"""A look-up in standard operators is the table that the integer model knows; others are left alone."""

from __future__ import annotations

import numpy as np
import onnx_graphsurgeon as gs
import pytest

from bevel.calib.formats.format import parse
from bevel.passes.base import Work
from bevel.passes.canonicalize import canonicalize
from bevel.passes.integerize.integerize import integerize
from bevel.passes.integerize.restore_tables import RestoreTables
from bevel.passes.quantize import QuantizeOptions

LOOK_UP = (
    "q = QuantizeLinear (x, s, z)\n i = Cast <to = 6> (q)\n g = Gather (table, i)\n y = DequantizeLinear (g, s, z)"
)
WEIGHTS = "float s, int8 z, int8[256] table"
VALUES = {"s": 0.1, "z": 0, "table": np.roll(np.arange(-128, 128) // 2, -128)}


def test_a_look_up_of_codes_becomes_a_table(text, stages) -> None:
    done = stages(text(LOOK_UP, weights=WEIGHTS, values=VALUES))
    assert done.calls == ["Table"]
    for sample in done.extremes():
        assert done.error(sample) == 0


@pytest.mark.parametrize(
    ("body", "weights"),
    [
        ("i = Cast <to = 7> (x)\n y = Gather (table, i)", "float[256] table"),
        ("i = Cast <to = 7> (x)\n y = Gather (table, i)", "int8[16] table"),
    ],
)
def test_other_gathers_stay(text, body, weights) -> None:
    graph = gs.import_onnx(text(body, weights=weights))
    assert not RestoreTables()(Work(graph)).modified
    assert [node.op for node in graph.nodes] == ["Cast", "Gather"]


@pytest.mark.parametrize("format", ["int4", "e2m1", "ternary", "int12", "e3m2", "e4m3"])
def test_a_model_that_bevel_quantized_comes_in_again(text, stages, format) -> None:
    body = "a = Conv (x, w)\n b = Relu (a)\n c = MaxPool <kernel_shape = [2, 2]> (b)\n y = Conv (c, v)"
    model = text(body, weights="float[4,3,3,3] w, float[2,4,1,1] v")
    done = stages(model, options=QuantizeOptions(activations=parse(format)))
    graph, _ = canonicalize(done.quantized)
    again, _ = integerize(graph, "quantized", "quantized")
    assert again.SerializeToString(deterministic=True) == done.integer.SerializeToString(deterministic=True)
