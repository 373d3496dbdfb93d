"""A quantizer of a constant becomes integers behind a DequantizeLinear, which stand for the same floats bit for bit.

The integers are stored less their zero point, in the smallest of int8, int16 and int32 that holds them; whatever the
quantizer's rounding mode was, it is done once, here.
"""

from __future__ import annotations

import numpy as np
import onnx_graphsurgeon as gs
from numpy.typing import NDArray

from bevel.calib.errors import UserError
from bevel.passes.canonicalize.edit import Array
from bevel.passes.qonnx.formula import FloatQuant, Quant, Quantizer
from bevel.passes.qonnx.nodes import called

TYPES = (np.int8, np.int16, np.int32)


def store_constant(graph: gs.Graph, node: gs.Node, quantizer: Quantizer) -> None:
    """Replace `node`, whose input is a constant. Raises UserError for integers beyond int32 and scales of blocks."""
    values = np.asarray(node.inputs[0].values, np.float32)
    scale, axis = along_one_axis(node, quantizer.scale, values.ndim)
    if isinstance(quantizer, FloatQuant):
        scale = np.asarray(scale * np.float32(quantizer.unit), np.float32)
    codes = in_smallest(node, integers(quantizer, values))
    result, name = node.outputs[0], node.name or node.outputs[0].name
    constants = [gs.Constant(f"{name}/quantized", codes), gs.Constant(f"{name}/scale", scale)]
    if codes.dtype != np.int32:  # which has no zero point in ONNX
        constants.append(gs.Constant(f"{name}/zero_point", np.zeros(scale.shape, codes.dtype)))
    node.inputs.clear()
    node.outputs.clear()
    attrs = {} if axis is None else {"axis": axis}
    graph.nodes.append(gs.Node("DequantizeLinear", f"{name}/dequantize", attrs, constants, [result]))


def integers(quantizer: Quantizer, values: NDArray[np.float32]) -> Array:
    """The integers by which the scale (and a minifloat's unit) is multiplied."""
    found = quantizer.integers(values)
    return found - quantizer.zero_point.astype(np.int64) if isinstance(quantizer, Quant) else found


def along_one_axis(node: gs.Node, scale: NDArray[np.float32], rank: int) -> tuple[NDArray[np.float32], int | None]:
    """The scale as a scalar and None, or as a vector and the axis it runs along."""
    padded = (1,) * (rank - scale.ndim) + scale.shape
    long = [axis for axis, size in enumerate(padded) if size != 1]
    if len(padded) != rank or len(long) > 1:
        raise UserError(f"{called(node)} has scales {list(scale.shape)}; one a tensor or one a channel can be compiled")
    return (scale.reshape(-1), long[0]) if long else (scale.reshape(()), None)


def in_smallest(node: gs.Node, codes: Array) -> Array:
    for dtype in TYPES:
        limits = np.iinfo(dtype)
        if limits.min <= codes.min(initial=0) and codes.max(initial=0) <= limits.max:
            return codes.astype(dtype)
    raise UserError(f"{called(node)} makes integers up to {np.abs(codes).max()}; 32 bits can be compiled")
