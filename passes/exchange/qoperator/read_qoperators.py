"""Quantized operators become float ones between DequantizeLinear and QuantizeLinear.

    QLinearF(x, sx, zx, .., sy, zy) == Q(F(DQ(x, sx, zx), ..), sy, zy)

That is how ONNX defines them; runtimes differ in how they round in between. What lies exactly in the middle between two
integers goes to the even one, here as in onnxruntime's kernels; onnxruntime's scale of float32 moves what lies next to
it: one step there, the same elsewhere. Canonicalization runs both.

What only moves integers in such a model (Pad, Split, Gather, Resize, ...) moves the reals that they mean instead, which
is the same: it gets the quantization of what it reads.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np
import onnx_graphsurgeon as gs

from bevel.calib.errors import UserError
from bevel.passes.base import Note, Pass, PassResult, Work
from bevel.passes.exchange.qoperator.forms import CONTRIBUTED, MICROSOFT, QOPERATORS, WAY_OUT, Form, QOperand, form_of
from bevel.passes.exchange.qoperator.integer_products import PRODUCTS, read_product
from bevel.passes.graph.edit import append, constant, detach, given, static_shape, values, variable
from bevel.passes.graph.quantizers import parameters

# They hand on some of their first input's elements; Pad adds a constant.
MOVES = frozenset(["Split", "Gather", "Pad", "Resize", "Tile", "Expand", "ReduceMax", "ReduceMin"])
KEEP = frozenset(
    ["Transpose", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Slice", "MaxPool", "Identity", "DepthToSpace"]
)
FLATTENS = 13  # before this opset Softmax took all dimensions from its axis on as one


class Quantization(NamedTuple):
    scale: gs.Constant
    zero_point: gs.Constant


@dataclass(frozen=True)
class ReadQOperators(Pass):
    """Requires types and folded constants. Raises UserError for scales that are computed, and forms without a float
    operator."""

    name: ClassVar[str] = "read-qoperators"

    def call(self, work: Work) -> PassResult:
        graph = work.graph
        if not any(touches(node) for node in graph.nodes):
            return work.result(False)
        notes: list[Note] = []
        moved = False
        known: dict[str, Quantization] = {}
        for node in list(graph.toposort().nodes):
            if node.op in CONTRIBUTED:
                moved |= bool(node.domain)
                node.domain = None
                remember(known, node)
            elif node.op in QOPERATORS:
                text = f"was {node.op}: read as its float operator between quantizers"
                notes.append(self.note(node.name, "changed", text))
                result = node.outputs[0].name
                if (quantization := read_operator(graph, node)) is not None:
                    known[result] = quantization
            elif node.op in PRODUCTS:
                read_product(graph, node)
                moved = True
            elif node.inputs and node.inputs[0].name in known:
                moved |= move(graph, node, known)
        return work.result(moved or bool(notes), notes)


def touches(node: gs.Node) -> bool:
    if node.op in CONTRIBUTED:
        return bool(node.domain == MICROSOFT)
    codes = node.op in MOVES and node.outputs[0].dtype in (np.int8, np.uint8)
    return codes or node.op in QOPERATORS or node.op in PRODUCTS


def remember(known: dict[str, Quantization], quantizer: gs.Node) -> None:
    found = parameters(quantizer)
    if found is None or found.scale.ndim:
        return
    codes = quantizer.outputs[0] if quantizer.op == "QuantizeLinear" else quantizer.inputs[0]
    constants = (
        gs.Constant(f"{codes.name}/{role}", array) for role, array in zip(("scale", "zero"), found, strict=False)
    )
    known[codes.name] = Quantization(*constants)


# Quantized operators


def read_operator(graph: gs.Graph, node: gs.Node) -> Quantization | None:
    """Replace the node; the quantization of its result, None for floats (QGemm without a scale for it)."""
    form, name, result = form_of(node), node.name, node.outputs[0]
    if form is None:
        raise TypeError(f"{node.op} has no form")
    attrs = float_attributes(node)
    inputs = [node.inputs[place] for place in form.plain]
    inputs += [dequantized(graph, node, form, place) for place in range(len(form.operands))]
    if form.bias is not None and (bias := given(node, form.bias)) is not None:
        inputs.append(dequantized_bias(graph, node, form, bias))
    scale = given(node, form.result[0])
    quantization = None if scale is None else quantization_of(graph, node, *form.result, result)
    detach(node)
    if quantization is None:
        append(graph, form.operator, name, inputs, result, attrs)
        return None
    real = variable(graph, f"{result.name}/float", np.float32, static_shape(result) or ())
    append(graph, form.operator, name, inputs, real, attrs)
    append(graph, "QuantizeLinear", f"{name}/quantize", [real, *quantization], result)
    return quantization


def float_attributes(node: gs.Node) -> dict[str, Any]:
    """The float operator's attributes. Raises UserError for what it cannot say."""
    attrs = dict(node.attrs)
    if attrs.pop("channels_last", 0):
        raise UserError(f"{called(node)} has its channels last; export the model with channels first")
    if node.op == "QLinearSoftmax":
        axis, rank = attrs.get("axis", -1), len(static_shape(node.inputs[0]) or ())
        if attrs.pop("opset", FLATTENS) < FLATTENS and axis % rank != rank - 1:
            raise UserError(f"{called(node)} takes several dimensions as one; export the model with opset 13 or later")
    return attrs


def dequantized(graph: gs.Graph, node: gs.Node, form: Form, place: int) -> gs.Variable:
    """The reals of operand number `place`."""
    operand: QOperand = form.operands[place]
    codes = node.inputs[operand.tensor]
    scale, zero_point = quantization_of(graph, node, operand.scale, operand.zero_point, codes)
    attrs = {} if scale.values.ndim == 0 else {"axis": scaled_axis(node, place, codes)}
    name = f"{node.name}/{codes.name}"
    real = variable(graph, f"{name}/float", np.float32, static_shape(codes) or ())
    append(graph, "DequantizeLinear", f"{name}/dequantize", [codes, scale, zero_point], real, attrs)
    return real


def scaled_axis(node: gs.Node, place: int, codes: gs.Tensor) -> int:
    """The axis of an operand that has several scales: output channels of weights, rows of what they multiply."""
    rank = len(static_shape(codes) or ())
    if node.op == "QLinearConv":
        return 0
    if node.op == "QGemm":
        return int(bool(node.attrs.get("transA" if place == 0 else "transB", 0)) != bool(place))
    return rank - 1 if place else rank - 2


def dequantized_bias(graph: gs.Graph, node: gs.Node, form: Form, bias: gs.Tensor) -> gs.Variable:
    """The int32 bias, which has the product of both scales (and QGemm's alpha)."""
    one, other = (quantization_of(graph, node, part.scale, part.zero_point, bias).scale for part in form.operands)
    scale = np.float32(node.attrs.get("alpha", 1.0)) * one.values * other.values
    stored = constant(graph, f"{node.name}/bias/scale", np.asarray(scale, np.float32))
    real = variable(graph, f"{node.name}/bias/float", np.float32, static_shape(bias) or ())
    attrs = {} if stored.values.ndim == 0 else {"axis": len(static_shape(bias) or (1,)) - 1}
    append(graph, "DequantizeLinear", f"{node.name}/bias/dequantize", [bias, stored], real, attrs)
    return real


def quantization_of(graph: gs.Graph, node: gs.Node, scale: int, zero_point: int, codes: gs.Tensor) -> Quantization:
    """Scale and zero point at those inputs as constants; scalars where there is one. A missing zero point is 0."""
    factor, zero = values(node.inputs[scale]), given(node, zero_point)
    zeros = None if zero is None else values(zero)
    if factor is None or (zero is not None and zeros is None):
        raise UserError(f"{called(node)} computes its scale; {WAY_OUT}")
    if zeros is None:
        zeros = np.zeros(factor.shape, np.dtype(codes.dtype))
    factor, zeros = (one.reshape(()) if one.size == 1 else one.ravel() for one in (factor, zeros))
    zeros = np.broadcast_to(zeros, factor.shape)
    name = f"{node.name}/{codes.name}"
    return Quantization(constant(graph, f"{name}/scale", factor), constant(graph, f"{name}/zero_point", zeros))


# What moves integers


def move(graph: gs.Graph, node: gs.Node, known: dict[str, Quantization]) -> bool:
    """Let the node move reals where it is one that moves integers of a known meaning; whether it is."""
    quantization = known[node.inputs[0].name]
    if node.op in KEEP:
        known[node.outputs[0].name] = quantization
        return False
    if node.op not in MOVES or any(tensor.dtype not in (np.int8, np.uint8) for tensor in node.outputs):
        return False
    codes = node.inputs[0]
    real = variable(graph, f"{node.name}/{codes.name}/float", np.float32, static_shape(codes) or ())
    append(graph, "DequantizeLinear", f"{node.name}/dequantize", [codes, *quantization], real)
    node.inputs[0] = real
    if node.op == "Pad":
        pad_reals(graph, node, quantization)
    for place, result in enumerate(list(node.outputs)):
        moved = variable(graph, f"{result.name}/float", np.float32, static_shape(result) or ())
        node.outputs[place] = moved
        append(graph, "QuantizeLinear", f"{result.name}/quantize", [moved, *quantization], result)
        known[result.name] = quantization
    return True


def pad_reals(graph: gs.Graph, pad: gs.Node, quantization: Quantization) -> None:
    """The real that Pad's integer means, which is 0 where none is given."""
    if pad.attrs.get("mode", "constant") != "constant":
        return
    integer = given(pad, 2)
    found = np.zeros(()) if integer is None else values(integer)
    if found is None:
        raise UserError(f"{called(pad)} computes what it pads with; only a constant can be compiled")
    real = (found.astype(np.float32) - quantization.zero_point.values) * quantization.scale.values
    rest = list(pad.inputs[3:])
    filler = constant(graph, f"{pad.name}/filler", np.asarray(real, np.float32).reshape(()))
    pad.inputs = [*pad.inputs[:2], filler, *rest]


def called(node: gs.Node) -> str:
    return f"node {node.name} ({node.op})"
