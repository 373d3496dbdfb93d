"""Put QuantizeLinear and DequantizeLinear around the planned tensors, and store weights and biases as integers.

A bias has the scale of its sums, sx * sw, and must fit int32 with room for the sums: where a channel's weights are so
small that it would not (depthwise channels with tiny scales, channels of zeros), the channel's weight scale is raised.
Weights of formats wider than int8, and those of wider activations, keep their scale, and the bias has a power of two of
that of its sums.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx_graphsurgeon as gs
from numpy.typing import NDArray

from bevel.calib.formats.scheme import TensorQuant
from bevel.calib.formats.tensor_format import TensorFormat, is_narrow
from bevel.calib.observe.statistics import Statistics
from bevel.passes.base import Note
from bevel.passes.operators.base import Match, Operator
from bevel.passes.quantize.activations import quantize_output, quantize_tensor
from bevel.passes.quantize.choose_scales import ALL_INT8, Scales
from bevel.passes.quantize.chosen import Chosen
from bevel.passes.quantize.correct_bias import FULL_BITS, mean_error, mean_shift
from bevel.passes.quantize.plan import PASS, QuantizationPlan, result_of
from bevel.passes.quantize.store_weights import (
    Stored,
    WeightQuant,
    bias_scales,
    channel_scales,
    dequantized,
    left_out,
    quantized_operand,
    quantized_weights,
    roomy,
    without_negligible,
)

Floats = NDArray[np.float64]


def insert_qdq(
    graph: gs.Graph,
    plan: QuantizationPlan,
    scales: Scales,
    means: Mapping[str, Statistics],
    chosen: Chosen = ALL_INT8,
) -> list[Note]:
    """Edit `graph`. `means` holds the statistics used for bias correction; it is empty where none is wanted."""
    notes: list[Note] = []
    stored = Stored()
    for operator, match in plan.taken.values():
        notes += store_constants(
            graph, operator, match, plan, scales, means, stored, chosen.of_weights(match.node.name)
        )
    outputs = {tensor.name for tensor in graph.outputs}
    for name, tensor in plan.points.items():
        quant = scales.quants[name]
        # What moves codes of the format needs no rounding of its own.
        moved = name in plan.moved and name not in scales.nonzero and name not in scales.rescaled
        rounding = None if moved else scales.rounding(name)
        unrounded = plan.unrounded.get(name, set())
        # An input that is an output, too, leaves as it came; so does what is put together of parts.
        if name in outputs and tensor.inputs and name not in plan.raw:
            quantize_output(graph, tensor, quant, rounding, unrounded)
        else:
            quantize_tensor(graph, tensor, quant, rounding, unrounded)
    return notes


def store_constants(
    graph: gs.Graph,
    operator: Operator,
    match: Match,
    plan: QuantizationPlan,
    scales: Scales,
    means: Mapping[str, Statistics],
    stored: Stored,
    weights: TensorFormat,
) -> list[Note]:
    """Weights, bias and constant operands of one operator as integers behind a DequantizeLinear."""
    notes: list[Note] = []
    bias_index = operator.bias_index(match)
    for index, tensor in enumerate(match.inputs):
        axis = operator.weight_axis(match, index)
        if not isinstance(tensor, gs.Constant) or tensor.values.dtype != np.float32 or index == bias_index:
            continue
        if axis is None:
            tied = tied_quant(operator, match, tensor, plan, scales)
            operand = quantized_operand(tensor.values, weights) if tied is None else WeightQuant(tensor.values, tied)
            replace_input(match, tensor, dequantized(graph, tensor, operand, stored))
            continue
        values = tensor.values.astype(np.float64)
        bias = match.inputs[bias_index] if bias_index is not None and bias_index < len(match.inputs) else None
        x = match.inputs[0]
        if bias is None or not isinstance(bias, gs.Constant):
            quant = quantized_weights(tensor.values, weights, axis)
        else:
            narrow = is_narrow(weights) and scales.quants[x.name].scheme.dtype == np.int8
            heard = without_negligible(tensor.values, bias.values, scales.quants[x.name], axis)
            quant = quantized_weights(tensor.values if narrow else heard, weights, axis)
            scale, raised = roomy(
                quant.scale, quant.values, bias.values, float(scales.quants[x.name].scale), axis, narrow
            )
            quant = quant.with_scale(scale)
            found = [*raised, *left_out(tensor.values, quant.values, axis)]
            notes += [Note(PASS, match.node.name, kind, text, numbers) for kind, text, numbers in found]
            corrected = bias.values.astype(np.float64)
            if x.name in means:
                rounded = quant.reals
                groups = int(match.node.attrs.get("group", 1))
                mean = means[x.name].channel_mean(summed_axis(match))
                corrected = corrected + mean_error(values - rounded, mean, axis, groups)
                if not x.inputs or scales.quants[x.name].scheme.format.bits < FULL_BITS:
                    shift = mean_shift(means[x.name], scales.stairs.get(x.name, scales.quants[x.name]))
                    corrected = corrected - mean_error(rounded, np.full_like(mean, shift), axis, groups)
            bias_scale = scales.quants[x.name].scale * channel_scales(quant.scale, bias.values.size)
            if not narrow:
                bias_scale = bias_scales(bias_scale, corrected.ravel())
            replace_input(match, bias, integer_bias(graph, bias.name, match.node.name, corrected, bias_scale))
        replace_input(match, tensor, dequantized(graph, tensor, quant, stored))
    return notes


def summed_axis(match: Match) -> int:
    """The axis of its input that a product sums over, as `bevel.calib.observe.observe.read_axes` counts it."""
    return 1 if match.node.op in ("Conv", "ConvTranspose") else -1


def tied_quant(
    operator: Operator, match: Match, tensor: gs.Constant, plan: QuantizationPlan, scales: Scales
) -> TensorQuant | None:
    """The quantization that a constant must share with the operator's result (Concat), if it must."""
    if all(one is not tensor for one in operator.tied(match)):
        return None
    return scales.quants.get(result_of(match.node.outputs[0], plan.fused).name)


def integer_bias(graph: gs.Graph, bias: str, node: str, values: Floats, scale: NDArray[np.float32]) -> gs.Variable:
    limit = 2**31 - 1
    codes = np.clip(np.rint(values.ravel() / scale.astype(np.float64)), -limit, limit).astype(np.int32)
    name = f"{node}/bias"
    constants = [
        gs.Constant(f"{name}/quantized", codes),
        gs.Constant(f"{name}/scale", scale),
    ]
    target = gs.Variable(f"{name}/dequantized", np.float32, [codes.size])
    graph.nodes.append(gs.Node("DequantizeLinear", f"{name}/dequantize", {"axis": 0}, constants, [target]))
    return target


def replace_input(match: Match, old: gs.Tensor, new: gs.Tensor) -> None:
    """Wherever the match reads `old`: its node, or the MatMul before it."""
    nodes = [match.node, *(node for tensor in match.node.inputs for node in tensor.inputs if node.op == "MatMul")]
    for node in nodes:
        node.inputs = [new if one is old else one for one in node.inputs]
