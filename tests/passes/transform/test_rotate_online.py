"""What products read is rotated on the device where that gains, and where nothing before can do it for free."""

from __future__ import annotations

from typing import Any

import numpy as np
import online_transforms
import onnx
import pytest
from online_transforms import SILU, TOKENS, WEIGHTS, loud

from bevel.calib.arithmetic.walsh_hadamard import factored
from bevel.calib.data.dataset import random_dataset
from bevel.calib.formats.format import INT16, IntFormat
from bevel.calib.observe.observe import model_inputs
from bevel.passes.base import PassResult, Work
from bevel.passes.canonicalize import canonicalize
from bevel.passes.exchange.export import export
from bevel.passes.quantize import NodeFormat, QuantizeOptions
from bevel.passes.transform.rotate_online import RotateOnline, form_of, rotation

W = loud(every=44)


def model_of(text: Any, *parts: str, **values: Any) -> Any:
    return online_transforms.model_of(text, W, *parts, **values)


def rotated(model: onnx.ModelProto, **options: Any) -> PassResult:
    graph, _ = canonicalize(model)
    return RotateOnline(**options)(Work(graph, data=random_dataset(model_inputs(model), 8, seed=0)))


def test_what_a_nonlinearity_makes_is_rotated_and_the_function_stays(text: Any) -> None:
    result = rotated(model_of(text), activations="int4")
    (told,) = result.work.transforms
    assert told.sites == 1 and told.relative < 1e-5  # float32 sums of 44 terms; another function is off by 1e-2
    (turn,) = (node for node in result.graph.nodes if node.op == "MatMul")
    assert turn.inputs[0].inputs[0].op == "Mul" and turn.o().op == "Gemm"
    (note,) = (note for note in result.notes if "share" in note.numbers)
    assert note.numbers["additions"] == form_of(44, 0).additions == 32 * 5 + 12 * 12
    assert note.numbers["share"] == pytest.approx(note.numbers["additions"] / (44 * 64))


def test_8_bits_before_the_rotation_would_lose_what_8_bits_behind_it_gain(text: Any) -> None:
    for activations, wide in (("int8", True), ("int4", False)):
        result = rotated(model_of(text), activations=activations)
        nodes = result.work.schemes.nodes
        assert result.modified
        assert list(nodes.values()) == ([NodeFormat(activations=INT16)] if wide else [])


def test_products_that_read_one_tensor_share_a_rotation(text: Any) -> None:
    result = rotated(model_of(text, f"{SILU}\n z = MatMul (h, e)", weights=f"{WEIGHTS}, float[44,3] e"))
    assert [node.op for node in result.graph.nodes].count("MatMul") == 1 and result.work.transforms[0].sites == 1


def test_a_second_run_finds_nothing_more(text: Any) -> None:
    first = rotated(model_of(text), activations="int4").work
    assert not RotateOnline(activations="int4")(first).modified


NORM = "n = RMSNormalization (a, q)"
LEFT = online_transforms.left(W) | {
    "two values, which any number of bits holds": (
        "u = MatMul (x, w)\n h = Tanh (u)\n y = MatMul (h, d)",
        TOKENS,
        WEIGHTS,
        {"w": 1000 * W},
    ),
    "a stream that can be turned where it is made": (
        f"a = MatMul (x, w)\n {NORM}\n y = MatMul (n, d)",
        TOKENS,
        f"{WEIGHTS}, float[44] q",
        {},
    ),
}


@pytest.mark.parametrize("name", LEFT)
def test_others_are_left(text: Any, name: str) -> None:
    body, inputs, weights, values = LEFT[name]
    assert not rotated(model_of(text, body, inputs, weights, **values), activations="int4").modified


def test_a_stream_that_leaves_the_model_is_rotated_online(text: Any) -> None:
    """Nothing before can turn it."""
    body, inputs, weights, _ = LEFT["a stream that can be turned where it is made"]
    found = rotated(model_of(text, f"{body}\n z = Identity (a)", inputs, weights), activations="int4", gain=-99.0)
    assert found.modified


@pytest.mark.parametrize("n", [1, 2, 3, 4, 7, 12, 40, 44, 50, 64, 96, 172, 255, 1023])
def test_there_is_a_rotation_of_every_size(n: int) -> None:
    form = form_of(n, 5)
    found = rotation(form)
    np.testing.assert_allclose(found @ found.T, np.eye(n), atol=1e-12)  # float64 sums of n terms
    assert sum(one.size for one in form.blocks) == n and form.additions <= n * 32
    known = factored(found.astype(np.float32))
    assert known is not None  # by whom it becomes an operator
    np.testing.assert_array_equal(known[0].matrix(), form.matrix())


def test_devices_answer_as_the_integer_model(text: Any, stages: Any) -> None:
    model = model_of(text)
    work = rotated(model, activations="int4").work
    (turn,) = (node for node in work.graph.nodes if node.op == "MatMul")
    for wide in (False, True):
        nodes = {turn.name: NodeFormat(activations=IntFormat(4, signed=True))}
        nodes |= {turn.inputs[0].inputs[0].name: NodeFormat(activations=INT16)} if wide else {}
        made = stages(export(work.graph), list(work.samples), QuantizeOptions(nodes=nodes))
        assert made.ops.count("WalshHadamard") == 1 and made.calls.count("WalshHadamard") == 1
        for sample in made.extremes():
            made.run(sample)
            assert made.error(sample) <= 2  # int4's rounding of a sum that is a step off moves the product by another
