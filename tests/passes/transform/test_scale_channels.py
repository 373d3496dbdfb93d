"""What passes that scale channels choose, what it does to ranges, and that they are undone where they are not exact."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import onnx
import onnx_graphsurgeon as gs
import pytest

from bevel.calib.data.dataset import Runs, random_dataset
from bevel.calib.observe.observe import model_inputs
from bevel.passes.base import Pass, PassResult, Work
from bevel.passes.canonicalize import canonicalize
from bevel.passes.transform.equalize import Equalize
from bevel.passes.transform.scale_channels import columns, rows
from bevel.passes.transform.smooth import Smooth
from bevel.passes.transform.smooth_keys import SmoothKeys
from bevel.passes.transform.transform import Changed, Transform
from bevel.passes.transform.uses import LinearUse

RNG = np.random.default_rng(1)
UNLIKE = np.geomspace(0.05, 20, 8)
NORM = "n = LayerNormalization (x, g, b)\n m = MatMul (n, w)\n y = Sigmoid (m)"
GAIN = np.array([1, 1, 40, 1, 1, 1, 1, 1.0])
PAIR = "q = MatMul (x, w)\n k = MatMul (x, v)\n t = Transpose <perm = [0,2,1]> (k)\n y = MatMul (q, t)"
FLAT = {"g": np.ones(8), "b": np.zeros(8), "w": RNG.choice([-1.0, 1.0], (8, 5))}
KEYS = RNG.standard_normal((8, 5)) * [1, 30, 1, 1, 1]
CHAIN = "c = Conv (x, w)\n r = Relu (c)\n y = Conv (r, v)"


def run(one: Pass, model: onnx.ModelProto) -> PassResult:
    graph, _ = canonicalize(model)
    return one(Work(graph, data=random_dataset(model_inputs(model), 8, seed=0)))


def node_of(result: PassResult, name: str) -> gs.Node:
    return next(node for node in result.graph.nodes if node.name == name)


def test_equalised_weights_reach_as_far_on_both_sides(text: Callable[..., onnx.ModelProto]) -> None:
    weights = RNG.standard_normal((8, 3, 3, 3)) * UNLIKE.reshape(-1, 1, 1, 1)
    model = text(CHAIN, "float[1,3,8,8] x", weights="float[8,3,3,3] w, float[4,8,1,1] v", values={"w": weights})
    result = run(Equalize(), model)
    none = np.zeros(0, np.int64)
    made = rows(LinearUse(node_of(result, "c"), none, none))
    read = columns(LinearUse(node_of(result, "y"), none, none))
    ratio = made / read
    np.testing.assert_allclose(ratio, ratio[0], rtol=1e-5)  # equal but for one factor, which no format sees
    assert result.work.transforms[0].relative < 1e-5


def test_smoothing_takes_an_outlier_out_of_a_normalization(text: Callable[..., onnx.ModelProto]) -> None:
    model = text(NORM, "float[1,6,8] x", weights="float[8] g, float[8] b, float[8,5] w", values={"g": GAIN})
    result = run(Smooth(), model)
    (told,) = result.work.transforms
    (tensor,) = told.tensors
    assert tensor.before.peak > 2.5 and tensor.after.peak < 0.9 * tensor.before.peak
    assert tensor.after.kurtosis < tensor.before.kurtosis
    assert tensor.after.log_qsur > tensor.before.log_qsur + 0.5
    note = next(note for note in result.notes if note.node == "m")
    assert note.numbers["predicted_db"] > 5 and "alpha" in note.text


def test_what_a_loud_channel_leaves_no_code_of_4_bits_is_not_dead(text: Callable[..., onnx.ModelProto]) -> None:
    values = {"g": GAIN, "w": RNG.standard_normal((8, 5)) / GAIN[:, None]}
    model = text(NORM, "float[1,6,8] x", weights="float[8] g, float[8] b, float[8,5] w", values=values)
    note = next(note for note in run(Smooth(weights="int4", activations="int4"), model).notes if note.node == "m")
    assert note.numbers["predicted_db"] > 8


def test_a_tensor_without_outliers_is_left(text: Callable[..., onnx.ModelProto]) -> None:
    model = text(NORM, "float[1,6,8] x", weights="float[8] g, float[8] b, float[8,5] w", values=FLAT)
    assert not run(Smooth(), model).modified


def test_alpha_can_be_given(text: Callable[..., onnx.ModelProto]) -> None:
    model = text(NORM, "float[1,6,8] x", weights="float[8] g, float[8] b, float[8,5] w", values={"g": GAIN})
    notes = run(Smooth(alpha=0.5), model).notes
    assert next(note for note in notes if note.node == "m").numbers["alpha"] == 0.5


def test_keys_are_smoothed_against_queries(text: Callable[..., onnx.ModelProto]) -> None:
    model = text(PAIR, "float[1,9,8] x", weights="float[8,5] w, float[8,5] v", values={"v": KEYS})
    result = run(SmoothKeys(), model)
    weights = {name: np.abs(node_of(result, name).inputs[1].values).max(0) for name in "qk"}
    assert weights["k"].max() / np.median(weights["k"]) < 10  # 30 or so before
    assert weights["q"].argmax() == 1


@pytest.mark.parametrize("one", [Smooth(), SmoothKeys(), Equalize()])
def test_a_network_of_functions_alone_has_no_place_for_it(text: Callable[..., onnx.ModelProto], one: Pass) -> None:
    assert not run(one, text("a = Sigmoid (x)\n y = Softmax (a)", "float[1,9,8] x")).modified


@dataclass(frozen=True)
class Louder(Transform):
    """No transform at all: it doubles what a product makes."""

    name: ClassVar[str] = "louder"

    def changed(self, graph: gs.Graph, samples: Runs) -> tuple[Changed | None, list[Any]]:
        node = graph.nodes[0]
        node.inputs[1] = gs.Constant("doubled", node.inputs[1].values * np.float32(2))
        return Changed(graph, 1, {}), []


def test_what_changes_the_function_is_undone_and_says_by_how_much(text: Callable[..., onnx.ModelProto]) -> None:
    model = text("y = MatMul (x, w)", "float[2,6] x", weights="float[6,5] w")
    result = run(Louder(), model)
    assert not result.modified and result.work.transforms == ()
    (note,) = result.notes
    assert note.kind == "refused" and note.numbers["relative"] == pytest.approx(1.0)
    assert "undone" in note.text


def test_values_are_sampled_with_their_extremes() -> None:
    from bevel.passes.transform.seen import VALUES, values_of_places

    arrays: Sequence[Any] = [RNG.standard_normal((3, 4000)).astype(np.float32) for _ in range(2)]
    places = np.broadcast_to(np.array([[1], [0], [-1]]), (3, 4000))
    found = values_of_places(arrays, places, 2)
    assert found.shape[0] == 3 and found.shape[1] <= 2 * VALUES
    for row, channel in ((0, 1), (1, 0), (2, 2)):
        every = np.concatenate([one[channel] for one in arrays])
        assert np.nanmax(found[row]) == every.max() and np.nanmin(found[row]) == every.min()


def test_products_that_stay_float_have_nothing_to_smooth(text: Callable[..., onnx.ModelProto]) -> None:
    """Three spatial axes: no operator of integers, and nothing there is rounded."""
    body = "a = Conv (x, w)\n y = Conv (a, v)"
    model = text(body, "float[1,2,5,6,7] x", weights="float[4,2,2,2,2] w, float[3,4,2,2,2] v")
    assert not run(Smooth(), model).modified
