"""What products read is flattened on the device where that gains, the function stays, and integers are exact."""

from __future__ import annotations

from typing import Any

import numpy as np
import online_transforms
import onnx
import pytest
from online_transforms import SILU, TOKENS, WEIGHTS, D, loud

from bevel.calib.data.dataset import random_dataset
from bevel.calib.formats.format import INT8, INT16
from bevel.calib.observe.observe import model_inputs
from bevel.passes.base import PassResult, Work
from bevel.passes.canonicalize import canonicalize
from bevel.passes.exchange.export import export
from bevel.passes.quantize import NodeFormat, QuantizeOptions
from bevel.passes.transform.flatten_inputs import FlattenInputs, rounded_columns

W = loud(every=11)


def model_of(text: Any, *parts: str, **values: Any) -> Any:
    return online_transforms.model_of(text, W, *parts, **values)


def flattened(model: onnx.ModelProto, bits: str = "int4", **options: Any) -> PassResult:
    graph, _ = canonicalize(model)
    work = Work(graph, data=random_dataset(model_inputs(model), 8, seed=0))
    return FlattenInputs(bits, bits, **options)(work)


def test_what_a_nonlinearity_makes_is_flattened_and_the_function_stays(text: Any) -> None:
    result = flattened(model_of(text))
    (told,) = result.work.transforms
    assert told.sites == 1 and told.relative < 1e-5  # float32 sums of 44 terms; another function is off by 1e-2
    assert told.operations == 6 * 44 * (4 + 11)
    (tensor,) = told.tensors
    assert tensor.before.peak is not None and tensor.after.peak is not None and tensor.after.peak < tensor.before.peak
    sides = [node.inputs[1].shape for node in result.graph.nodes if node.op == "Gemm"]
    assert [tuple(one) for one in sides] == [(8, 44), (11, 11), (4, 4), (44, 64)]
    (note,) = (note for note in result.notes if "share" in note.numbers)
    assert "4 by 11" in note.text and note.numbers["share"] == pytest.approx((4 + 11) / 64)


def test_products_of_eight_bits_read_and_pass_sixteen(text: Any) -> None:
    for bits, before, between in (("int4", INT8, INT8), ("int8", INT16, INT16)):
        nodes = flattened(model_of(text), bits).work.schemes.nodes
        made = {name.rpartition("/")[2]: one for name, one in nodes.items()}
        assert made.pop("right") == NodeFormat(INT8, between) and made.pop("left") == NodeFormat(INT8)
        assert list(made.values()) == [NodeFormat(activations=before)]


def test_both_matrices_are_held_by_int8_exactly(text: Any) -> None:
    gemms = [node for node in flattened(model_of(text)).graph.nodes if node.op == "Gemm"]
    for node in gemms[1:3]:
        values = node.inputs[1].values
        np.testing.assert_allclose(rounded_columns(values), values, rtol=1e-6)  # of float32


def test_products_that_read_one_tensor_share_an_affine(text: Any) -> None:
    result = flattened(model_of(text, f"{SILU}\n z = MatMul (h, e)", weights=f"{WEIGHTS}, float[44,3] e"))
    assert [node.op for node in result.graph.nodes].count("Transpose") == 1
    assert result.work.transforms[0].sites == 1 and result.work.transforms[0].relative < 1e-5


def test_a_second_run_finds_nothing_more(text: Any) -> None:
    first = flattened(model_of(text), gain=-99.0).work
    assert not FlattenInputs("int4", "int4", gain=-99.0)(first).modified


LEFT = online_transforms.left(W) | {
    "channels of a prime": (SILU, TOKENS, "float[8,43] w, float[43,64] d", {"w": W[:, 1:], "d": D[1:]}),
}


@pytest.mark.parametrize("name", LEFT)
def test_others_are_left(text: Any, name: str) -> None:
    body, inputs, weights, values = LEFT[name]
    assert not flattened(model_of(text, body, inputs, weights, **values)).modified


@pytest.mark.parametrize("bits", ["int4", "int8"])
def test_devices_answer_as_the_integer_model(text: Any, stages: Any, bits: str) -> None:
    work = flattened(model_of(text), bits).work
    made = stages(export(work.graph), list(work.samples), QuantizeOptions(nodes=work.schemes.nodes))
    assert len([one for one in made.calls if one in ("Gemm", "CodedConv")]) == 4  # of int16 is the latter
    for sample in made.extremes():
        made.run(sample)
