"""Outputs beyond an operator's first: left out where nobody reads them, computed by nodes of their own otherwise."""

import pytest

from bevel.calib.errors import UserError
from bevel.passes.canonicalize import canonicalize
from bevel.passes.canonicalize.lower_statistics import LowerStatistics
from bevel.passes.canonicalize.trim_outputs import TrimOutputs

NORM = "float[8] s, float[8] b"
BATCH = "float[3] g, float[3] b, float[3] m, float[3] v"
TRAINING = "y, mean, var = BatchNormalization <training_mode = 1, momentum = 0.8> (x, g, b, m, v)"


@pytest.mark.parametrize(
    ("body", "weights"),
    [
        ("y, mean, inv = LayerNormalization (x, s, b)", NORM),
        ("y, mask = Dropout (x)", ""),
        ("y, places = MaxPool <kernel_shape = [2,2]> (x)", ""),
    ],
)
def test_outputs_that_nobody_reads_go(model, apply, body, weights) -> None:
    result = apply(model(body, weights=weights), TrimOutputs())
    assert [len(node.outputs) for node in result.graph.nodes] == [1]
    assert not TrimOutputs()(result.work).modified


@pytest.mark.parametrize(
    ("body", "outputs", "left"),
    [
        ("y, z = Split <axis = 2, num_outputs = 2> (x)", "float[] y", 2),
        ("y, z = TopK (x, k)", "float[] y", 2),
        ("y, mean = LayerNormalization (x, s, b)", "float[] y, float[] mean", 2),
    ],
)
def test_outputs_that_have_to_be_there_stay(model, apply, body, outputs, left) -> None:
    subject = model(body, outputs=outputs, weights=f"{NORM}, int64[1] k", values={"k": [2]})
    result = apply(subject, TrimOutputs())
    assert not result.modified and len(result.graph.nodes[0].outputs) == left


@pytest.mark.parametrize("axis", [-1, 1, 2])
@pytest.mark.parametrize("names", ["mean, inv", "mean", ", inv"])
def test_mean_and_deviation_of_a_layer_normalization_are_computed(model, apply, operators, axis, names) -> None:
    outputs = "float[] y, " + ", ".join(f"float[] {name}" for name in names.replace(",", "").split())
    body = f"y, {names} = LayerNormalization <axis = {axis}, epsilon = 0.001> (x, s, b)"
    shape = [3, 8, 8][axis - 1 :] if axis > 0 else [8]
    weights = f"float{shape} s, float{shape} b"
    result = apply(model(body, outputs=outputs, weights=weights), LowerStatistics())
    assert "ReduceMean" in operators(result)
    assert all(len(node.outputs) == 1 for node in result.graph.nodes)


def test_the_mask_of_a_dropout_that_drops_nothing_is_true_everywhere(model, apply, operators) -> None:
    result = apply(model("y, mask = Dropout (x)", outputs="float[] y, bool[] mask"), LowerStatistics())
    assert operators(result) == ["Dropout", "Identity"]


def test_a_dropout_that_drops_is_refused(model) -> None:
    subject = model("y = Dropout (x, half, yes)", weights="float half, bool yes", values={"half": 0.5, "yes": True})
    with pytest.raises(UserError, match=r"\(Dropout\) is in training mode"):
        canonicalize(subject)


@pytest.mark.parametrize("outputs", ["float[] y", "float[] y, float[] mean, float[] var", "float[] y, float[] var"])
def test_batch_normalization_in_training_uses_the_batch_s_own_moments(model, apply, operators, outputs) -> None:
    subject = model(TRAINING, "float[4,3,5,5] x", outputs, BATCH)
    result = apply(subject, LowerStatistics())
    assert "BatchNormalization" not in operators(result)
    assert "is in training mode" in result.notes[0].text
    canonicalize(subject)


def test_batch_normalization_for_inference_stays(model, apply) -> None:
    subject = model("y = BatchNormalization (x, g, b, m, v)", weights=BATCH)
    assert not apply(subject, LowerStatistics()).modified
