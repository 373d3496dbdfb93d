"""A quantizer of a constant becomes integers behind a DequantizeLinear, which stand for the same floats bit for bit.

The integers are stored in the smallest type that holds them; whatever the quantizer's rounding mode was, it is done
once, here.
"""

from __future__ import annotations

import numpy as np
import onnx_graphsurgeon as gs
from numpy.typing import NDArray

from bevel.calib.errors import UserError
from bevel.passes.exchange.qonnx.formula import FloatQuant, Quant, Quantizer
from bevel.passes.exchange.qonnx.nodes import called
from bevel.passes.graph.edit import Array

TYPES = (np.int8, np.uint8, np.int16, np.int32)


def store_constant(graph: gs.Graph, node: gs.Node, quantizer: Quantizer) -> None:
    """Replace `node`, whose input is a constant. Raises UserError for integers beyond int32 and scales of blocks."""
    values = np.asarray(node.inputs[0].values, np.float32)
    codes, zero_point = quantizer.integers(values), np.zeros(1, np.int64)
    if isinstance(quantizer, Quant):
        if not quantizer.has_zero:
            raise UserError(f"{called(node)} has a zero point between two integers")
        zero_point = quantizer.zero_point.astype(np.int64)
    unit = np.float32(quantizer.unit if isinstance(quantizer, FloatQuant) else 1)
    scale, zero_point = np.broadcast_arrays((quantizer.scale * unit).astype(np.float32), zero_point)
    axis = varying_axis(node, scale, values.ndim)
    dtype = smallest(codes, zero_point)
    if dtype == np.int32:  # which has no zero point in ONNX
        codes, zero_point = codes - zero_point, np.zeros_like(zero_point)
    if dtype is None or np.abs(codes).max(initial=0) > np.iinfo(np.int32).max:
        raise UserError(f"{called(node)} makes integers up to {np.abs(codes).max()}; 32 bits can be compiled")
    shape = [-1] if axis is not None else []
    constants = {"quantized": codes.astype(dtype), "scale": scale.reshape(shape)}
    if dtype != np.int32:
        constants["zero_point"] = zero_point.reshape(shape).astype(dtype)
    result, name = node.outputs[0], node.name or node.outputs[0].name
    node.inputs.clear()
    node.outputs.clear()
    inputs = [gs.Constant(f"{name}/{role}", np.ascontiguousarray(array)) for role, array in constants.items()]
    attrs = {} if axis is None else {"axis": axis}
    graph.nodes.append(gs.Node("DequantizeLinear", f"{name}/dequantize", attrs, inputs, [result]))


def varying_axis(node: gs.Node, scale: NDArray[np.float32], rank: int) -> int | None:
    """The axis that the scales of a tensor of that rank run along; None for one scale."""
    padded = (1,) * (rank - scale.ndim) + scale.shape
    long = [axis for axis, size in enumerate(padded) if size != 1]
    if len(long) > 1 or (long and len(padded) != rank):
        raise UserError(f"{called(node)} has scales {list(scale.shape)}; one a tensor or one a channel can be compiled")
    return long[0] if long else None


def smallest(codes: Array, zero_point: Array) -> type[np.signedinteger] | type[np.unsignedinteger] | None:
    """The first of `TYPES` that holds both; None where none does."""
    both = np.concatenate([codes.ravel(), zero_point.ravel()])
    fits = (one for one in TYPES if np.iinfo(one).min <= both.min() and both.max() <= np.iinfo(one).max)
    return next(fits, None)
