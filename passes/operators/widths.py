"""How integers of any width are stored: int8 mostly, int16 and int32 where the steps of a format do not fit int8.

Sums of int8 are made in int32, of wider integers in int64; a product with a multiplier stays below 2**62 either way.
"""

from __future__ import annotations

import numpy as np
import onnx
import onnx_graphsurgeon as gs

from bevel.calib.arithmetic.requantize import MULTIPLIER_BITS, Output, fixed_points
from bevel.passes.operators.base import Array, Reason

# |sum * multiplier| and the rounding constant (at most 2**61) together stay below the 2**62 of `bodies.FLOOR`.
PRODUCT_BITS = 61


def element_type(dtype: str) -> int:
    """ONNX's number for an element type."""
    return int(onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))


def dtype_of(tensor: gs.Tensor) -> str:
    return str(np.dtype(tensor.dtype))


def output_attributes(result: Output) -> dict[str, int]:
    """How a function stores its result, as node attributes (`bodies.OUTPUT_ATTRIBUTES`)."""
    return {
        "zero_point": result.zero_point,
        "low": result.low,
        "high": result.high,
        "y_type": element_type(result.dtype),
    }


def stored_dtype(node: gs.Node) -> str:
    """The numpy type of what a node with the attribute `y_type` makes."""
    return str(onnx.helper.tensor_dtype_to_np_dtype(node.attrs["y_type"]))


def stored_output(node: gs.Node) -> Output:
    """Where the result of a node with `output_attributes` ends."""
    return Output(node.attrs["zero_point"], node.attrs["low"], node.attrs["high"], stored_dtype(node))


def rescaling(ratios: Array, largest: int) -> tuple[Array, Array] | Reason:
    """Multipliers and shifts for sums of at most `largest`, as many bits as the products leave, up to 31."""
    bits = min(MULTIPLIER_BITS, PRODUCT_BITS - int(largest).bit_length())
    if bits < 2 or np.max(ratios) >= 2.0 ** (bits - 1):
        return Reason(f"its sums may reach {largest}, which leaves too few bits to scale them by {np.max(ratios):.3g}")
    return fixed_points(np.asarray(ratios, np.float64), bits)
