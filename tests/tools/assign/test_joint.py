"""Formats of results beside those of weights: which there are, what they take of RAM, and whole runs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_graphsurgeon as gs
import pytest

from bevel.calib.formats.format import INT4, INT8, INT16
from bevel.calib.observe.observe import observe
from bevel.passes.assign.results import alone, may_have, result_sites, rounded
from bevel.passes.base import Work
from bevel.passes.canonicalize import canonicalize
from bevel.passes.quantize import NodeFormat, QuantizeOptions
from bevel.passes.quantize.chosen import Chosen
from bevel.passes.quantize.formats import activation_format
from bevel.passes.quantize.plan import make_plan
from bevel.tools.command.optimize import main

MODELS = Path(__file__).parents[3] / "models"
NETWORK = """
<ir_version: 10, opset_import: ["" : 21]>
net (float[1,3,6,6] x) => (float[1,5,3,3] y)
<float[5,3,3,3] kernel, float[5] offset, float[5,5,1,1] point>
{
    first = Conv <kernel_shape = [3,3], pads = [1,1,1,1]> (x, kernel, offset)
    positive = Relu (first)
    second = Conv <kernel_shape = [1,1]> (positive, point)
    sum = Add (second, positive)
    y = MaxPool <kernel_shape = [2,2], strides = [2,2]> (sum)
}
"""


@pytest.fixture
def graph() -> gs.Graph:
    rng = np.random.default_rng(0)
    model = onnx.parser.parse_model(NETWORK)
    for name, shape in {"kernel": (5, 3, 3, 3), "offset": (5,), "point": (5, 5, 1, 1)}.items():
        values = rng.standard_normal(shape).astype(np.float32)
        model.graph.initializer.append(onnx.numpy_helper.from_array(values, name))
    for node in model.graph.node:
        node.name = node.output[0]
    return canonicalize(model, [{"x": rng.standard_normal((1, 3, 6, 6)).astype(np.float32)}])[0]


def test_results_that_share_a_scale_are_one_site_and_inputs_are_none(graph: gs.Graph) -> None:
    found = result_sites(make_plan(graph), Chosen())
    assert "x" not in found
    assert found["sum"] == ("sum", "y")
    assert set(found) >= {"positive", "sum"}


def test_a_result_whose_format_the_user_fixed_is_no_site(graph: gs.Graph) -> None:
    fixed = Chosen(nodes={"first": NodeFormat(activations=INT16)})  # whose result the Relu clamps
    assert "positive" not in result_sites(make_plan(graph), fixed)


def test_what_only_leaves_the_model_has_eight_bits_at_least(graph: gs.Graph) -> None:
    plan = make_plan(graph)
    found = result_sites(plan, Chosen())
    assert may_have(INT16, found["positive"], plan) and may_have(INT4, found["positive"], plan)
    final = found["sum"]
    assert may_have(INT16, final, plan) and may_have(INT8, final, plan)
    assert may_have(INT4, final, plan) == (not plan.results.issuperset(final))


@pytest.mark.parametrize("name", ["int8", "int4", "int16", "e2m1", "e2m3", "e3m2", "mxfp4"])
def test_a_result_alone_is_rounded_as_it_is_among_the_others(graph: gs.Graph, name: str) -> None:
    """Of a chain, the first result has the same error whether what follows is rounded or not."""
    rng = np.random.default_rng(1)
    samples = Few(tuple({"x": rng.standard_normal((1, 3, 6, 6)).astype(np.float32)} for _ in range(4)))
    canonical = gs.export_onnx(graph)
    options = QuantizeOptions(activations=activation_format(name), rounding="nearest")
    statistics = observe(canonical, samples, options.wants(graph))  # type: ignore[arg-type]
    work = Work(gs.import_onnx(canonical), observations=statistics, schemes=options.chosen)
    passes = [one for one in options.recipe.passes if one.name == "plan-scales"]
    every = rounded(passes[0](work).work)
    isolated = alone(every, ("positive",))
    quantizers = [node for node in isolated.graph.node if node.op_type in ("DequantizeLinear", "DequantizeSteps")]
    assert [node.name for node in quantizers] == ["positive/dequantize"]


class Few(tuple[Mapping[str, Any], ...]):
    """Calibration runs as a data set."""

    def __new__(cls, samples: tuple[Mapping[str, Any], ...]) -> Few:
        return super().__new__(cls, samples)


def run(tmp_path: Path, *options: str) -> Any:
    data = [item for kind in ("calib", "eval") for item in (f"--{kind}", str(MODELS / f"digits_{kind}.npz"))]
    command = [str(MODELS / "resnet8.onnx"), "--target", "cortex-m7", *data, "--calib-samples", "48"]
    few = ["--eval-samples", "40", "--vectors", "2", "--transform", "none", "--formats", "int8,int4"]
    assert main([*command, *few, "-o", str(tmp_path / "out"), *options]) == 0
    return json.loads((tmp_path / "out" / "report.json").read_text())


@pytest.mark.long
def test_budgets_of_flash_and_ram_are_kept_by_a_product_with_wider_results(tmp_path: Path) -> None:
    found = run(tmp_path, "--max-flash", "90k", "--max-ram", "60k", "--activation-formats", "int8,int16")
    chosen = {(one["part"], one["format"]) for one in found["assignment"]["nodes"]}
    assert ("result", "int16") in chosen
    budgets = {one["option"]: one for one in found["assignment"]["budgets"]}
    assert set(budgets) == {"--max-flash", "--max-ram"}
    assert found["size"]["flash_bytes"] <= 90 * 1024 and found["size"]["ram_bytes"] <= 60 * 1024
    assert budgets["--max-ram"]["measured"] == found["size"]["ram_bytes"]
    assert found["measurement"]["mismatches"] == 0
    fitting = [one for one in found["assignment"]["uniform"] if one["flash_bytes"] <= 90 * 1024]
    assert found["assignment"]["sqnr_db"] > max(one["sqnr_db"] for one in fitting)


@pytest.mark.long
def test_without_a_budget_of_ram_wider_results_take_no_more_than_there_was(tmp_path: Path) -> None:
    found = run(tmp_path, "--max-flash", "90k", "--activation-formats", "int8,int16", "--device", "none")
    unchosen = [one for one in found["assignment"]["uniform"] if "int16" not in one["formats"]]
    assert found["size"]["ram_bytes"] <= max(one["ram_bytes"] for one in unchosen)
