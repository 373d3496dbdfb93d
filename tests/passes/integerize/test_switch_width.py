"""An integer model at fewer bits: the same nodes with rounded weights, and biases that take the mean error out."""

from __future__ import annotations

import numpy as np
import onnx_graphsurgeon as gs
import pytest

from bevel.backends.program.switching import rounded
from bevel.calib.errors import UserError
from bevel.calib.formats.format import parse
from bevel.passes.exchange.unpack_weights import unpack_weights
from bevel.passes.integerize.switch_width import switch_width, weighted_inputs
from bevel.passes.quantize import QuantizeOptions

BODY = "a = Conv <pads = [1, 1, 1, 1]> (x, w, b)\n r = Relu (a)\n f = Flatten (r)\n y = Gemm (f, v, c)"
WEIGHTS = "float[4,3,3,3] w, float[4] b, float[256,5] v, float[5] c"


def weights_of(model) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    graph = gs.import_onnx(model)
    unpack_weights(graph)
    return {
        node.name: tuple(np.asarray(tensor.values) for tensor in node.inputs[1:3])
        for node in graph.nodes
        if node.op in ("Conv", "Gemm")
    }


@pytest.mark.parametrize("bits", [7, 4, 2])
def test_weights_are_rounded_and_all_else_stays(text, stages, bits) -> None:
    done = stages(text(BODY, weights=WEIGHTS))
    before, after = weights_of(done.integer), weights_of(switch_width(done.integer, bits))
    assert before.keys() == after.keys() and len(before) == 2
    for name, (weights, bias) in before.items():
        np.testing.assert_array_equal(after[name][0], rounded(weights, bits))
        np.testing.assert_array_equal(after[name][1], bias)


def test_eight_bits_give_the_model_itself(text, stages) -> None:
    done = stages(text(BODY, weights=WEIGHTS))
    assert [node.op_type for node in switch_width(done.integer, 8).graph.node] == done.ops


def test_biases_take_the_mean_of_what_rounding_lost(text, stages) -> None:
    done = stages(text(BODY, weights=WEIGHTS))
    means = {name: np.full(3 if "Conv" in name or name == "a" else 256, 10.0) for name in weights_of(done.integer)}
    plain, corrected = (weights_of(switch_width(done.integer, 4, given)) for given in (None, means))
    conv = next(name for name, (weights, _) in plain.items() if weights.ndim == 4)
    lost = weights_of(done.integer)[conv][0].astype(int) - plain[conv][0]
    expected = np.rint(lost.sum(axis=(1, 2, 3)) * 10.0)
    np.testing.assert_array_equal((corrected[conv][1] - plain[conv][1]).ravel(), expected)


def test_what_nodes_with_weights_read_is_known_by_name(text, stages) -> None:
    done = stages(text(BODY, weights=WEIGHTS))
    read = weighted_inputs(done.integer)
    assert read.keys() == weights_of(done.integer).keys()
    tensors = {name for node in done.integer.graph.node for name in node.output} | {"x"}
    assert all(one.tensor in tensors for one in read.values())
    assert sorted((weights_of(done.integer)[name][0].ndim, one.channels) for name, one in read.items()) == [
        (2, -1),
        (4, 1),
    ]


def test_weights_that_are_not_int8_are_refused(text, stages) -> None:
    from bevel.passes.quantize.formats import weight_format

    options = QuantizeOptions(weights=weight_format("e3m2"), activations=parse("int8"))
    with pytest.raises(UserError, match="only int8 weights can change their width"):
        switch_width(stages(text(BODY, weights=WEIGHTS), options=options).integer, 4)
    with pytest.raises(UserError, match="the model has none"):
        switch_width(stages(text("y = Relu (x)")).integer, 4)
