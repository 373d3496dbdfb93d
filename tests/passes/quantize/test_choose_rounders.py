"""The rounder whose errors leave most of a product's output on samples held out: right where we know who is."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import onnx_graphsurgeon as gs
import pytest

from bevel.calib.data.dataset import Subset
from bevel.calib.errors import UserError
from bevel.calib.formats.quantized import Quantized
from bevel.calib.observe.observe import observe
from bevel.passes.canonicalize import canonicalize
from bevel.passes.quantize import QuantizeOptions, export, look_and_round, quantize
from bevel.passes.quantize.choose_rounders import SAMPLES, RoundWeights, peak, usable
from bevel.passes.quantize.choose_scales import Scales, choose_scales
from bevel.passes.quantize.chosen import Chosen
from bevel.passes.quantize.formats import weight_format
from bevel.passes.quantize.plan import make_plan
from bevel.passes.quantize.results import results_of
from bevel.passes.quantize.round_weights import ProductWeights, find_weights
from bevel.passes.quantize.walk_products import FEWEST

CONV = "y = Conv <pads = [1,1,1,1]> (x, w, b)"
WEIGHTS = "float[4,3,3,3] w, float[4] b"
INT4 = weight_format("int4")


def alike(count: int) -> list[dict[str, Any]]:
    """Images whose pixels are all the same."""
    rng = np.random.default_rng(3)
    return [{"x": np.full((1, 3, 8, 8), rng.normal(), np.float32)} for _ in range(count)]


def unlike(count: int) -> list[dict[str, Any]]:
    """Images whose pixels know nothing of each other, of mean 0."""
    rng = np.random.default_rng(3)
    return [{"x": rng.standard_normal((1, 3, 8, 8)).astype(np.float32)} for _ in range(count)]


def made(model: Any, samples: Any, with_data: bool = True, **options: Any) -> Any:
    graph, _ = canonicalize(model)
    statistics = observe(gs.export_onnx(graph), samples, QuantizeOptions().wants(graph))
    wanted = QuantizeOptions(weights=INT4, **options)
    return quantize(graph, statistics, wanted, samples if with_data else None)


def node_note(result: Any) -> Any:
    (note,) = (note for note in result.notes if note.pass_ == RoundWeights.name and note.node != "model")
    return note


def model_note(result: Any) -> Any:
    (note,) = (note for note in result.notes if note.pass_ == RoundWeights.name and note.node == "model")
    return note


@pytest.mark.parametrize(("samples", "gain"), [(alike, 3.0), (unlike, 0.0)])
def test_who_rounds_is_whose_error_is_least_of_all_that_are_tried(text: Any, samples: Any, gain: float) -> None:
    """Where pixels know nothing of each other, nothing is gained over the nearest codes."""
    result = made(text(CONV, weights=WEIGHTS), samples(24))
    note = node_note(result)
    left = {name: note.numbers[f"{name.replace('-', '_')}_db"] for name in ("nearest", "kernel-wise", "gptq", "refit")}
    (name,) = set(result.rounders.values())
    assert name == max(left, key=left.__getitem__) and left[name] >= left["nearest"] + gain
    assert f"weights rounded {name}: {left[name]:.2f} dB of its output are left" in note.text
    assert "(3 samples held out)" in note.text and note.numbers["samples"] == 3
    assert model_note(result).numbers["looked_db"] > model_note(result).numbers["nearest_db"] + gain - 0.1


@pytest.mark.parametrize("name", ["nearest", "kernel-wise", "gptq"])
def test_a_rounder_that_is_asked_for_rounds_all_and_nothing_is_measured(text: Any, name: str) -> None:
    result = made(text(CONV, weights=WEIGHTS), alike(16), rounding=name)
    assert set(result.rounders.values()) == {name}
    assert not [note for note in result.notes if note.pass_ == RoundWeights.name]


def test_what_is_chosen_is_what_the_graph_holds(text: Any) -> None:
    for samples in (alike(8), unlike(8)):
        found = made(text(CONV, weights=WEIGHTS), samples)
        (name,) = set(found.rounders.values())
        asked = made(text(CONV, weights=WEIGHTS), samples, rounding=name)
        assert export(found.graph).SerializeToString() == export(asked.graph).SerializeToString()


@pytest.mark.parametrize("count", [1, 2, 3])
def test_too_few_samples_choose_nothing_and_the_report_says_so(text: Any, count: int) -> None:
    result = made(text(CONV, weights=WEIGHTS), unlike(count))
    assert set(result.rounders.values()) == {"kernel-wise"}
    assert model_note(result).kind == "refused" and f"{FEWEST} samples are needed" in model_note(result).text


def test_the_fewest_samples_choose_the_same_every_time(text: Any) -> None:
    results = [made(text(CONV, weights=WEIGHTS), unlike(FEWEST)) for _ in range(2)]
    assert results[0].rounders == results[1].rounders and node_note(results[0]) == node_note(results[1])
    assert node_note(results[0]).numbers["samples"] == 1


def test_without_samples_nothing_is_measured(text: Any) -> None:
    result = made(text(CONV, weights=WEIGHTS), unlike(8), with_data=False)
    assert set(result.rounders.values()) == {"kernel-wise"}
    assert not [note for note in result.notes if note.pass_ == RoundWeights.name]


def test_what_few_rows_ask_for_is_not_followed_where_others_lose_by_it(text: Any) -> None:
    """Six rows of 200 inputs each: whoever fits weights to them loses more of the two that are held out."""
    rng = np.random.default_rng(0)
    weights = {"w": rng.standard_normal((200, 8)).astype(np.float32)}
    body = "m = MatMul (x, w)\n y = Add (m, b)"
    model = text(body, "float[1,200] x", weights="float[200,8] w, float[8] b", values=weights)
    runs = [{"x": rng.standard_normal((1, 200)).astype(np.float32)} for _ in range(8)]
    result = made(model, runs)
    assert set(result.rounders.values()) == {"nearest"}
    assert node_note(result).numbers["nearest_db"] > node_note(result).numbers["gptq_db"]


def test_where_the_results_lose_by_all_together_the_nearest_are_taken(text: Any, monkeypatch: Any) -> None:
    """Rounders whose errors cancel product by product, and do not in the model: here they are made up."""
    bad = look_and_round.by_rounder

    def worst(products: Any, seen: Any, name: str, corrected: bool) -> Any:
        found = bad(products, seen, name, corrected)
        if name != "refit":
            return found
        return [replace(one, quantized=Quantized(one.quantized.grid, 0 * one.quantized.codes)) for one in found]

    monkeypatch.setattr(look_and_round, "by_rounder", worst)
    monkeypatch.setattr(look_and_round, "error_of", lambda one, seen: float(np.abs(one.quantized.codes).sum()))
    result = made(text(CONV, weights=WEIGHTS), unlike(16))
    note = model_note(result)
    assert set(result.rounders.values()) == {"nearest"} and "the nearest are taken" in note.text
    assert note.numbers["looked_db"] < note.numbers["nearest_db"]
    asked = made(text(CONV, weights=WEIGHTS), unlike(16), rounding="nearest")
    assert export(result.graph).SerializeToString() == export(asked.graph).SerializeToString()


def test_products_by_the_same_weights_have_one_rounder_and_the_weights_are_stored_once(text: Any) -> None:
    """One reads images whose pixels are alike, the other those whose pixels are not."""
    runs = [{**one, "z": other["x"]} for one, other in zip(alike(16), unlike(16), strict=True)]
    inputs, outputs = "float[1,3,8,8] x, float[1,3,8,8] z", "float[] y, float[] k"
    result = made(text("y = Conv (x, w, b)\n k = Conv (z, w, b)", inputs, outputs, WEIGHTS), runs)
    assert len(result.rounders) == 2 and len(set(result.rounders.values())) == 1
    weights = [one for one in result.graph.tensors().values() if isinstance(one, gs.Constant) and one.values.ndim == 4]
    assert len(weights) == 1


@pytest.mark.parametrize(
    ("body", "output"),
    [
        ("y = Cast <to = 7> (c)", "int64[1,4,8,8] y"),
        ("k = Cast <to = 6> (c)\n y = Identity (x)", "float[] y, int32[] k"),
    ],
)
def test_a_model_without_float_results_keeps_the_best_of_each(text: Any, body: str, output: str) -> None:
    result = made(text(f"{CONV.replace('y =', 'c =')}\n {body}", outputs=output, weights=WEIGHTS), alike(16))
    assert node_note(result).numbers and not [note for note in result.notes if "looked_db" in note.numbers]


def test_results_are_judged_before_what_only_ranks_them(text: Any) -> None:
    body = f"{CONV}\n z = Softmax <axis = 1> (y)\n k = Relu (x)"
    model = text(body, outputs="float[] z, float[] k", weights=WEIGHTS)
    graph, found, _ = found_in(model, alike(1))
    assert results_of(graph) == [found[0].match.node.outputs[0].name, "k"]


def test_fewer_samples_are_taken_where_their_tensors_have_no_room(text: Any, monkeypatch: Any) -> None:
    graph, _, _ = found_in(text(f"{CONV}\n z = Relu (y)", outputs="float[] z", weights=WEIGHTS), alike(1))
    assert peak(graph) == 2 * 4 * 8 * 8  # of y and z
    runs: Any = alike(300)
    assert usable(graph, runs).places == tuple(place * 300 // SAMPLES for place in range(SAMPLES))
    monkeypatch.setattr("bevel.passes.quantize.choose_rounders.DISK", 10 * 4 * 4 * peak(graph))
    assert usable(graph, runs).places == tuple(range(0, 300, 30))


def found_in(model: Any, samples: Any) -> tuple[gs.Graph, list[ProductWeights], Scales]:
    graph, _ = canonicalize(model)
    plan = make_plan(graph)
    options = QuantizeOptions()
    scales = choose_scales(plan, observe(gs.export_onnx(graph), samples, options.wants(graph)), options.chosen.method)
    return graph, list(find_weights(plan, scales, Chosen())), scales


def test_a_subset_walks_its_runs_in_order_and_again() -> None:
    runs = [{"x": np.array(place)} for place in range(5)]
    part = Subset(runs, (1, 4))
    for _ in range(2):
        assert [int(one["x"]) for one in part] == [1, 4]
    assert len(part) == 2


def test_a_bias_that_no_scale_of_weights_can_hold_is_refused(text: Any) -> None:
    model = text("y = Conv (x, w, b)", weights=WEIGHTS, values={"b": [1e38, 0, 0, 0]})
    small = [{"x": np.full((1, 3, 8, 8), 1e-9, np.float32)}]
    with pytest.raises(UserError, match=r"node .*: its bias of 1e\+38 is beyond its products"):
        found_in(model, small)
