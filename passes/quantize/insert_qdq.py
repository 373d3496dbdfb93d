"""Put QuantizeLinear and DequantizeLinear around the planned tensors, and store weights and biases as integers."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx_graphsurgeon as gs
from numpy.typing import NDArray

from bevel.calib.formats.quantized import Quantized
from bevel.calib.formats.scheme import TensorQuant
from bevel.calib.formats.tensor_format import TensorFormat
from bevel.calib.observe.statistics import Statistics
from bevel.calib.rounding.kernel_wise import ROUNDER as KERNEL_WISE
from bevel.passes.base import Note
from bevel.passes.operators.base import Match, Operator
from bevel.passes.quantize.activations import quantize_output, quantize_tensor
from bevel.passes.quantize.choose_scales import ALL_INT8, Scales
from bevel.passes.quantize.chosen import Chosen
from bevel.passes.quantize.correct_bias import FULL_BITS, mean_error, mean_shift
from bevel.passes.quantize.plan import PASS, QuantizationPlan, result_of
from bevel.passes.quantize.round_weights import Weights, find_weights, is_constant
from bevel.passes.quantize.store_weights import (
    Stored,
    bias_scales,
    channel_scales,
    dequantized,
    quantized_operand,
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
    found = list(find_weights(plan, scales, chosen))
    rounded = [(one, KERNEL_WISE(one.values, one.grid)) for one in found]
    for operator, match in plan.taken.values():
        store_operands(graph, operator, match, plan, scales, stored, chosen.of_weights(match.node.name))
    for weights, quantized in rounded:
        notes += [Note(PASS, weights.node, one.kind, one.text, one.numbers) for one in weights.told]
        store_weights(graph, weights, quantized, scales, means, stored)
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


def store_operands(
    graph: gs.Graph,
    operator: Operator,
    match: Match,
    plan: QuantizationPlan,
    scales: Scales,
    stored: Stored,
    format: TensorFormat,
) -> None:
    """Constants of one operator that are neither weights nor bias, as integers behind a DequantizeLinear."""
    for index, tensor in enumerate(match.inputs):
        weights = operator.weight_axis(match, index) is not None
        if weights or index == operator.bias_index(match) or not is_constant(tensor):
            continue
        operand = quantized_operand(tensor.values, format, tied_quant(operator, match, tensor, plan, scales))
        replace_input(match, tensor, dequantized(graph, tensor, operand, stored))


def store_weights(
    graph: gs.Graph,
    weights: Weights,
    quantized: Quantized,
    scales: Scales,
    means: Mapping[str, Statistics],
    stored: Stored,
) -> None:
    """Weights and bias of one product as integers behind a DequantizeLinear."""
    match, bias = weights.match, weights.bias
    if bias is not None:
        corrected = corrected_bias(weights, bias, quantized, scales, means)
        scale = scales.quants[weights.x.name].scale * channel_scales(quantized.scale, bias.values.size)
        if not weights.narrow:
            scale = bias_scales(scale, corrected.ravel())
        replace_input(match, bias, integer_bias(graph, bias.name, weights.node, corrected, scale))
    replace_input(match, weights.tensor, dequantized(graph, weights.tensor, quantized, stored))


def corrected_bias(
    weights: Weights, bias: gs.Constant, quantized: Quantized, scales: Scales, means: Mapping[str, Statistics]
) -> Floats:
    """The bias less the mean error that the rounding of the weights makes, and that of what they multiply."""
    corrected: Floats = bias.values.astype(np.float64)
    x = weights.x
    if x.name not in means:
        return corrected
    rounded = quantized.dequantize().astype(np.float64)
    mean = means[x.name].channel_mean(weights.summed_axis)
    lost = weights.tensor.values.astype(np.float64) - rounded
    corrected = corrected + mean_error(lost, mean, weights.axis, weights.groups)
    if not x.inputs or scales.quants[x.name].scheme.format.bits < FULL_BITS:
        shift = mean_shift(means[x.name], scales.stairs.get(x.name, scales.quants[x.name]))
        corrected = corrected - mean_error(rounded, np.full_like(mean, shift), weights.axis, weights.groups)
    return corrected


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
