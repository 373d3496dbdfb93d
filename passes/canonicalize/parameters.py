"""Weights as the passes see them: a constant, or (in a quantized model) a DequantizeLinear of constants."""

from __future__ import annotations

import onnx_graphsurgeon as gs

from bevel.passes.graph.edit import append, constant, producer, static_shape, variable


def is_parameter(tensor: gs.Tensor) -> bool:
    """Whether the tensor's values are fixed when the model is built."""
    if isinstance(tensor, gs.Constant):
        return True
    node = producer(tensor)
    return (
        node is not None
        and node.op == "DequantizeLinear"
        and all(isinstance(source, gs.Constant) for source in node.inputs)
    )


def transposed(graph: gs.Graph, parameter: gs.Tensor, name: str) -> gs.Tensor:
    """The transpose of a parameter of rank 2, as a new parameter; stored integers and scales stay what they are.

    Requires `is_parameter`, and for a DequantizeLinear no blocks (`is_transposable`).
    """
    if isinstance(parameter, gs.Constant):
        return constant(graph, name, parameter.values.T)
    dequantize = parameter.inputs[0]
    codes = constant(graph, f"{name}.codes", dequantize.inputs[0].values.T)
    result = variable(graph, name, parameter.dtype, (static_shape(parameter) or ())[::-1])
    attrs = {"axis": 1 - dequantize.attrs.get("axis", 1) % 2}
    append(graph, "DequantizeLinear", result.name, [codes, *dequantize.inputs[1:]], result, attrs)
    return result


def is_transposable(parameter: gs.Tensor) -> bool:
    if isinstance(parameter, gs.Constant):
        return True
    node = producer(parameter)
    return node is not None and not node.attrs.get("block_size", 0)
