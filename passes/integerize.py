"""QDQ graph in, integer graph out: what the device computes, in standard ONNX integer operators.

Every QuantizeLinear asks what makes its input: an operator between dequantized tensors becomes that operator's integer
form, a chain of element-wise functions becomes a table, a change of scale becomes a table too. What has no integer form
stays float between a DequantizeLinear and this QuantizeLinear, and says why. Inside, all activations are int8; uint8
quantizers of other tools are moved by 128, which changes no result.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import onnx
import onnx_graphsurgeon as gs

from bevel.calib.arithmetic import Output
from bevel.calib.errors import UserError
from bevel.passes.base import Note
from bevel.passes.canonicalize.name_nodes import NameNodes
from bevel.passes.carry_quantizers import carry_quantizers
from bevel.passes.coded_constant import CodedConstant
from bevel.passes.export import PORTS, export
from bevel.passes.fuse_rounding import fuse_rounding, is_rounding
from bevel.passes.operators import find_operator
from bevel.passes.operators.base import DOMAIN, Activation, Array, Match, Operator, Reason, Site, Weight
from bevel.passes.operators.clip import Clip
from bevel.passes.operators.flip_sign import flip_sign
from bevel.passes.operators.table import rescale, tabulate
from bevel.passes.prune_channels import PruneConstantChannels
from bevel.passes.quantizers import Parameters, is_dequantize, is_quantize, parameters, producer
from bevel.passes.regions import find_region, is_elementwise
from bevel.passes.restore_tables import restore_tables

__all__ = ["PORTS", "Format", "export", "integerize"]

Format = Literal["float", "quantized"]

SHARED_BYTES = 256
MOVES = frozenset(["Transpose", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Slice", "Concat", "MaxPool", "Identity"])


@dataclass
class Integerizer:
    """The integer graph under construction."""

    source: gs.Graph
    nodes: list[gs.Node] = field(default_factory=list)
    codes: dict[str, gs.Variable] = field(default_factory=dict)  # integer tensor of the source: int8 tensor here
    reals: dict[str, Activation] = field(default_factory=dict)  # dequantized tensor of the source: its codes here
    floats: dict[str, gs.Variable] = field(default_factory=dict)  # any other tensor of the source: the same here
    ports: dict[str, tuple[float, int]] = field(default_factory=dict)
    arriving: set[str] = field(default_factory=set)  # integer tensors of the source that are graph inputs here
    notes: list[Note] = field(default_factory=list)

    def other(self, tensor: gs.Tensor) -> gs.Tensor:
        """A tensor that is not quantized, in the new graph."""
        if isinstance(tensor, gs.Constant) or tensor.is_empty():
            return tensor
        return self.floats.setdefault(tensor.name, gs.Variable(tensor.name, tensor.dtype, tensor.shape))


def integerize(
    graph: gs.Graph, inputs: Format = "float", outputs: Format = "float"
) -> tuple[onnx.ModelProto, list[Note]]:
    """The integer model of a QDQ graph, and notes on what became what.

    `inputs` and `outputs` say whether the model's ports carry floats or the quantized type; a port without a quantizer
    stays float, with a note. Raises UserError for quantizers that are not 8-bit per tensor.
    """
    restore_tables(graph)
    carry_quantizers(graph)
    made = Integerizer(graph)
    new_inputs = [start_input(made, tensor, inputs) for tensor in graph.inputs]
    assign_codes(made)
    results = {node.name: integer_nodes(made, node) for node in graph.nodes if is_quantize(node)}
    new_outputs = [end_output(made, tensor, outputs) for tensor in graph.outputs]
    needed = needed_floats(made, results)
    for node in graph.nodes:
        emit(made, node, results, needed)
    new = gs.Graph(made.nodes, new_inputs, new_outputs, name=graph.name or "model", opset=graph.opset)
    new.import_domains = [onnx.helper.make_opsetid("", graph.opset), onnx.helper.make_opsetid(DOMAIN, 1)]
    NameNodes()(new)  # a result with two quantizers became two nodes of one name
    new.cleanup().toposort()
    fuse_rounding(new)
    pruned = PruneConstantChannels()(new)
    share_constants(new)
    return export(new, made.ports), made.notes + pruned.notes


# Ports


def start_input(made: Integerizer, tensor: gs.Variable, form: Format) -> gs.Variable:
    """The graph input in the new graph, and the codes it starts."""
    if tensor.dtype in (np.int8, np.uint8):
        port = gs.Variable(tensor.name, tensor.dtype, tensor.shape)
        made.codes[tensor.name] = signed(made, port)
        return port
    if form == "quantized" and tensor.dtype == np.float32:
        given = {quantizer_parameters(node) for node in tensor.outputs if is_quantize(node)}
        if len(given) == 1 and all(map(is_quantize, tensor.outputs)):
            (made.ports[tensor.name],) = given
            port = gs.Variable(tensor.name, np.int8, tensor.shape)
            made.codes |= {node.outputs[0].name: port for node in tensor.outputs}
            made.arriving |= {node.outputs[0].name for node in tensor.outputs}
            return port
        made.notes.append(Note(tensor.name, "this input stays float: not one quantizer alone reads it"))
    port = made.other(tensor)
    return port


def signed(made: Integerizer, port: gs.Variable) -> gs.Variable:
    """int8 codes of an 8-bit port."""
    if port.dtype == np.int8:
        return port
    codes = gs.Variable(f"{port.name}/signed", np.int8, port.shape)
    made.nodes.append(flip_sign(f"{port.name}/flip_sign", port, codes))
    return codes


def end_output(made: Integerizer, tensor: gs.Variable, form: Format) -> gs.Variable:
    """The graph output in the new graph. Codes that become an output take over its name."""
    if tensor.name in made.codes:
        codes = made.codes[tensor.name]
        if tensor.dtype == np.int8:
            return codes
        port = gs.Variable(tensor.name, np.uint8, tensor.shape)
        made.nodes.append(flip_sign(f"{tensor.name}/flip_sign", codes, port))
        return port
    if form == "quantized" and tensor.dtype == np.float32:
        real = made.reals.get(tensor.name)
        taken = {port.name for port in made.source.inputs} | {port.name for port in made.source.outputs}
        if real is not None and real.tensor.name not in taken:
            real.tensor.name = tensor.name
            made.ports[tensor.name] = (real.scale, real.zero_point)
            return real.tensor
        made.notes.append(Note(tensor.name, "this output stays float: no quantizer of its own stands before it"))
    return made.other(tensor)


def assign_codes(made: Integerizer) -> None:
    """An int8 tensor for every integer tensor of the source, and the reals that each DequantizeLinear means."""
    for node in made.source.nodes:
        output = node.outputs[0]
        if is_dequantize(node) and node.inputs[0].name in made.codes:
            scale, zero_point = quantizer_parameters(node)
            made.reals[output.name] = Activation(made.codes[node.inputs[0].name], scale, zero_point)
        elif (is_quantize(node) or on_integers(node)) and output.name not in made.codes:
            name = output.name if output.dtype == np.int8 else f"{output.name}/signed"
            made.codes[output.name] = gs.Variable(name, np.int8, output.shape)


def quantizer_parameters(node: gs.Node) -> tuple[float, int]:
    """Scale and int8 zero point of an activation's quantizer."""
    found = parameters(node)
    if found is None:
        raise UserError(f"node {node.name} computes its scale; only constant scales can be compiled")
    if found.scale.ndim or found.zero_point.dtype not in (np.int8, np.uint8):
        kind = f"{found.zero_point.dtype}{' per channel' if found.scale.ndim else ''}"
        raise UserError(f"node {node.name} quantizes an activation to {kind}; 8 bits per tensor can be compiled")
    moved = int(found.zero_point) - (128 if found.zero_point.dtype == np.uint8 else 0)
    return float(found.scale), moved


# What makes the input of a QuantizeLinear


def integer_nodes(made: Integerizer, quantizer: gs.Node) -> list[gs.Node] | Reason | None:
    """Integer nodes that write the quantizer's codes; the reason there are none; None where floats come in."""
    tensor, codes = quantizer.inputs[0], made.codes[quantizer.outputs[0].name]
    scale, zero_point = quantizer_parameters(quantizer)
    result = Output(zero_point)
    if tensor.name in made.reals:
        real = made.reals[tensor.name]
        return rescale(quantizer.name, real, codes, scale, result)
    node = producer(tensor)
    if node is None:
        return None
    region = find_region(tensor, made.reals)
    if region is not None:
        x = made.reals[region.root.name]
        if is_clamp(node) and node.inputs[0] is region.root and (x.scale, x.zero_point) == (scale, zero_point):
            site = Site(node, (x,), codes, scale, clamped(node, scale, result))
            return Clip().integerize(site)
        return tabulate(node.name, region, x, codes, scale, result, made.source.opset)
    if is_clamp(node) and (inner := producer(node.inputs[0])) is not None and not is_dequantize(inner):
        match find_operator(inner):
            case (operator, match) if operator.clamps:
                return operator_nodes(
                    made, operator, match, node.inputs[0], (codes, scale, clamped(node, scale, result))
                )
    match find_operator(node):
        case (operator, match):
            return operator_nodes(made, operator, match, tensor, (codes, scale, result))
        case reason:
            return reason


def operator_nodes(
    made: Integerizer,
    operator: Operator,
    match: Match,
    made_by_it: gs.Tensor,
    ending: tuple[gs.Variable, float, Output],
) -> list[gs.Node] | Reason:
    codes, scale, result = ending
    operands = [operand(made, tensor) for tensor in match.inputs]
    for tensor, found in zip(match.inputs, operands, strict=True):
        if found is None:
            return Reason(f"its input {tensor.name} is not quantized")
    inputs = tuple(found for found in operands if found is not None)
    index = [one is made_by_it for one in match.node.outputs].index(True)
    x = inputs[0]
    site = Site(match.node, inputs, codes, scale, result, index)
    if (
        not operator.ties
        or operator.integer_op == "Concat"
        or site.keeps_quantization()
        or not isinstance(x, Activation)
    ):
        return operator.integerize(site)
    # Other tools may quantize a moved tensor anew: move first, then change the scale.
    moved = gs.Variable(f"{codes.name}/moved", np.int8, codes.shape)
    first = operator.integerize(Site(match.node, inputs, moved, x.scale, Output(x.zero_point), index))
    if isinstance(first, Reason):
        return first
    given = Activation(moved, x.scale, x.zero_point)
    return [*first, *rescale(f"{site.name}/rescale", given, codes, scale, result)]


def operand(made: Integerizer, tensor: gs.Tensor) -> Activation | Weight | Array | None:
    """An operator's input in integers; None if it is float."""
    if isinstance(tensor, gs.Constant):
        return np.asarray(tensor.values)
    if tensor.name in made.reals:
        return made.reals[tensor.name]
    node = producer(tensor)
    if node is None or not is_dequantize(node) or not isinstance(node.inputs[0], gs.Constant):
        return None
    found = parameters(node)
    if found is None:
        return None
    return stored_weight(node.inputs[0], found)


def stored_weight(tensor: gs.Constant, found: Parameters) -> Weight | None:
    """The integers of stored weights, less their zero point; None where they are stored as floats."""
    if tensor.values.dtype.kind not in "iu":
        return None
    codes = np.asarray(tensor.values).astype(np.int64)
    axis = found.axis % max(codes.ndim, 1)
    zero_point = found.zero_point.astype(np.int64)
    if not zero_point.any():
        return Weight(codes, found.scale, axis, tensor.coded if isinstance(tensor, CodedConstant) else None)
    shape = [-1 if place == axis else 1 for place in range(codes.ndim)] if zero_point.ndim else []
    return Weight(codes - zero_point.reshape(shape), found.scale, axis)


def is_clamp(node: gs.Node) -> bool:
    return node.op in ("Relu", "Clip") and is_elementwise(node)


def clamped(node: gs.Node, scale: float, result: Output) -> Output:
    """`result` narrowed to what a Relu or Clip lets through: quantizing is monotonic, so clamping codes is the same."""
    bounds = [-np.inf, np.inf]
    if node.op == "Relu":
        bounds[0] = 0.0
    for place, tensor in enumerate(node.inputs[1:3]):
        if not tensor.is_empty():
            bounds[place] = float(np.ravel(tensor.values)[0])
    steps = np.clip(np.rint(np.array(bounds) / scale), -(2**20), 2**20)
    low, high = (int(step) + result.zero_point for step in steps)
    return Output(result.zero_point, min(max(low, result.low), result.high), max(min(high, result.high), result.low))


# Emission, in the source's order


def needed_floats(made: Integerizer, results: dict[str, list[gs.Node] | Reason | None]) -> set[str]:
    """The tensors that are still read as floats: by float operators, plain quantizers and float outputs."""
    pending = [tensor for tensor in made.source.outputs if tensor.name in made.floats]
    pending += [
        node.inputs[0]
        for node in made.source.nodes
        if is_quantize(node) and not isinstance(results[node.name], list) and node.outputs[0].name not in made.arriving
    ]
    needed: set[str] = set()
    while pending:
        tensor = pending.pop()
        if isinstance(tensor, gs.Constant) or tensor.is_empty() or tensor.name in needed:
            continue
        needed.add(tensor.name)
        node = producer(tensor)
        if node is not None and not is_dequantize(node):
            pending += node.inputs
    return needed


def emit(made: Integerizer, node: gs.Node, results: dict[str, list[gs.Node] | Reason | None], needed: set[str]) -> None:
    if is_quantize(node):
        emit_quantize(made, node, results[node.name])
    elif on_integers(node):
        emit_move(made, node)
    elif any(tensor.name in needed for tensor in node.outputs):
        emit_float(made, node)


def emit_quantize(made: Integerizer, node: gs.Node, result: list[gs.Node] | Reason | None) -> None:
    if isinstance(result, list):
        made.nodes += result
        return
    if node.outputs[0].name in made.arriving:
        return
    if isinstance(result, Reason):
        made.notes.append(Note(node.inputs[0].inputs[0].name, f"stays float: {result}"))
    scale, zero_point = quantizer_parameters(node)
    inputs = [made.other(node.inputs[0]), *quantizer_constants(node.name, scale, zero_point)]
    made.nodes.append(gs.Node("QuantizeLinear", node.name, {}, inputs, [made.codes[node.outputs[0].name]]))


def emit_float(made: Integerizer, node: gs.Node) -> None:
    """A float node, or a DequantizeLinear, as it was."""
    outputs = [made.other(tensor) for tensor in node.outputs]
    real = made.reals.get(node.outputs[0].name)
    if real is None:
        inputs = [made.other(tensor) for tensor in node.inputs]
        made.nodes.append(gs.Node(node.op, node.name, dict(node.attrs), inputs, outputs, domain=node.domain))
        return
    inputs = [real.tensor, *quantizer_constants(node.name, real.scale, real.zero_point)]
    made.nodes.append(gs.Node("DequantizeLinear", node.name, {}, inputs, outputs))


def quantizer_constants(name: str, scale: float, zero_point: int) -> list[gs.Constant]:
    return [
        gs.Constant(f"{name}/scale", np.array(scale, np.float32)),
        gs.Constant(f"{name}/zero_point", np.array(zero_point, np.int8)),
    ]


def on_integers(node: gs.Node) -> bool:
    """Whether an operator other than a quantizer works on 8-bit codes."""
    return not is_quantize(node) and not is_dequantize(node) and node.outputs[0].dtype in (np.int8, np.uint8)


def emit_move(made: Integerizer, node: gs.Node) -> None:
    """A rounding to the codes of a format, or an operator that some other tool put between integers."""
    if node.op not in MOVES and not is_rounding(node):
        raise UserError(f"node {node.name}: {node.op} of integers cannot be compiled; {', '.join(sorted(MOVES))} can")
    inputs = [made.codes.get(tensor.name) or signed_constant(tensor) for tensor in node.inputs]
    outputs = [made.codes[node.outputs[0].name]]
    made.nodes.append(gs.Node(node.op, node.name, dict(node.attrs), inputs, outputs, domain=node.domain))


def signed_constant(tensor: gs.Tensor) -> gs.Tensor:
    """A uint8 constant as the int8 codes of the same reals; anything else as it is."""
    if not isinstance(tensor, gs.Constant) or tensor.dtype != np.uint8:
        return tensor
    return gs.Constant(f"{tensor.name}/signed", (tensor.values.astype(np.int16) - 128).astype(np.int8))


def share_constants(graph: gs.Graph) -> None:
    """Weights that several nodes read stand in the file once. Short constants keep a name for each node."""
    first: dict[tuple[str, tuple[int, ...], bytes], gs.Constant] = {}
    for node in graph.nodes:
        for place, tensor in enumerate(node.inputs):
            if isinstance(tensor, gs.Constant) and tensor.values.nbytes >= SHARED_BYTES:
                key = (str(tensor.values.dtype), tensor.values.shape, tensor.values.tobytes())
                node.inputs[place] = first.setdefault(key, tensor)
