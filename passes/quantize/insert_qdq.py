"""Put QuantizeLinear and DequantizeLinear around the planned tensors, and store weights and biases as integers.

A bias has the scale of its sums, sx * sw, and must fit int32 with room for the sums: where a channel's weights are so
small that it would not (depthwise channels with tiny scales, channels of zeros), the channel's weight scale is raised.
Weights of formats wider than int8 keep their scale, and the bias has a power of two of that of its sums.

Activations are int8 tensors whatever their format: a Clip behind the QuantizeLinear keeps the codes of narrower
integers, a look-up (`Table`, a function of standard operators) those of formats with unequal steps.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx_graphsurgeon as gs
from numpy.typing import NDArray

from bevel.calib.format import INT8
from bevel.calib.scheme import TensorQuant
from bevel.calib.stairs import Stairs
from bevel.calib.statistics import Statistics
from bevel.calib.tensor_format import TensorFormat, is_narrow
from bevel.passes.base import Note
from bevel.passes.operators.base import Match, Operator
from bevel.passes.operators.table import look_up
from bevel.passes.quantize.choose_scales import ALL_INT8, Scales
from bevel.passes.quantize.chosen import Chosen
from bevel.passes.quantize.correct_bias import mean_error, mean_shift
from bevel.passes.quantize.plan import QuantizationPlan
from bevel.passes.quantize.store_weights import (
    Stored,
    WeightQuant,
    bias_scales,
    channel_scales,
    dequantized,
    quantized_operand,
    quantized_weights,
    roomy,
)
from bevel.passes.quantizers import ROUND

Floats = NDArray[np.float64]
Rounding = TensorQuant | Stairs | None  # how int8 codes become a point's codes; None: they are those already


def insert_qdq(
    graph: gs.Graph,
    plan: QuantizationPlan,
    scales: Scales,
    means: Mapping[str, Statistics],
    chosen: Chosen = ALL_INT8,
) -> list[Note]:
    """Edit `graph`. `means` holds the statistics used for bias correction; it is empty where none is wanted."""
    notes: list[Note] = []
    stored: Stored = {}
    for operator, match in plan.taken.values():
        notes += store_constants(graph, operator, match, scales, means, stored, chosen.of_weights(match.node.name))
    outputs = {tensor.name for tensor in graph.outputs}
    for name, tensor in plan.points.items():
        # What moves codes of the format needs no rounding of its own.
        quant = scales.quants[name]
        rounding = None if name in plan.moved else scales.stairs.get(name, quant)
        if name in outputs:
            quantize_output(graph, tensor, quant, rounding)
        else:
            quantize_tensor(graph, tensor, quant, rounding)
    return notes


def quantize_tensor(graph: gs.Graph, tensor: gs.Variable, quant: TensorQuant, rounding: Rounding) -> None:
    """Every reader of `tensor` reads it quantized and dequantized."""
    readers = list(tensor.outputs)
    through = gs.Variable(f"{tensor.name}/dequantized", np.float32, tensor.shape)
    for reader in readers:
        reader.inputs = [through if one is tensor else one for one in reader.inputs]
    pair(graph, tensor.name, tensor, through, quant, rounding)


def quantize_output(graph: gs.Graph, tensor: gs.Variable, quant: TensorQuant, rounding: Rounding) -> None:
    """A graph output keeps its name on the dequantized side."""
    producer = tensor.inputs[0]
    raw = gs.Variable(f"{tensor.name}/float", np.float32, tensor.shape)
    producer.outputs = [raw if one is tensor else one for one in producer.outputs]
    pair(graph, tensor.name, raw, tensor, quant, rounding)


def pair(
    graph: gs.Graph, name: str, source: gs.Variable, target: gs.Variable, quant: TensorQuant, rounding: Rounding
) -> None:
    """`source` to codes of `quant` to `target`."""
    first = rounding.first if isinstance(rounding, Stairs) else quant
    codes = gs.Variable(f"{name}/quantized", np.int8, source.shape)
    parameters = quantizer_constants(name, quant)
    given = quantizer_constants(f"{name}/int8", first) if isinstance(rounding, Stairs) else parameters
    graph.nodes.append(gs.Node("QuantizeLinear", f"{name}/quantize", {}, [source, *given], [codes]))
    if rounding is not None:
        codes = rounded(graph, name, codes, rounding)
    graph.nodes.append(gs.Node("DequantizeLinear", f"{name}/dequantize", {}, [codes, *parameters], [target]))


def quantizer_constants(name: str, quant: TensorQuant) -> list[gs.Constant]:
    return [
        gs.Constant(f"{name}/scale", np.asarray(quant.scale)),
        gs.Constant(f"{name}/zero_point", np.asarray(quant.zero_point).astype(np.int8)),
    ]


def rounded(graph: gs.Graph, name: str, codes: gs.Variable, rounding: TensorQuant | Stairs) -> gs.Variable:
    """The format's codes of int8 `codes`, which are the same where the format is int8."""
    result = gs.Variable(f"{name}/rounded", np.int8, codes.shape)
    if isinstance(rounding, Stairs):
        graph.nodes += look_up(f"{name}{ROUND}", codes, rounding.table, result)
        return result
    if rounding.scheme.format == INT8:
        return codes
    bounds = {"low": rounding.scheme.low, "high": rounding.scheme.high}
    constants = [gs.Constant(f"{name}/{role}", np.array(bound, np.int8)) for role, bound in bounds.items()]
    graph.nodes.append(gs.Node("Clip", f"{name}{ROUND}", {}, [codes, *constants], [result]))
    return result


def store_constants(
    graph: gs.Graph,
    operator: Operator,
    match: Match,
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
            tied = tied_quant(operator, match, tensor, scales)
            operand = quantized_operand(tensor.values, weights) if tied is None else WeightQuant(tensor.values, tied)
            replace_input(match, tensor, dequantized(graph, tensor, operand, stored))
            continue
        values = tensor.values.astype(np.float64)
        bias = match.inputs[bias_index] if bias_index is not None and bias_index < len(match.inputs) else None
        x = match.inputs[0]
        quant = quantized_weights(tensor.values, weights, axis)
        if bias is not None and isinstance(bias, gs.Constant):
            narrow = is_narrow(weights)
            scale, raised = roomy(quant.scale, values, bias.values, float(scales.quants[x.name].scale), axis, narrow)
            quant = quant.with_scale(scale)
            notes += [Note(match.node.name, text) for text in raised]
            corrected = bias.values.astype(np.float64)
            if x.name in means:
                rounded = quant.reals
                groups = int(match.node.attrs.get("group", 1))
                mean = means[x.name].channel_mean
                corrected = corrected + mean_error(values - rounded, mean, axis, groups)
                if not x.inputs:  # an input of the model
                    shift = mean_shift(means[x.name], scales.stairs.get(x.name, scales.quants[x.name]))
                    corrected = corrected - mean_error(rounded, np.full_like(mean, shift), axis, groups)
            bias_scale = scales.quants[x.name].scale * channel_scales(quant.scale, bias.values.size)
            if not narrow:
                bias_scale = bias_scales(bias_scale, corrected.ravel())
            replace_input(match, bias, integer_bias(graph, bias.name, match.node.name, corrected, bias_scale))
        replace_input(match, tensor, dequantized(graph, tensor, quant, stored))
    return notes


def tied_quant(operator: Operator, match: Match, tensor: gs.Constant, scales: Scales) -> TensorQuant | None:
    """The quantization that a constant must share with the operator's other inputs (Concat), if it must."""
    tied = operator.tied(match)
    if all(one is not tensor for one in tied):
        return None
    return next((scales.quants[one.name] for one in tied if one.name in scales.quants), None)


def integer_bias(graph: gs.Graph, bias: str, node: str, values: Floats, scale: NDArray[np.float32]) -> gs.Variable:
    limit = 2**31 - 1
    codes = np.clip(np.rint(values.ravel() / scale.astype(np.float64)), -limit, limit).astype(np.int32)
    name = f"{node}/bias"
    constants = [
        gs.Constant(f"{name}/quantized", codes),
        gs.Constant(f"{name}/scale", scale),
        gs.Constant(f"{name}/zero_point", np.zeros(scale.shape, np.int32)),
    ]
    target = gs.Variable(f"{name}/dequantized", np.float32, [codes.size])
    graph.nodes.append(gs.Node("DequantizeLinear", f"{name}/dequantize", {"axis": 0}, constants, [target]))
    return target


def replace_input(match: Match, old: gs.Tensor, new: gs.Tensor) -> None:
    """Wherever the match reads `old`: its node, or the MatMul before it."""
    nodes = [match.node, *(node for tensor in match.node.inputs for node in tensor.inputs if node.op == "MatMul")]
    for node in nodes:
        node.inputs = [new if one is old else one for one in node.inputs]
