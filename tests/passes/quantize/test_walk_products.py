"""What a walk sees of each product is what the quantized model reads there, and what the float one makes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx_graphsurgeon as gs
import pytest

from bevel.calib.observe.observe import observe, run_model, session_with_outputs
from bevel.calib.observe.staged import StagedModel
from bevel.calib.rounding import rounder
from bevel.calib.rounding.base import SeenProduct
from bevel.passes.base import Work
from bevel.passes.canonicalize import canonicalize
from bevel.passes.exchange.export import export
from bevel.passes.quantize import QuantizeOptions, quantize
from bevel.passes.quantize.look_and_round import RoundedUnit, best_of, look_and_round, repaired
from bevel.passes.quantize.round_weights import find_weights, rounded_by
from bevel.passes.quantize.sums_behind import sum_behind
from bevel.passes.quantize.units import Unit, find_units
from bevel.passes.quantize.walk_products import HELD, ProductWalk, left_of

DEEP = """
  a = Conv <pads = [1,1,1,1]> (x, w1, b1)
  b = Relu (a)
  c = Conv <pads = [1,1,1,1], group = 4> (b, w2)
  d = ConvTranspose <strides = [2,2]> (b, w3, b3)
  e = GlobalAveragePool (d)
  f = Flatten (e)
  g = MatMul (f, w4)
  h = Add (g, b4)
  y = Gemm <transB = 1> (h, w5, b5)
"""
WEIGHTS = (
    "float[4,3,3,3] w1, float[4] b1, float[4,1,3,3] w2, float[4,3,2,2] w3, float[3] b3, float[3,5] w4, float[5] b4,"
    " float[2,5] w5, float[2] b5"
)
OUTPUTS = "float[1,2] y, float[1,4,6,6] c"
SHARED = """
  a = Conv <pads = [1,1,1,1]> (x, w)
  b = MaxPool <kernel_shape = [2,2], strides = [2,2]> (x)
  c = Conv <pads = [1,1,1,1]> (b, w)
  d = Relu (c)
  e = Conv <pads = [1,1,1,1]> (d, v)
"""


def samples(count: int, channels: int = 3) -> list[dict[str, Any]]:
    rng = np.random.default_rng(3)
    return [{"x": rng.standard_normal((1, channels, 6, 6)).astype(np.float32)} for _ in range(count)]


def planned_work(model: Any, runs: Any) -> Work:
    graph, _ = canonicalize(model)
    options = QuantizeOptions()
    statistics = observe(gs.export_onnx(graph), runs, options.wants(graph))
    work = Work(graph, data=runs, observations=statistics, schemes=options.chosen)
    (plan,) = (one for one in options.recipe.passes if one.name == "plan-scales")
    return plan(work).work


def walk_of(work: Work) -> ProductWalk:
    found = list(find_weights(work.plan.plan, work.plan.scales, work.schemes))
    units = find_units(work.graph, found)
    blind = [rounded_by(one, rounder("nearest")) for one in found]
    scales, method = work.plan.scales, work.schemes.method
    return ProductWalk(work.graph, scales, work.observations, method, {}, work.samples, found, units, blind)


def seen_by(walk: ProductWalk) -> dict[str, SeenProduct]:
    """By weights, with all products rounded to the nearest."""
    seen = dict[str, SeenProduct]()

    def nearest(unit: Unit, parts: Any) -> RoundedUnit:
        seen.update({walk.found[place].tensor.name: part for place, part in zip(unit.places, parts, strict=True)})
        return RoundedUnit([walk.blind[place] for place in unit.places], "nearest")

    walk.rounded(nearest)
    return seen


def values_of(graph: gs.Graph, names: list[str], runs: Any) -> dict[str, np.ndarray]:
    session, outputs = session_with_outputs(export(graph), names)
    found = [run_model(session, outputs, one, run) for run, one in enumerate(runs)]
    return {name: np.stack([one[name] for one in found]) for name in names}


def test_inputs_are_those_of_the_quantized_model_and_results_those_of_the_float_one(text: Any) -> None:
    model, runs = text(DEEP, "float[1,3,6,6] x", weights=WEIGHTS, outputs=OUTPUTS), samples(2 * HELD)
    work = planned_work(model, runs)
    walk = walk_of(work)
    seen = seen_by(walk)
    assert len(seen) == 5 and all(one.held is not None for one in seen.values())
    graph, _ = canonicalize(text(DEEP, "float[1,3,6,6] x", weights=WEIGHTS, outputs=OUTPUTS))
    options = QuantizeOptions(rounding="nearest", bias_correction=False)
    quantized = quantize(graph, work.observations, options, runs).graph
    for one in walk.found:
        part = seen[one.tensor.name]
        node = next(
            node for node in quantized.nodes if any(i.name == f"{one.tensor.name}/dequantized" for i in node.inputs)
        )
        read = values_of(quantized, [node.inputs[0].name], runs)[node.inputs[0].name]
        made = next(node for node in work.graph.nodes if any(tensor is one.tensor for tensor in node.inputs))
        y = values_of(work.graph, [made.outputs[0].name], runs)[made.outputs[0].name]
        held = np.arange(len(runs)) % HELD == HELD - 1
        for moments, which in ((part.held, held), (part.fitted, ~held)):
            x = read[which].reshape(-1, *read.shape[2:])
            results = y[which].reshape(-1, *y.shape[2:])
            places = np.arange(part.rows.count(results.shape))
            rows = part.rows.read(x, places).astype(np.float64)
            assert moments is not None and moments.count == rows.shape[1]
            # values are rounded to 18 bits below the largest, which are a few units
            np.testing.assert_allclose(moments.second, rows.swapaxes(1, 2) @ rows / rows.shape[1], atol=1e-4)
            bias = 0.0 if one.bias is None or made.op == "MatMul" else one.bias.values.reshape(len(rows), 1, -1)
            true = part.rows.made(results, places) - bias
            np.testing.assert_allclose(moments.cross, rows.swapaxes(1, 2) @ true / rows.shape[1], atol=1e-4)


RESIDUAL = """
  z = Conv <pads = [1,1,1,1]> (x, w1, b1)
  r = Relu (z)
  c = Conv <pads = [1,1,1,1]> (r, w2, b2)
  s = Add (r, c)
  p = GlobalAveragePool (s)
  f = Flatten (p)
  g = MatMul (f, w3)
  h = Add (g, b3)
  y = Add (h, f)
"""


def test_a_product_is_to_make_what_is_lost_in_what_is_added_to_it(text: Any) -> None:
    weights = "float[4,3,3,3] w1, float[4] b1, float[4,4,3,3] w2, float[4] b2, float[4,4] w3, float[4] b3"
    model, runs = text(RESIDUAL, "float[1,3,6,6] x", weights=weights, outputs="float[1,4] y"), samples(2 * HELD)
    work = planned_work(model, runs)
    walk = walk_of(work)
    assert set(walk.sums()) == {one.match.node.name for one in walk.found if one.tensor.name != "w1"}
    seen = seen_by(walk)
    graph, _ = canonicalize(model)
    options = QuantizeOptions(rounding="nearest", bias_correction=False)
    quantized = quantize(graph, work.observations, options, runs).graph
    fitted = np.arange(len(runs)) % HELD != HELD - 1
    for weight in ("w2", "w3"):
        part, (one,) = seen[weight], (one for one in walk.found if one.tensor.name == weight)
        product = next(node for node in work.graph.nodes if any(tensor.name == weight for tensor in node.inputs))
        add, y = sum_behind(work.graph, product), product.outputs[0].name
        assert add is not None
        rough = next(node for node in quantized.nodes if node.name == add.add.name).inputs[add.index].name
        floats = values_of(work.graph, [add.other.name, y], runs)
        lost = floats[add.other.name] - values_of(quantized, [rough], runs)[rough]
        wanted = (floats[y] + lost)[fitted].reshape(-1, *lost.shape[2:])
        rows = part.rows.made(wanted, np.arange(part.rows.count(wanted.shape)))
        bias = one.bias.values if one.bias is not None and product.op != "MatMul" else 0.0
        assert np.abs(lost).max() > 1e-4
        np.testing.assert_allclose(part.fitted.y_mean, (rows - bias).mean(axis=1), atol=1e-5)


NO_SUM = {
    "c = Conv (x, w)\n s = Mul (c, x)\n y = Relu (s)": "no sum",
    "c = Conv (x, w)\n s = Add (c, x)\n y = Mul (s, c)": "the product is read twice",
    "c = Conv (x, w)\n y = Add (c, c)": "both addends are the product",
    "g = GlobalAveragePool (x)\n c = Conv (x, w)\n y = Add (c, g)": "the other addend is broadcast",
    "a = GlobalAveragePool (x)\n c = Conv (a, w)\n y = Add (c, x)": "the product is broadcast",
    "c = Conv (x, w)\n y = Transpose <perm = [0,1,3,2]> (c)": "another order of its numbers",
    "c = Conv (x, w)\n y = Identity (c)": "it leaves the model",
}


@pytest.mark.parametrize("body", NO_SUM, ids=list(NO_SUM.values()))
def test_what_is_no_sum_of_two_tensors_alike_is_not_made_up_for(text: Any, body: str) -> None:
    model = text(body, "float[1,3,6,6] x", weights="float[3,3,1,1] w", outputs="float[1,3,6,6] y")
    graph = gs.import_onnx(model)
    assert sum_behind(graph, next(node for node in graph.nodes if node.op == "Conv")) is None


def test_the_deeper_of_two_products_makes_up_for_the_other(text: Any) -> None:
    body = "a = Conv (x, w)\n b = Relu (a)\n c = Conv (b, v)\n d = Conv (x, u)\n y = Add (c, d)"
    weights = "float[3,3,1,1] w, float[3,3,1,1] v, float[3,3,1,1] u"
    walk = walk_of(planned_work(text(body, "float[1,3,6,6] x", weights=weights), samples(4)))
    (name,) = walk.sums()
    assert name == next(one.match.node.name for one in walk.found if one.tensor.name == "v")


def test_products_by_one_tensor_are_one_unit_after_all_that_lies_before_them(text: Any) -> None:
    weights = "float[3,3,3,3] w, float[3,3,3,3] v"
    model = text(
        SHARED.format(deeper="Relu"), "float[1,3,6,6] x", weights=weights, outputs="float[1,3,6,6] a, float[1,3,3,3] e"
    )
    work = planned_work(model, samples(4))
    walk = walk_of(work)
    names = [[walk.found[place].tensor.name for place in unit.places] for unit in walk.units]
    assert names == [["w", "w"], ["v"]] and [unit.level for unit in walk.units] == [0, 1]
    made = look_and_round(work, work.samples, walk.found, ("refit",), corrected=True).made
    first, second = (made[place][0].quantized for place in walk.units[0].places)
    np.testing.assert_array_equal(first.codes, second.codes)
    np.testing.assert_array_equal(first.scale, second.scale)


def test_weights_that_are_read_again_behind_themselves_are_in_no_unit_and_rounded_to_the_nearest(text: Any) -> None:
    body = "a = Conv <pads = [1,1,1,1]> (x, w)\n b = Relu (a)\n y = Conv <pads = [1,1,1,1]> (b, w)"
    work = planned_work(text(body, "float[1,3,6,6] x", weights="float[3,3,3,3] w"), samples(4))
    walk = walk_of(work)
    assert not walk.units
    made = look_and_round(work, work.samples, walk.found, ("refit",), corrected=True).made
    for place, one in enumerate(walk.found):
        np.testing.assert_array_equal(made[place][0].quantized.codes, one.grid.nearest(one.values))


@pytest.mark.parametrize("name", ["gptq", "auto", "coordinate-descent", "min-max"])
def test_the_same_bytes_come_of_one_thread_and_of_many(text: Any, monkeypatch: Any, name: str) -> None:
    made = []
    for threads in (1, 4):
        monkeypatch.setattr("bevel.passes.quantize.walk_products.workers", lambda threads=threads: threads)
        monkeypatch.setattr("bevel.calib.observe.staged.workers", lambda threads=threads: threads)
        graph, _ = canonicalize(text(DEEP, "float[1,3,6,6] x", weights=WEIGHTS, outputs=OUTPUTS))
        options = QuantizeOptions(rounding=name)
        statistics = observe(gs.export_onnx(graph), samples(20), options.wants(graph))
        made.append(quantize(graph, statistics, options, samples(20)))
    assert made[0].rounders == made[1].rounders and len(made[0].rounders) == 5
    assert export(made[0].graph).SerializeToString() == export(made[1].graph).SerializeToString()


def test_a_bias_makes_up_for_the_mean_of_what_is_left_where_samples_held_out_agree(text: Any) -> None:
    work = planned_work(
        text("y = MatMul (x, w)\n z = Add (y, b)", "float[1,8] x", weights="float[8,3] w, float[3] b"),
        [{"x": np.random.default_rng(place).standard_normal((1, 8)).astype(np.float32) + 2} for place in range(32)],
    )
    walk, parts = walk_of(work), list[SeenProduct]()

    def record(unit: Unit, seen: Any) -> RoundedUnit:
        parts.extend(seen)
        return RoundedUnit(walk.blind, "nearest")

    walk.rounded(record)
    (seen,), (made,) = parts, walk.blind
    found = repaired(made, seen)
    reals = made.quantized.dequantize().astype(np.float64)[np.newaxis]
    assert found.repaired and found.bias is not None and made.bias is not None
    np.testing.assert_allclose(found.bias - made.bias, seen.fitted.shift(reals)[0])
    assert seen.held is not None
    worse = SeenProduct(seen.rows, seen.fitted, replace(seen.held, y_sum=seen.held.x_sum[:, :3] * -50))
    kept = repaired(made, worse)
    assert kept.repaired and kept.bias is not None
    np.testing.assert_array_equal(kept.bias, made.bias)
    endless = SeenProduct(seen.rows, seen.fitted, replace(seen.held, y_squares=seen.held.y_squares * np.inf))
    assert best_of([made.weights], [seen], ["refit"], corrected=True).rounder == "refit"
    assert best_of([made.weights], [endless], ["refit"], corrected=True).rounder == "nearest"


def test_weights_of_a_recurrent_node_are_rounded_to_the_nearest_and_what_reads_it_is_seen_behind_them(
    text: Any,
) -> None:
    body = "h = LSTM <hidden_size = 4> (x, w, r, b)\n s = Squeeze (h, axis)\n m = MatMul (s, v)\n y = Add (m, a)"
    weights = "float[1,16,3] w, float[1,16,4] r, float[1,32] b, float[4,5] v, float[5] a, int64[1] axis"
    model = text(body, "float[6,1,3] x", weights=weights, values={"axis": [1]})
    rng = np.random.default_rng(0)
    work = planned_work(model, [{"x": rng.standard_normal((6, 1, 3)).astype(np.float32)} for _ in range(16)])
    walk = walk_of(work)
    assert len(walk.found) == 3 and len(walk.units) == 1
    made = look_and_round(work, work.samples, walk.found, ("nearest", "gptq", "refit"), corrected=True)
    assert [unit.rounder for one, unit in made.made if not one.weights.linear] == ["nearest", "nearest"]
    assert made.model_db is not None and np.isfinite(made.model_db).all()


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(("made", "left"), [(1.1, 20.0), (1.0, np.inf), (np.inf, -np.inf), (np.nan, -np.inf)])
def test_what_the_float_model_leaves_infinite_is_no_error(text: Any, tmp_path: Path, made: float, left: float) -> None:
    model = text("y = Div (c, x)", "float[3] x", weights="float[1] c", values={"c": [1.0]})
    runs = [{"x": np.array([0.0, 1.0, place + 2.0], np.float32)} for place in range(2)]
    plain, rough = (StagedModel(model, runs, tmp_path, ["y"]) for _ in range(2))  # type: ignore[arg-type]
    rough.set({"c": np.array([made], np.float32)})
    for staged in (plain, rough):
        staged.advance(["y"])
    assert not np.isfinite(plain.read("y", 0)).all()
    assert left_of(plain, rough, ["y"], [0, 1]) == pytest.approx(left, abs=1e-4)
