"""QuantizeLinear and DequantizeLinear as they stand in a graph: what feeds what, and with which parameters."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import onnx_graphsurgeon as gs
from numpy.typing import NDArray

from bevel.passes.graph.edit import producer

QUANTIZERS = ("QuantizeLinear", "QuantizeFloat", "QuantizeFixed")  # what makes integers of floats
DEQUANTIZERS = ("DequantizeLinear", "DequantizeSteps")  # what makes floats of integers
ROUNDINGS = ("Clip", "WideClip", "Table", "RoundMx", "RoundRows")  # what may make codes of a format of these integers
ROWS = "/rows"  # how names of a tensor go on that is read with a scale for each row
ROUND = "/round"  # how the names of nodes end that round the codes of a tensor to those of a format


class Parameters(NamedTuple):
    """Scale and zero point of a Q or DQ node; arrays of shape () or [channels] along `axis`."""

    scale: NDArray[np.float32]
    zero_point: NDArray[np.integer]
    axis: int


def is_quantize(node: gs.Node | None) -> bool:
    """Whether it makes integers of floats: QuantizeLinear, or a function that makes steps of a format, or parts."""
    return node is not None and node.op in QUANTIZERS


def is_dequantize(node: gs.Node | None) -> bool:
    return node is not None and node.op in DEQUANTIZERS


def parameters(node: gs.Node) -> Parameters | None:
    """The parameters of a Q or DQ node, or None where they are not constant. A missing zero point is uint8 0 (ONNX)."""
    if not all(isinstance(tensor, gs.Constant) for tensor in node.inputs[1:]):
        return None
    scale = np.asarray(node.inputs[1].values)
    given = len(node.inputs) > 2 and not node.inputs[2].is_empty()
    zero_point = np.asarray(node.inputs[2].values) if given else np.zeros(scale.shape, default_type(node))
    scale, zero_point = (array.reshape(()) if array.size == 1 else array for array in (scale, zero_point))
    return Parameters(scale, zero_point, int(node.attrs.get("axis", 1)))


def default_type(node: gs.Node) -> np.dtype[np.integer]:
    """The integer type of a quantizer without a zero point."""
    quantized = node.inputs[0] if is_dequantize(node) else node.outputs[0]
    return np.dtype(quantized.dtype or np.uint8)


def constant_source(tensor: gs.Tensor) -> gs.Constant | None:
    """The constant behind `tensor`: itself, or what a DequantizeLinear of a constant reads."""
    if isinstance(tensor, gs.Constant):
        return tensor
    node = producer(tensor)
    if node is not None and is_dequantize(node) and isinstance(node.inputs[0], gs.Constant):
        return node.inputs[0]
    return None
