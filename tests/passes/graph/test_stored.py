"""A graph that was stored is the same when it is read: what it holds, who asks for what, and in which order."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import onnx.parser
import onnx_graphsurgeon as gs
import pytest

from bevel.calib.formats.coded import coded
from bevel.passes.graph.coded_constant import CodedConstant
from bevel.passes.graph.stored import NotStored, read, stored

TEXT = """
<ir_version: 10, opset_import: ["" : 21, "ours" : 3]>
agraph (float[2, 3] x, float[2, 3] unused) => (float[2, 3] y, float[2, 3] a)
<float[3] w = {1, 2, 3}>
{
    [first] a = Relu(x)
    [second] b = Add(a, w)
    [third] c = Mul(a, a)
    [fourth] d = ours.Odd <axis = 2, names = ["p", "q"]> (b, c)
    [fifth] y = Clip(d, , w)
}
"""


def graph() -> gs.Graph:
    return gs.import_onnx(onnx.parser.parse_model(TEXT))


def told(graph: gs.Graph) -> list[object]:
    """Nodes and tensors with their neighbours, by name, in order."""
    tensors = {id(one): one for node in graph.nodes for one in (*node.inputs, *node.outputs)}
    return [
        [(node.name, node.op, node.domain, node.attrs, [one.name for one in node.inputs]) for node in graph.nodes],
        [
            (one.name, [node.name for node in one.inputs], [node.name for node in one.outputs])
            for one in tensors.values()
        ],
        [one.name for one in graph.inputs],
        [one.name for one in graph.outputs],
    ]


def test_model_is_the_same_byte_for_byte() -> None:
    before = graph()
    after = read(stored(before, {}), {})
    assert gs.export_onnx(after).SerializeToString() == gs.export_onnx(before).SerializeToString()
    assert told(after) == told(before)


def test_consumers_keep_an_order_that_is_not_that_of_the_nodes() -> None:
    before = graph()
    before.nodes.reverse()
    list.reverse(before.inputs[0].outputs)
    (a,) = (one for node in before.nodes for one in node.outputs if one.name == "a")
    list.reverse(a.outputs)
    assert told(read(stored(before, {}), {})) == told(before)


def test_what_was_read_can_be_edited() -> None:
    after = read(stored(graph(), {}), {})
    second = next(node for node in after.nodes if node.name == "second")
    (a, w) = second.inputs
    second.inputs.remove(a)
    assert [node.name for node in a.outputs] == ["third", "third"]
    second.outputs.clear()
    w.name = "other"
    assert next(node for node in after.nodes if node.name == "fifth").inputs[2].name == "other"


def test_codes_of_a_constant_and_arrays_of_both_are_one_object() -> None:
    before, values = graph(), np.array([1, -2, 3])
    constant = CodedConstant("codes", coded(values))
    before.nodes[1].inputs[1] = constant
    after, array = read(stored((before, constant.coded), {}), {})
    found = after.nodes[1].inputs[1]
    assert type(found) is CodedConstant and found.coded is array
    np.testing.assert_array_equal(found.values, values)


def test_a_deep_graph_is_no_deep_recursion() -> None:
    tensors = [gs.Variable(f"t{place}", np.float32, (1,)) for place in range(20_001)]
    nodes = [gs.Node("Relu", f"n{place}", None, [a], [b]) for place, (a, b) in enumerate(pairwise(tensors))]
    after = read(stored(gs.Graph(nodes, tensors[:1], tensors[-1:]), {}), {})
    assert len(after.nodes) == 20_000 and after.nodes[-1].outputs[0] is after.outputs[0]


def test_what_stands_outside_stays_what_it_is() -> None:
    outside = object()
    both = read(stored([outside, 1, outside], {"it": outside}), {"it": outside})
    assert both[0] is outside and both[2] is outside
    with pytest.raises(NotStored, match="it"):
        read(stored([outside], {"it": outside}), {})


def test_nodes_and_functions_without_a_name_are_refused() -> None:
    with pytest.raises(NotStored, match="second"):
        stored((graph(), graph().nodes[1]), {})
    with pytest.raises(NotStored, match="'a'"):
        stored(graph().nodes[0].outputs[0], {})
    with pytest.raises(NotStored):
        stored(lambda: 1, {})
    with pytest.raises(NotStored):
        read(b"no pickle", {})
