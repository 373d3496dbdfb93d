"""A graph as a model file: functions it calls, metadata, and 4-bit constants packed two to a byte."""

from __future__ import annotations

import json
from collections.abc import Mapping

import ml_dtypes
import numpy as np
import onnx
import onnx_graphsurgeon as gs

from bevel.passes.operators import OPERATORS
from bevel.passes.operators.base import DOMAIN

PORTS = "bevel.ports"  # model metadata: {port: [scale, zero_point]} of ports that carry integers
IR_VERSION = 10  # the newest that opset 21 needs
PACKED = (np.dtype(ml_dtypes.int4), np.dtype(ml_dtypes.uint4))


def export(graph: gs.Graph, ports: Mapping[str, tuple[float, int]] | None = None) -> onnx.ModelProto:
    """The graph as a model. `ports`: what the integers at its ports mean."""
    used = {node.op for node in graph.nodes if node.domain == DOMAIN}
    if used and all(one.domain != DOMAIN for one in graph.import_domains or ()):
        graph.import_domains = [onnx.helper.make_opsetid("", graph.opset), onnx.helper.make_opsetid(DOMAIN, 1)]
    model = packed(graph)
    model.ir_version, model.producer_name, model.producer_version = IR_VERSION, "bevel", ""
    functions = {one.name: one for operator in OPERATORS if (one := operator.function(graph.opset)) is not None}
    model.functions.extend(functions[name] for name in sorted(used))
    if ports is not None:
        onnx.helper.set_model_props(model, {PORTS: json.dumps(ports, sort_keys=True)})
    return model


def packed(graph: gs.Graph) -> onnx.ModelProto:
    """The graph as graphsurgeon writes it, which knows no 4-bit constants: they pass it as bytes."""
    constants = {name: tensor for name, tensor in graph.tensors().items() if isinstance(tensor, gs.Constant)}
    small = {name: tensor.values for name, tensor in constants.items() if tensor.values.dtype in PACKED}
    for name, values in small.items():
        constants[name].values = values.astype(np.int8)
    model: onnx.ModelProto = gs.export_onnx(graph, do_type_check=False)
    for name, values in small.items():
        constants[name].values = values
    for initializer in model.graph.initializer:
        if initializer.name in small:
            initializer.CopyFrom(onnx.numpy_helper.from_array(small[initializer.name], initializer.name))
    return model
