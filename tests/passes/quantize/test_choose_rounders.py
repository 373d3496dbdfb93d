"""The rounder whose errors leave most of a product's output on samples held out: right where we know who is."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_graphsurgeon as gs
import onnxruntime as ort
import pytest

from bevel.calib.data.dataset import Subset
from bevel.calib.errors import UserError
from bevel.calib.observe.observe import observe
from bevel.calib.rounding import rounder
from bevel.passes.canonicalize import canonicalize
from bevel.passes.quantize import QuantizeOptions, export, quantize
from bevel.passes.quantize.choose_rounders import FOLDS, SAMPLES, WORK, RoundWeights, evenly_spread
from bevel.passes.quantize.choose_scales import Scales, choose_scales
from bevel.passes.quantize.chosen import Chosen
from bevel.passes.quantize.error_probe import Fold, WeightChanges, error_powers, multiplications
from bevel.passes.quantize.formats import weight_format
from bevel.passes.quantize.plan import make_plan
from bevel.passes.quantize.result_probe import open_probe, with_results
from bevel.passes.quantize.round_weights import ProductWeights, find_weights
from bevel.passes.quantize.store_weights import weight_grid

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


def the_note(result: Any) -> Any:
    (note,) = (note for note in result.notes if note.pass_ == RoundWeights.name)
    return note


def test_kernels_that_see_one_value_are_rounded_together(text: Any) -> None:
    result = made(text(CONV, weights=WEIGHTS), alike(16))
    assert set(result.rounders.values()) == {"kernel-wise"}
    note = the_note(result)
    assert note.numbers["kernel_wise_db"] > note.numbers["nearest_db"] + 3 and note.numbers["samples"] == 16
    assert f"{note.numbers['nearest_db']:.2f} dB (16 samples, held out in turns)" in note.text


def test_kernels_whose_inputs_are_unlike_are_rounded_one_by_one(text: Any) -> None:
    result = made(text(CONV, weights=WEIGHTS), unlike(16))
    assert set(result.rounders.values()) == {"nearest"}
    assert the_note(result).numbers["nearest_db"] > the_note(result).numbers["kernel_wise_db"]


@pytest.mark.parametrize("name", ["nearest", "kernel-wise"])
def test_a_rounder_that_is_asked_for_rounds_all_and_nothing_is_measured(text: Any, name: str) -> None:
    result = made(text(CONV, weights=WEIGHTS), alike(16), rounding=name)
    assert set(result.rounders.values()) == {name}
    assert not [note for note in result.notes if note.pass_ == RoundWeights.name]


def test_what_is_chosen_is_what_the_graph_holds(text: Any) -> None:
    for samples in (alike(8), unlike(8)):
        model = text(CONV, weights=WEIGHTS)
        found = made(model, samples)
        (name,) = set(found.rounders.values())
        asked = made(text(CONV, weights=WEIGHTS), samples, rounding=name)
        assert export(found.graph).SerializeToString() == export(asked.graph).SerializeToString()


@pytest.mark.parametrize("count", [1, 2, 3])
def test_few_samples_choose_too_and_the_same_every_time(text: Any, count: int) -> None:
    results = [made(text(CONV, weights=WEIGHTS), unlike(count)) for _ in range(2)]
    assert results[0].rounders == results[1].rounders
    assert the_note(results[0]) == the_note(results[1])
    assert the_note(results[0]).numbers["samples"] == count
    said = "(the only sample)" if count == 1 else f"({count} samples, held out in turns)"
    assert said in the_note(results[0]).text


def test_without_samples_nothing_is_measured(text: Any) -> None:
    result = made(text(CONV, weights=WEIGHTS), unlike(8), with_data=False)
    assert set(result.rounders.values()) == {"kernel-wise"}
    assert not [note for note in result.notes if note.pass_ == RoundWeights.name]


def test_products_that_all_rounders_round_alike_are_not_measured(text: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr("bevel.passes.quantize.choose_rounders.choose", None)
    model = text("y = MatMul (x, w)", "float[2,8] x", weights="float[8,4] w")
    result = made(model, [{"x": np.ones((2, 8), np.float32)}] * 4)
    assert set(result.rounders.values()) == {"nearest"}


@pytest.mark.parametrize("corrected", [True, False])
def test_what_the_biases_are_corrected_by_saw_no_sample_that_they_are_judged_by(text: Any, corrected: bool) -> None:
    """Each of four samples holds one value, and the mean of the others."""
    model = text("y = Conv (x, w, b)", weights=WEIGHTS)
    w, b = (onnx_values(tensor).astype(np.float64) for tensor in model.graph.initializer)
    values = np.array([1.0, 1.0, 1.0, -1.0])
    samples = [{"x": np.full((1, 3, 8, 8), value, np.float32)} for value in values]
    found = the_note(made(model, samples, bias_correction=corrected)).numbers
    means = (values.sum() - values) / 3 if corrected else np.zeros(4)
    grid = weight_grid(w.astype(np.float32), INT4, 0)
    for name in ("nearest", "kernel-wise"):
        changed = (rounder(name)(w.astype(np.float32), grid).dequantize() - w).sum((1, 2, 3))
        noise = np.square(np.outer(values - means, changed)).sum()
        signal = np.square(b + np.outer(values, w.sum((1, 2, 3)))).sum()
        # sums of float32
        assert found[f"{name.replace('-', '_')}_db"] == pytest.approx(10 * np.log10(signal / noise), abs=1e-3)


def test_every_product_in_doubt_is_measured_and_no_other(text: Any) -> None:
    body = f"{CONV}\n z = ConvTranspose (x, u, c)\n m = MatMul (x, v)\n k = Add (m, a)\n n = Conv (k, t, d)"
    weights = f"{WEIGHTS}, float[3,2,2,2] u, float[2] c, float[8,8] v, float[8] a, float[2,3,2,2] t, float[2] d"
    model = text(body, outputs="float[] y, float[] z, float[] n", weights=weights)
    result = made(model, unlike(8))
    measured = [note for note in result.notes if note.pass_ == RoundWeights.name]
    assert {note.node for note in measured} >= {"y", "n"} and len(measured) == 3


def test_products_that_would_lose_the_same_are_rounded_unlike(text: Any) -> None:
    """Both read the same by nearly the same weights, and the result is their sum: the errors of one rounder add up, and
    each product by itself would have the same rounder."""
    body = "k = Conv <pads = [1,1,1,1]> (x, w, b)\n m = Conv <pads = [1,1,1,1]> (x, v, c)\n y = Add (k, m)"
    rng = np.random.default_rng(5)
    w = rng.standard_normal((4, 3, 3, 3)).astype(np.float32)
    values = {"w": w, "v": w + np.float32(1e-4) * rng.standard_normal(w.shape).astype(np.float32)}
    samples = [{"x": one["x"] + other["x"]} for one, other in zip(alike(32), unlike(32), strict=True)]

    def of(**options: Any) -> tuple[Any, float]:
        model = text(body, weights=f"{WEIGHTS}, float[4,3,3,3] v, float[4] c", values=values)
        result = made(model, samples, **options)
        return result, left(model, result, samples)

    result, best = of()
    assert set(result.rounders.values()) == {"nearest", "kernel-wise"}
    assert best > max(of(rounding=name)[1] for name in ("nearest", "kernel-wise")) + 1
    (note,) = (note for note in result.notes if "model_after_db" in note.numbers)
    before, after = note.numbers["model_before_db"], note.numbers["model_after_db"]
    assert after > before and f"leaves {after:.2f} dB instead of {before:.2f} dB" in note.text


def left(model: Any, result: Any, samples: Any) -> float:
    """dB of the model's result that a quantized graph leaves."""
    quantized = export(result.graph)
    exact, found = ([run(one, sample) for sample in samples] for one in (model, quantized))
    noise = sum(float(np.square(a - b).sum()) for a, b in zip(exact, found, strict=True))
    return float(10 * np.log10(sum(float(np.square(a).sum()) for a in exact) / noise))


def test_products_by_the_same_weights_have_one_rounder_and_the_weights_are_stored_once(text: Any) -> None:
    """One reads images whose pixels are alike, the other those whose pixels are not: apart, each has its own."""
    body = "y = Conv (x, w, b)\n k = Conv (z, w, b)"
    apart = "y = Conv (x, w, b)\n k = Conv (z, v, b)"
    runs = [{**one, "z": other["x"]} for one, other in zip(alike(16), unlike(16), strict=True)]
    inputs, outputs = "float[1,3,8,8] x, float[1,3,8,8] z", "float[] y, float[] k"

    def of(body: str, weights: str) -> Any:
        return made(text(body, inputs, outputs, weights), runs)

    assert set(of(apart, f"{WEIGHTS}, float[4,3,3,3] v").rounders.values()) == {"kernel-wise", "nearest"}
    result = of(body, WEIGHTS)
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
    assert set(result.rounders.values()) == {"kernel-wise"}
    assert "model_after_db" not in the_note(result).numbers


def test_results_are_judged_before_what_only_ranks_them(text: Any) -> None:
    model = text(f"{CONV}\n z = Softmax <axis = 1> (y)\n k = Relu (x)", outputs="float[] z, float[] k", weights=WEIGHTS)
    graph, found, _ = found_in(model, alike(1))
    _, names = with_results(graph)
    assert names == [found[0].match.node.outputs[0].name, "k"]


# What is measured


def found_in(model: Any, samples: Any) -> tuple[gs.Graph, list[ProductWeights], Scales]:
    graph, _ = canonicalize(model)
    plan = make_plan(graph)
    options = QuantizeOptions()
    scales = choose_scales(plan, observe(gs.export_onnx(graph), samples, options.wants(graph)), options.chosen.method)
    return graph, list(find_weights(plan, scales, Chosen())), scales


@pytest.mark.parametrize(
    ("body", "inputs", "weights"),
    [
        (CONV, "float[1,3,8,8] x", WEIGHTS),
        ("y = Conv <group = 3, strides = [2,2]> (x, w, b)", "float[1,3,8,8] x", "float[6,1,3,3] w, float[6] b"),
        ("y = ConvTranspose <group = 2> (x, w, b)", "float[1,4,5,5] x", "float[4,3,3,3] w, float[6] b"),
        ("y = Conv (x, w)", "float[1,3,9] x", "float[4,3,3] w"),
        ("m = MatMul (x, w)\n y = Add (m, b)", "float[3,5] x", "float[5,4] w, float[4] b"),
    ],
)
def test_powers_are_those_of_the_model_with_changed_weights(text: Any, body: str, inputs: str, weights: str) -> None:
    rng = np.random.default_rng(5)
    model = text(body, inputs, weights=weights)
    shape = [dim.dim_value for dim in model.graph.input[0].type.tensor_type.shape.dim]
    samples = [{"x": rng.standard_normal(shape).astype(np.float32)} for _ in range(3)]
    graph, (found,), _ = found_in(model, samples)
    change = 0.1 * rng.standard_normal(found.tensor.values.shape).astype(np.float32)
    outputs = found.groups * change.shape[1] if found.axis == 1 else change.shape[0]
    shift = 0.1 * rng.standard_normal(outputs).astype(np.float32)
    before = export(graph).SerializeToString()
    trial = WeightChanges(found, {"c": (change, shift), "none": (0 * change, 0 * shift)})
    folds = [Fold(Subset(samples, places), [trial]) for places in ((0, 2), (1,))]
    ((signal, powers),) = error_powers(graph, folds)
    assert export(graph).SerializeToString() == before
    other = text(body, inputs, weights=weights)
    for tensor in other.graph.initializer:
        values = onnx_values(tensor)
        added = change if tensor.name == "w" else shift.reshape(values.shape)
        tensor.raw_data = (values + added).tobytes()
    difference = [run(other, one) - run(model, one) for one in samples]
    if len(model.graph.initializer) == 1:  # no bias that the shift could be added to
        difference = [one + shift.reshape(-1, *[1] * (change.ndim - 2)) for one in difference]
    assert powers["c"] == pytest.approx(sum(float(np.square(one).sum()) for one in difference), rel=1e-4)  # float32
    assert powers["none"] == 0 and signal > 0
    probe = open_probe(graph, folds)
    assert probe is not None and [sample.fold for sample in probe.samples] == [0, 0, 1]
    whole = sum(float(np.square(run(model, one)).sum()) for one in samples)
    expected = [float(np.square(difference[place]).sum()) / whole for place in (0, 2, 1)]
    assert list(probe.errors(["c"])) == pytest.approx(expected, rel=1e-3)  # differences of two float32, not of one
    assert list(probe.errors(["none"])) == [0, 0, 0]
    assert export(graph).SerializeToString() == before


def onnx_values(tensor: Any) -> Any:
    return np.frombuffer(tensor.raw_data, np.float32).reshape(list(tensor.dims))


def run(model: Any, sample: Any) -> Any:
    return ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"]).run(None, sample)[0]


@pytest.mark.parametrize(("total", "count"), [(1, 1), (3, 3), (100, 100), (1000, SAMPLES)])
def test_samples_are_evenly_spread(text: Any, total: int, count: int) -> None:
    _, found, _ = found_in(text(CONV, weights=WEIGHTS), alike(1))
    used = evenly_spread(alike(total), found, [])
    assert len(used) == count and len(set(used)) == count and used[-1] == total - 1
    assert np.ptp(np.diff(used)) <= 1 if count > 1 else True


def test_large_models_are_measured_on_fewer_samples(text: Any, monkeypatch: Any) -> None:
    _, found, _ = found_in(text(CONV, weights=WEIGHTS), alike(1))
    assert multiplications(found[0]) == 4 * 8 * 8 * 3 * 3 * 3 < WORK
    monkeypatch.setattr("bevel.passes.quantize.choose_rounders.WORK", 5 * multiplications(found[0]))
    assert len(evenly_spread(alike(100), found, [])) == 5


def test_a_thinned_fold_keeps_samples_evenly() -> None:
    fold = Fold(Subset([{}] * 32, tuple(range(0, 32, FOLDS))), [])
    assert fold.thinned(4).runs.places == (0, 8, 16, 24)
    assert fold.thinned(100).runs.places == fold.runs.places


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
