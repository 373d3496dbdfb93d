"""An integer model at fewer bits: the same nodes with rounded weights, and biases that take the mean error out."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx_graphsurgeon as gs
import pytest

from bevel.backends.program.switching import rounded
from bevel.calib.errors import UserError
from bevel.calib.formats.format import parse
from bevel.calib.observe.observe import observe
from bevel.passes.base import Work
from bevel.passes.canonicalize import canonicalize
from bevel.passes.exchange.export import export
from bevel.passes.exchange.unpack_weights import unpack_weights
from bevel.passes.integerize.integerize import ToIntegers
from bevel.passes.integerize.switch_width import SwitchWidths, input_means, switch_width, weighted_inputs
from bevel.passes.quantize import QuantizeOptions
from bevel.passes.recipes import DEFAULT, read
from bevel.passes.recipes.build import build

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


def prepared(text, edge: str = "float") -> Work:
    """An integer graph, with the samples that it was calibrated with."""
    graph, _ = canonicalize(text(BODY, "float[1,3,8,8] x", weights=WEIGHTS))
    rng = np.random.default_rng(3)
    samples = [{"x": 1 + rng.standard_normal((1, 3, 8, 8)).astype(np.float32)} for _ in range(4)]
    recipe = build(read(DEFAULT)).with_fields(ToIntegers, inputs=edge)
    work = Work(graph, data=samples)
    work = replace(work, observations=observe(gs.export_onnx(graph), samples, recipe.wants(graph)))
    for stage in ("assign", "quantize", "integerize"):
        work = recipe.run(stage, work)
    return work


def test_the_pass_makes_a_model_for_each_width_and_says_so(text) -> None:
    work = prepared(text)
    assert work.narrower == {}
    done = SwitchWidths("6,4")(work)
    assert not done.modified and list(done.work.narrower) == [6, 4]
    note = done.notes[-1]
    assert (note.pass_, note.kind) == ("switch-widths", "chosen") and "at 6,4 bits too" in note.text
    integer = export(work.graph, work.ports)
    means = input_means(integer, list(work.samples))
    for bits, model in done.work.narrower.items():
        assert model.SerializeToString() == switch_width(integer, bits, means).SerializeToString()
    plain = SwitchWidths("4", corrected=False)(work).work.narrower[4]
    assert plain.SerializeToString() == switch_width(integer, 4).SerializeToString()
    assert plain.SerializeToString() != done.work.narrower[4].SerializeToString()


def test_means_are_the_same_where_inputs_come_as_integers(text) -> None:
    floats, codes = (
        weights_of(SwitchWidths("4")(prepared(text, edge)).work.narrower[4]) for edge in ("float", "quantized")
    )
    for (_, one), (_, other) in zip(floats.values(), codes.values(), strict=True):
        np.testing.assert_array_equal(one, other)
