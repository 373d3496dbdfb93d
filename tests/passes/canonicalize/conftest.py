"""Graphs from ONNX text with seeded weights, and passes that have to leave what they compute alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import onnx
import onnx_graphsurgeon as gs
import pytest
from numpy.typing import NDArray

from bevel.passes.base import Pass, PassResult, Work
from bevel.passes.canonicalize.evaluate import check_equivalence, random_inputs
from bevel.passes.canonicalize.infer_shapes import InferShapes
from bevel.passes.pipeline import Pipeline

Array = NDArray[Any]
Model = Callable[..., onnx.ModelProto]
Apply = Callable[..., PassResult]


def parse(
    body: str,
    inputs: str = "float[1,3,8,8] x",
    outputs: str = "float[] y",
    weights: str = "",
    values: Mapping[str, Any] | None = None,
    opset: int = 21,
) -> onnx.ModelProto:
    """A model from the text of its body. `weights` become initializers: `values`, or seeded numbers in [0.5, 1.5)."""
    arguments = ", ".join(filter(None, (inputs, weights)))
    header = f'<ir_version: 10, opset_import: ["" : {opset}, "com.microsoft" : 1]>'
    model = onnx.parser.parse_model(f"{header}\ng ({arguments}) => ({outputs}) {{\n{body}\n}}")
    count = len(inputs.replace("[", "<").split("] ")) - 1 if inputs else 0
    rng = np.random.default_rng(0)
    for value in list(model.graph.input)[count:]:
        dtype = onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)
        shape = [dim.dim_value for dim in value.type.tensor_type.shape.dim]
        array = np.asarray((values or {}).get(value.name, rng.uniform(0.5, 1.5, shape)), dtype).reshape(shape)
        model.graph.initializer.append(onnx.numpy_helper.from_array(array, value.name))
    del model.graph.input[count:]
    for output in model.graph.output:  # shapes are the business of inference
        output.type.tensor_type.ClearField("shape")
    return model


@pytest.fixture
def model() -> Model:
    return parse


@pytest.fixture
def apply() -> Apply:
    def run(model: onnx.ModelProto, *passes: Pass) -> PassResult:
        """The passes on the model, once each. Fails if the outputs move, or if a second run still finds something."""
        work = InferShapes()(Work(gs.import_onnx(model))).work
        result = Pipeline(passes)(work)
        check_equivalence(model, gs.export_onnx(result.graph), [random_inputs(model, seed) for seed in range(2)])
        assert not Pipeline(passes)(result.work).modified
        return result

    return run


@pytest.fixture
def operators() -> Callable[[PassResult], list[str]]:
    return lambda result: [node.op for node in result.graph.nodes]
