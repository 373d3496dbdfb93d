"""Refuse, in one line that names the node, what no target computes and no pass can bring to a form that one does."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_graphsurgeon as gs

from bevel.calib.errors import UserError
from bevel.passes.exchange.qoperator.forms import UNREAD
from bevel.passes.graph.edit import given, is_output, static_shape, values
from bevel.passes.graph.quantizers import is_dequantize, is_quantize

CUT = "cut the model before it with --outputs-at"


def check_compilable(graph: gs.Graph) -> None:
    """Raises UserError for a canonical graph that holds such a node."""
    for node in graph.nodes:
        if (reason := obstacle(graph, node)) is not None:
            raise UserError(f"node {node.name} ({node.op}) {reason}")


def obstacle(graph: gs.Graph, node: gs.Node) -> str | None:
    for tensor in node.outputs:
        if tensor.is_empty():
            continue
        if 0 in (shape := static_shape(tensor) or ()):
            where = f"dimension {shape.index(0)} is 0"
            return f"gives {tensor.name} of shape {list(shape)}: {where}, and what has no elements cannot be compiled"
        if tensor.dtype is not None and not is_number(np.dtype(tensor.dtype)):
            kind = "strings" if np.dtype(tensor.dtype).kind in "OUS" else str(np.dtype(tensor.dtype))
            return f"gives {tensor.name}, a tensor of {kind}; only numbers can be compiled: {CUT}"
    if node.op in UNREAD:
        return f"of {node.domain} cannot be read; give the float model, which Bevel quantizes, or QDQ"
    if node.op == "MaxPool" and len(node.outputs) > 1 and is_used(graph, node.outputs[1]):
        return f"gives its indices as {node.outputs[1].name}, which no target computes; {CUT}"
    if is_quantize(node) or (is_dequantize(node) and isinstance(node.inputs[0], gs.Variable)):
        scale = values(node.inputs[1])
        if scale is not None and not (np.isfinite(scale) & (scale > 0)).all():
            return f"has the scale {scale.ravel()[0]}; a scale is a finite number above 0"
    if node.op == "Clip" and is_empty_range(node):
        return "has a bound that is NaN, or infinite on the wrong side; no number lies within it"
    return None


def is_number(dtype: np.dtype[Any]) -> bool:
    """ml_dtypes' small numbers are of kind V, as are none of numpy's own that ONNX knows."""
    return dtype.kind in "biufV"


def is_used(graph: gs.Graph, tensor: gs.Tensor) -> bool:
    return not tensor.is_empty() and bool(tensor.outputs or is_output(graph, tensor))


def is_empty_range(clip: gs.Node) -> bool:
    low, high = (None if (one := given(clip, place)) is None else values(one) for place in (1, 2))
    bad_low = low is not None and low.dtype.kind == "f" and bool((np.isnan(low) | (low == np.inf)).any())
    return bad_low or (high is not None and high.dtype.kind == "f" and bool((np.isnan(high) | (high == -np.inf)).any()))
