"""What the operators on int16 and int32 activations share: how results are stored, and multipliers that fit.

Activations are int16 or int32 where the steps of their format do not fit int8. Sums of them are made in int64.
"""

from __future__ import annotations

import numpy as np
import onnx
import onnx_graphsurgeon as gs

from bevel.calib.arithmetic.requantize import MULTIPLIER_BITS, Output, fixed_points
from bevel.passes.operators.base import Activation, Array, Reason, Site, Weight
from bevel.passes.operators.products.wide_sums import PRODUCT_BITS, element_type

LARGEST_CONSTANT = 2**15 - 1


def output_attributes(result: Output) -> dict[str, int]:
    """How a wide operator stores its result, as node attributes."""
    return {
        "zero_point": result.zero_point,
        "low": result.low,
        "high": result.high,
        "y_type": element_type(result.dtype),
    }


def stored_dtype(node: gs.Node) -> str:
    """The numpy type of what a node with the attribute `y_type` makes."""
    return str(onnx.helper.tensor_dtype_to_np_dtype(node.attrs["y_type"]))


def dtype_of(tensor: gs.Tensor) -> str:
    return str(np.dtype(tensor.dtype))


def rescaling(ratios: Array, largest: int) -> tuple[Array, Array] | Reason:
    """Multipliers and shifts for sums of at most `largest`, as many bits as the products leave, up to 31."""
    bits = min(MULTIPLIER_BITS, PRODUCT_BITS - int(largest).bit_length())
    if bits < 2 or np.max(ratios) >= 2.0 ** (bits - 1):
        return Reason(f"its sums may reach {largest}, which leaves too few bits to scale them by {np.max(ratios):.3g}")
    return fixed_points(np.asarray(ratios, np.float64), bits)


def operand(site: Site, index: int) -> Activation | Reason:
    """Input `index` as integers of any width. Constants without a scale get 16 bits, symmetric."""
    match site.inputs[index]:
        case Activation() as activation:
            return activation
        case Weight(codes, scale, _) if scale.ndim == 0:
            return constant_operand(site, index, codes, float(scale))
        case Weight():
            return Reason(f"its constant operand {index} has a scale for each channel")
        case values:
            largest = float(np.abs(values).max(initial=0.0))
            step = float(np.float32(largest / LARGEST_CONSTANT if largest else 1.0))
            return constant_operand(site, index, np.rint(values / step).astype(np.int64), step)


def constant_operand(site: Site, index: int, codes: Array, scale: float) -> Activation:
    low, high = int(codes.min(initial=0)), int(codes.max(initial=0))
    dtype = next(one for one in ("int8", "int16", "int32") if np.iinfo(one).min <= low and high <= np.iinfo(one).max)
    return Activation(site.constant(f"operand{index}", codes.astype(dtype)), scale, 0, low, high)
