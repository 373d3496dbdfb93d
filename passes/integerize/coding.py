"""What the integers of an activation mean, read from the quantizer that makes them or the one that ends them.

QuantizeLinear and DequantizeLinear with int8, uint8, int16 or uint16 codes: every integer is a code; unsigned ones are
moved by half their range, which changes no result. With float8 codes, or the function QuantizeFloat: the steps of a
minifloat (`bevel.calib.arithmetic.round_float`). With the function QuantizeFixed: parts of a step, which RoundMx makes
steps of (`bevel.calib.formats.mx`). Each integer graph has int8, int16 or int32 tensors of them.
"""

from __future__ import annotations

from dataclasses import dataclass

import ml_dtypes
import numpy as np
import onnx_graphsurgeon as gs

from bevel.calib.arithmetic.requantize import Output
from bevel.calib.arithmetic.round_float import FloatSteps, float_steps
from bevel.calib.errors import UserError
from bevel.calib.formats.float_format import E4M3
from bevel.calib.formats.levels import wide_levels
from bevel.passes.graph.edit import producer
from bevel.passes.graph.quantizers import parameters
from bevel.passes.operators.base import Activation
from bevel.passes.operators.formats.quantize_fixed import QUANTIZE_FIXED
from bevel.passes.operators.formats.quantize_float import QUANTIZE_FLOAT, steps_of
from bevel.passes.operators.formats.round_mx import ROUND_MX, rounding_of
from bevel.passes.operators.widths import stored_dtype

FLOAT8 = {np.dtype(ml_dtypes.float8_e4m3fn): E4M3}
KNOWN = "int8, uint8, int16, uint16 and float8e4m3fn, one scale a tensor,"


@dataclass(frozen=True)
class QuantizerCoding:
    """real = scale * (q - zero_point), q in [low, high], stored as `dtype`. steps: which q there are; None: all."""

    scale: float
    zero_point: int
    dtype: str
    low: int
    high: int
    steps: FloatSteps | None = None

    def activation(self, tensor: gs.Tensor) -> Activation:
        return Activation(tensor, self.scale, self.zero_point, self.low, self.high)

    @property
    def is_standard(self) -> bool:
        """Whether ONNX's QuantizeLinear makes it."""
        return self.steps is None and self.dtype != "int32"

    @property
    def output(self) -> Output:
        return Output(self.zero_point, self.low, self.high, self.dtype)

    @property
    def unrounded(self) -> tuple[float, Output]:
        """Scale and bounds of what is rounded to the steps: integers with bits behind their point."""
        if self.steps is None:
            return self.scale, self.output
        fraction, dtype = self.steps.fraction, self.steps.fine_dtype
        return self.scale / 2**fraction, Output(0, self.low << fraction, self.high << fraction, dtype)


def coding(node: gs.Node) -> QuantizerCoding:
    """The coding of what a quantizer makes, or of what a DequantizeLinear reads.

    Raises UserError for scales that are computed, and for types that cannot be compiled.
    """
    found = parameters(node)
    if found is None:
        raise UserError(f"node {node.name} computes its scale; only constant scales can be compiled")
    scale, kind = float(found.scale) if found.scale.ndim == 0 else 0.0, found.zero_point.dtype
    if found.scale.ndim == 0 and node.op == QUANTIZE_FLOAT.name:
        steps = steps_of(node)
        return QuantizerCoding(scale, 0, stored_dtype(node), -steps.high, steps.high, steps)
    if found.scale.ndim == 0 and node.op == QUANTIZE_FIXED.name:
        return QuantizerCoding(scale, 0, "int32", int(node.attrs["low"]), int(node.attrs["high"]))
    source = producer(node.inputs[0])
    if source is not None and source.op == QUANTIZE_FLOAT.name:
        return coding(source)
    if found.scale.ndim == 0 and source is not None and source.op == ROUND_MX.name:
        highest = rounding_of(source).highest
        return QuantizerCoding(scale, 0, "int16", -highest, highest)
    if found.scale.ndim == 0 and kind in FLOAT8 and not float(found.zero_point):
        return float_coding(scale, kind)
    if found.scale.ndim or kind not in (np.int8, np.uint8, np.int16, np.uint16):
        kinds = f"{kind}{' per channel' if found.scale.ndim else ''}"
        raise UserError(f"node {node.name} quantizes an activation to {kinds}; {KNOWN} can be compiled")
    half = 2 ** (8 * kind.itemsize - 1)
    zero_point = int(found.zero_point) - (half if kind.kind == "u" else 0)
    return QuantizerCoding(scale, zero_point, f"int{8 * kind.itemsize}", -half, half - 1)


def cast_coding(cast: gs.Node) -> QuantizerCoding:
    """Of the 8-bit integers that a Cast makes floats: int8 codes of the same numbers."""
    return QuantizerCoding(1.0, -128 if cast.inputs[0].dtype == np.uint8 else 0, "int8", -128, 127)


def float_coding(scale: float, kind: np.dtype[np.generic]) -> QuantizerCoding:
    """Float8 codes with a scale, as steps."""
    levels, steps = wide_levels(FLOAT8[kind]), float_steps(FLOAT8[kind])
    if levels is None or steps is None:
        raise TypeError(f"{kind} has steps")
    return QuantizerCoding(float(np.float32(scale * levels.unit)), 0, "int32", -steps.high, steps.high, steps)


def signed_type(dtype: np.dtype[np.generic]) -> np.dtype[np.generic]:
    """The type that codes of an integer type have in the integer graph."""
    return np.dtype(f"int{8 * np.dtype(dtype).itemsize}")
