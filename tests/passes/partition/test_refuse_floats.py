"""The line for nodes without an integer kernel names only ways out that exist."""

import onnx_graphsurgeon as gs
import pytest

from bevel.backends.tir import importer
from bevel.passes.partition.refuse_floats import refusal


@pytest.mark.parametrize(("op", "offered"), [("Erf", True), ("LSTM", False)])
def test_a_cpu_is_offered_only_where_it_could_run_the_nodes(op: str, offered: bool) -> None:
    x, y = gs.Variable("x", "float32", (2,)), gs.Variable("y", "float32", (2,))
    node = gs.Node(op, "n", inputs=[x], outputs=[y])
    line = refusal(gs.Graph([node], [x], [y]), [node], {"n": "of a test"}, importer)
    assert f"n ({op}): of a test" in line and "--outputs-at" in line
    assert ("choose a CPU target" in line) == offered
