"""Put QuantizeLinear and DequantizeLinear around the planned tensors, and store weights and biases as integers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import onnx_graphsurgeon as gs
from numpy.typing import NDArray

from bevel.passes.base import Condition, Note, Pass, PassResult, Stage, Work
from bevel.passes.conditions import FLOAT, PLANNED, STATIC_SHAPES, UNIQUE_NAMES
from bevel.passes.operators.base import Match, Operator
from bevel.passes.quantize.activations import quantize_output, quantize_rows, quantize_tensor
from bevel.passes.quantize.choose_scales import ALL_INT8, Scales
from bevel.passes.quantize.chosen import Chosen
from bevel.passes.quantize.plan import PASS, QuantizationPlan, result_of
from bevel.passes.quantize.round_weights import Rounded, is_constant
from bevel.passes.quantize.store_weights import (
    StoredConstants,
    bias_scales,
    channel_scales,
    dequantized,
    quantized_operand,
)

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class InsertQdq(Pass):
    """As `planned`, with the `codes` of weights."""

    name: ClassVar[str] = "insert-qdq"
    stage: ClassVar[Stage] = "quantize"
    follows: ClassVar[tuple[str, ...]] = ("plan-scales", "round-weights", "correct-bias")
    requires: ClassVar[tuple[Condition, ...]] = (STATIC_SHAPES, FLOAT, PLANNED)
    ensures: ClassVar[tuple[Condition, ...]] = (STATIC_SHAPES, UNIQUE_NAMES)

    def call(self, work: Work) -> PassResult:
        planned, before = work.plan, len(work.graph.nodes)
        notes = insert_qdq(work.graph, planned.plan, planned.scales, work.codes, work.schemes)
        added = len(work.graph.nodes) > before  # none where everything comes in integers
        return work.result(added, notes, planned=None, codes=())


def insert_qdq(
    graph: gs.Graph, plan: QuantizationPlan, scales: Scales, rounded: Iterable[Rounded], chosen: Chosen = ALL_INT8
) -> list[Note]:
    """Edit `graph`. rounded: the weights of every product that the plan takes."""
    notes: list[Note] = []
    stored = StoredConstants()
    for name, (operator, match) in plan.taken.items():
        match.node.attrs |= scales.attributes.get(name, {})
        store_operands(graph, operator, match, plan, scales, stored)
    for one in rounded:
        notes += [Note(PASS, one.weights.node, told.kind, told.text, told.numbers) for told in one.weights.told]
        store_weights(graph, one, scales, stored)
    outputs = {tensor.name for tensor in graph.outputs}
    for name, tensor in plan.points.items():
        quant = scales.quants[name]
        # What moves codes of the format needs no rounding of its own.
        moved = name in plan.moved and name not in scales.nonzero and name not in scales.rescaled
        rounding = None if moved else scales.rounding(name)
        unrounded = plan.unrounded.get(name, set())
        if (rows := scales.rows.get(name)) is not None:
            quantize_rows(graph, tensor, quant, rows)
            continue
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
    stored: StoredConstants,
) -> None:
    """Constants of one operator that are neither weights nor bias, as integers behind a DequantizeLinear."""
    for index, tensor in enumerate(match.inputs):
        weights = operator.weight_axis(match, index) is not None
        if weights or index == operator.bias_index(match) or not is_constant(tensor):
            continue
        result = scales.quants.get(result_of(match.node.outputs[0], plan.fused).name)
        tied = any(one is tensor for one in operator.tied(match))  # a Concat's: they share its scale
        shared = scales.quants.get(tensor.name) if tensor.name in plan.kept else result if tied else None
        operand = quantized_operand(tensor.values, result, shared)
        replace_input(match, tensor, dequantized(graph, tensor, operand, stored))


def store_weights(graph: gs.Graph, rounded: Rounded, scales: Scales, stored: StoredConstants) -> None:
    """Weights and bias of one product as integers behind a DequantizeLinear."""
    weights, quantized, bias = rounded.weights, rounded.quantized, rounded.bias
    if weights.bias is not None and bias is not None:
        replace_input(weights.match, weights.bias, stored_bias(graph, rounded, scales))
    replace_input(weights.match, weights.tensor, dequantized(graph, weights.tensor, quantized, stored))


def stored_bias(graph: gs.Graph, rounded: Rounded, scales: Scales) -> gs.Tensor:
    """The bias that there is, as integers, or float beside float activations."""
    weights, bias = rounded.weights, rounded.bias
    assert bias is not None
    if weights.beside_floats:
        return gs.Constant(f"{weights.node}/bias", bias.astype(np.float32).reshape(-1))
    return integer_bias(graph, weights.node, *bias_codes(rounded, scales))


def bias_codes(rounded: Rounded, scales: Scales) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """The integers of a bias that there is, and what each is worth: [out]."""
    bias, limit = rounded.bias, 2**31 - 1
    assert bias is not None
    scale = scales.quants[rounded.weights.x.name].scale * channel_scales(rounded.quantized.scale, bias.size)
    if not rounded.weights.bias_of_sums:
        scale = bias_scales(scale, bias.ravel())
    codes = np.clip(np.rint(bias.ravel() / scale.astype(np.float64)), -limit, limit).astype(np.int32)
    return codes, scale


def integer_bias(graph: gs.Graph, node: str, codes: NDArray[np.int32], scale: NDArray[np.float32]) -> gs.Variable:
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
