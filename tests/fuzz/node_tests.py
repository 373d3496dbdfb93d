"""The node tests that ship with ONNX, as models for `optimize`: one operator, its inputs, and what it answers."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

Array = NDArray[Any]


@dataclass(frozen=True)
class NodeTest:
    """`model` with one array for each of its inputs, and the outputs that ONNX expects of it."""

    name: str
    model: onnx.ModelProto
    inputs: dict[str, Array]
    outputs: dict[str, Array]

    @property
    def operators(self) -> frozenset[str]:
        return frozenset(node.op_type for node in self.model.graph.node)


def node_tests() -> Iterator[NodeTest]:
    """Each test of ONNX's own operators on tensors: as it is, and with its further inputs as constants."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the overflows that some tests are about
        from onnx.backend.test.loader import load_model_tests

        cases = load_model_tests(kind="node")
    for case in sorted(cases, key=lambda one: one.name):
        given = arrays_of(case)
        if given is None:
            continue
        inputs, outputs = given
        yield NodeTest(case.name, case.model, inputs, outputs)
        if len(inputs) > 1:
            yield with_constants(NodeTest(f"{case.name}, constants", case.model, inputs, outputs))


def arrays_of(case: Any) -> tuple[dict[str, Array], dict[str, Array]] | None:
    """Inputs and outputs of the first data set; None where one is no tensor of numbers, or a domain is not ONNX's."""
    model = case.model
    if any(one.domain not in ("", "ai.onnx") for one in model.opset_import) or not case.data_sets:
        return None
    found = []
    for ports, values in zip((model.graph.input, model.graph.output), case.data_sets[0], strict=True):
        known = {}
        for port, value in zip(ports, values, strict=False):
            array = numpy_helper.to_array(value) if isinstance(value, onnx.TensorProto) else value
            if not isinstance(array, np.ndarray) or array.dtype.kind not in "fiub":
                return None
            known[port.name] = array
        found.append(known)
    return found[0], found[1]


def with_constants(test: NodeTest) -> NodeTest:
    """The same test, where only its first input is one: weights, axes and bounds are constants in a deployed model."""
    model = onnx.ModelProto()
    model.CopyFrom(test.model)
    first, *others = list(test.inputs)
    model.graph.initializer.extend(numpy_helper.from_array(test.inputs[name], name) for name in others)
    kept = [port for port in model.graph.input if port.name not in others]
    del model.graph.input[:]
    model.graph.input.extend(kept)
    return NodeTest(test.name, model, {first: test.inputs[first]}, test.outputs)
