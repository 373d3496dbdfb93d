"""What products read is flattened on the device where that gains, the function stays, and integers are exact."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest

from bevel.calib.data.dataset import random_dataset
from bevel.calib.formats.format import INT8, INT16
from bevel.calib.observe.observe import model_inputs
from bevel.passes.base import PassResult, Work
from bevel.passes.canonicalize import canonicalize
from bevel.passes.exchange.export import export
from bevel.passes.quantize import NodeFormat, QuantizeOptions
from bevel.passes.transform.flatten_inputs import FlattenInputs, rounded_columns

TOKENS = "float[6,8] x"
SILU = "u = MatMul (x, w)\n s = Sigmoid (u)\n h = Mul (u, s)\n y = MatMul (h, d)"
WEIGHTS = "float[8,44] w, float[44,64] d"
RNG = np.random.default_rng(1)
W = RNG.standard_normal((8, 44)) * np.where(np.arange(44) % 11 == 7, 12.0, 1.0)  # each eleventh channel is loud
D = RNG.standard_normal((44, 64))


def model_of(text: Any, body: str = SILU, inputs: str = TOKENS, weights: str = WEIGHTS, **values: Any) -> Any:
    names = [name for name in ("z",) if f"{name} = " in body]
    outputs = ", ".join(f"float[] {name}" for name in ("y", *names))
    return text(body, inputs, outputs, weights, {"w": W, "d": D} | values, 23)


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


LEFT: dict[str, tuple[str, str, str, dict[str, Any]]] = {
    "more multiplications than the gain is worth": (
        SILU,
        TOKENS,
        WEIGHTS.replace("[44,64]", "[44,1]"),
        {"d": D[:, :1]},
    ),
    "channels of a prime": (SILU, TOKENS, "float[8,43] w, float[43,64] d", {"w": W[:, 1:], "d": D[1:]}),
    "the model's input": ("y = MatMul (x, d)", "float[6,44] x", "float[44,64] d", {}),
    "weights that are computed": (
        SILU.replace("(h, d)", "(h, e)"),
        f"{TOKENS}, float[44,64] e",
        WEIGHTS.replace(", float[44,64] d", ""),
        {},
    ),
    "a convolution": (
        "c = Conv (x, w)\n r = Relu (c)\n y = Conv (r, d)",
        "float[1,8,5,5] x",
        "float[44,8,1,1] w, float[64,44,1,1] d",
        {"w": W.T[:, :, None, None], "d": D.T[:, :, None, None]},
    ),
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
