"""QDQ graph in, integer graph out: what the device computes, in standard ONNX integer operators.

Every quantizer asks what makes its input: an operator between dequantized tensors becomes that operator's integer
form, a chain of element-wise functions becomes a table, a change of scale becomes a table too. What has no integer form
stays float between a DequantizeLinear and this quantizer, and says why. Inside, activations are int8, or int16 and
int32 where their format needs it (`bevel.passes.integerize.coding`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Literal

import numpy as np
import onnx
import onnx_graphsurgeon as gs

from bevel.backends.target import Target
from bevel.calib.errors import UserError
from bevel.passes.base import COMMAND, Condition, Note, Pass, PassResult, Stage, Work
from bevel.passes.canonicalize.name_nodes import NameNodes
from bevel.passes.conditions import EXECUTION_ORDER, PLAIN_NODES, STATIC_SHAPES, UNIQUE_NAMES
from bevel.passes.exchange.export import PORTS, export
from bevel.passes.graph.edit import producer
from bevel.passes.graph.quantizers import is_dequantize, is_quantize
from bevel.passes.graph.regions import casts_pixels
from bevel.passes.integerize.coding import cast_coding, coding, signed_type
from bevel.passes.integerize.fuse_rounding import is_rounding
from bevel.passes.integerize.integer_nodes import index_nodes, integer_nodes
from bevel.passes.integerize.integerizer import PASS, Integerizer, Meaning
from bevel.passes.integerize.part_scales import Parted, dequantize_parts, find_parted, move_codes
from bevel.passes.operators.base import DOMAIN, Reason, stays_float
from bevel.passes.operators.formats.dequantize_steps import dequantize_steps
from bevel.passes.operators.formats.flip_sign import flip_sign
from bevel.passes.operators.formats.quantize_fixed import quantize_fixed
from bevel.passes.operators.formats.quantize_float import quantize_float
from bevel.passes.operators.formats.round_mx import ROUND_MX
from bevel.passes.operators.formats.round_rows import ROUND_ROWS
from bevel.passes.recipes import DEFAULT, read
from bevel.passes.recipes.build import build
from bevel.passes.states.pairs import States

__all__ = ["PORTS", "Format", "export", "integerize"]

Format = Literal["float", "quantized"]

CODES = (np.int8, np.uint8, np.int16, np.uint16)
MOVES = frozenset(["Transpose", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Slice", "Concat", "MaxPool", "Identity"])


@dataclass(frozen=True)
class ToIntegers(Pass):
    """inputs, outputs: whether the model's ports carry floats or the quantized type; a port without a quantizer stays
    float, with a note. Raises UserError for quantizers that `bevel.passes.integerize.coding` does not know."""

    name: ClassVar[str] = PASS
    stage: ClassVar[Stage] = "integerize"
    follows: ClassVar[tuple[str, ...]] = ("restore-tables", "carry-quantizers")
    requires: ClassVar[tuple[Condition, ...]] = (STATIC_SHAPES, UNIQUE_NAMES, PLAIN_NODES)
    ensures: ClassVar[tuple[Condition, ...]] = (STATIC_SHAPES, UNIQUE_NAMES, EXECUTION_ORDER)
    inputs: Format = field(default="float", metadata=COMMAND)
    outputs: Format = field(default="float", metadata=COMMAND)

    def call(self, work: Work) -> PassResult:
        made = Integerizer(work.graph)
        graph = integer_graph(made, self.inputs, self.outputs, work.states)
        NameNodes()(Work(graph))  # a result with two quantizers became two nodes of one name
        ports = {name: meaning.written for name, meaning in made.ports.items()}
        return work.result(True, made.notes, graph=graph, ports=ports)


def integerize(
    graph: gs.Graph, inputs: Format = "float", outputs: Format = "float", target: Target | None = None
) -> tuple[onnx.ModelProto, list[Note]]:
    """The integer model of a QDQ graph, as the recipe `int8` makes it, and notes on what became what."""
    recipe = build(read(DEFAULT)).with_fields(ToIntegers, inputs=inputs, outputs=outputs)
    work = recipe.run("integerize", Work(graph, target))
    return export(work.graph, work.ports), list(work.notes)


def integer_graph(made: Integerizer, inputs: Format, outputs: Format, states: States) -> gs.Graph:
    """States stay floats, which begin with zeros: devices keep their integers."""
    graph, kept = made.source, set(states.values())
    new_inputs = [start_input(made, one, "float" if one.name in states else inputs) for one in graph.inputs]
    assign_codes(made)
    results = {node.name: made_of(made, node) if is_quantize(node) else index_nodes(made, node) for node in graph.nodes}
    arrived = {tensor.name: port for tensor, port in zip(graph.inputs, new_inputs, strict=True)}
    new_outputs = [
        arrived.get(tensor.name) or end_output(made, tensor, "float" if tensor.name in kept else outputs)
        for tensor in graph.outputs
    ]
    needed = needed_floats(made, results)
    for node in graph.nodes:
        emit(made, node, results, needed)
    new = gs.Graph(made.nodes, new_inputs, new_outputs, name=graph.name or "model", opset=graph.opset)
    new.import_domains = [onnx.helper.make_opsetid("", graph.opset), onnx.helper.make_opsetid(DOMAIN, 1)]
    return new


def made_of(made: Integerizer, quantizer: gs.Node) -> list[gs.Node] | Reason | None:
    """None for codes that are there already."""
    return None if quantizer.outputs[0].name in made.arriving else integer_nodes(made, quantizer)


# Ports


def start_input(made: Integerizer, tensor: gs.Variable, form: Format) -> gs.Variable:
    """The graph input in the new graph, and the codes it starts."""
    if tensor.dtype in (np.int8, np.uint8):
        port = gs.Variable(tensor.name, tensor.dtype, tensor.shape)
        made.codes[tensor.name] = signed(made, port)
        made.floats[tensor.name] = port  # for operators that take the integers themselves, a comparison
        return port
    if form == "quantized" and tensor.dtype == np.float32:
        given = {coding(node) for node in tensor.outputs if is_quantize(node)}
        leaves = any(tensor is output for output in made.source.outputs)
        if (
            not leaves
            and len(given) == 1
            and all(map(is_quantize, tensor.outputs))
            and (one := given.pop()).is_standard
        ):
            made.ports[tensor.name] = Meaning(one.scale, one.zero_point)
            port = gs.Variable(tensor.name, np.dtype(one.dtype), tensor.shape)
            made.codes |= {node.outputs[0].name: port for node in tensor.outputs}
            made.arriving |= {node.outputs[0].name for node in tensor.outputs}
            return port
        text = "this input stays float: not one quantizer of equal steps alone reads it"
        made.notes.append(Note(PASS, tensor.name, "refused", text))
    port = made.other(tensor)
    if tensor.dtype == np.int16:  # as it is, for what moves it or hands it on
        made.codes[tensor.name] = port
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
        if tensor.dtype == codes.dtype:
            return codes
        if codes.dtype != np.int8:
            raise UserError(f"output {tensor.name} is {tensor.dtype}, which cannot be compiled; int16 and float32 can")
        port = gs.Variable(tensor.name, np.uint8, tensor.shape)
        made.nodes.append(flip_sign(f"{tensor.name}/flip_sign", codes, port))
        return port
    real = made.reals.get(tensor.name)
    parted = find_parted(made, tensor) if real is None and tensor.dtype == np.float32 else None
    if parted is not None:
        return end_parted(made, tensor, parted, form)
    if form == "quantized" and tensor.dtype == np.float32:
        taken = {port.name for port in made.source.inputs} | {port.name for port in made.source.outputs}
        if real is not None and real.tensor.name not in taken:
            real.tensor.name = tensor.name
            made.ports[tensor.name] = Meaning(real.scale, real.zero_point)
            return real.tensor
        text = "this output stays float: no quantizer of its own stands before it"
        made.notes.append(Note(PASS, tensor.name, "refused", text))
    return made.other(tensor)


def end_parted(made: Integerizer, tensor: gs.Variable, parted: Parted, form: Format) -> gs.Variable:
    """An output whose parts have scales of their own."""
    codes = move_codes(made, parted)
    if form == "quantized":
        codes.name = tensor.name
        made.ports[tensor.name] = parted.meaning
        return codes
    port = gs.Variable(tensor.name, np.float32, tensor.shape)
    made.nodes.append(dequantize_parts(tensor.name, codes, parted.meaning, port))
    return port


def assign_codes(made: Integerizer) -> None:
    """A tensor for every integer tensor of the source, and the reals that each dequantizer means."""
    for node in made.source.nodes:
        output = node.outputs[0]
        if casts_pixels(node) and node.inputs[0].name in made.codes:
            made.reals[output.name] = cast_coding(node).activation(made.codes[node.inputs[0].name])
        elif is_quantize(node) and keeps_pixels(made, node):
            made.codes[output.name] = made.reals[node.inputs[0].name].tensor
            made.arriving.add(output.name)
        elif is_dequantize(node) and node.inputs[0].name in made.codes:
            made.reals[output.name] = coding(node).activation(made.codes[node.inputs[0].name])
        elif (is_quantize(node) or on_integers(made, node)) and output.name not in made.codes:
            dtype = np.dtype(coding(node).dtype) if is_quantize(node) else signed_type(output.dtype)
            name = output.name if output.dtype == dtype else f"{output.name}/signed"
            made.codes[output.name] = gs.Variable(name, dtype, output.shape)


def keeps_pixels(made: Integerizer, quantizer: gs.Node) -> bool:
    """Whether it makes of a cast the integers that were cast."""
    real, source = made.reals.get(quantizer.inputs[0].name), producer(quantizer.inputs[0])
    if real is None or source is None or not casts_pixels(source):
        return False
    found = coding(quantizer)
    return found.dtype == "int8" and found.activation(real.tensor) == real


# Emission, in the source's order


def needed_floats(made: Integerizer, results: dict[str, list[gs.Node] | Reason | None]) -> set[str]:
    """The tensors that are still read as floats: by float operators, plain quantizers and float outputs."""
    pending = [tensor for tensor in made.source.outputs if tensor.name in made.floats]
    pending += [
        node.inputs[0]
        for node in made.source.nodes
        if is_quantize(node) and not isinstance(results[node.name], list) and node.outputs[0].name not in made.arriving
    ]
    pending += made.read
    needed: set[str] = set()
    while pending:
        tensor = pending.pop()
        if isinstance(tensor, gs.Constant) or tensor.is_empty() or tensor.name in needed:
            continue
        needed.add(tensor.name)
        node = producer(tensor)
        if node is not None and not is_dequantize(node) and not isinstance(results[node.name], list):
            pending += node.inputs
    return needed


def emit(made: Integerizer, node: gs.Node, results: dict[str, list[gs.Node] | Reason | None], needed: set[str]) -> None:
    if is_quantize(node):
        emit_quantize(made, node, results[node.name])
    elif on_integers(made, node):
        emit_move(made, node)
    elif isinstance(result := results[node.name], list):
        made.nodes += result
    elif any(tensor.name in needed for tensor in node.outputs):
        emit_float(made, node)


def emit_quantize(made: Integerizer, node: gs.Node, result: list[gs.Node] | Reason | None) -> None:
    if isinstance(result, list):
        made.nodes += result
        return
    if node.outputs[0].name in made.arriving:
        return
    if isinstance(result, Reason):
        made.notes.append(stays_float(PASS, node.inputs[0].inputs[0].name, result))
    found, x, codes = coding(node), made.other(node.inputs[0]), made.codes[node.outputs[0].name]
    if found.dtype == "int32" and found.steps is None:
        made.nodes.append(quantize_fixed(node.name, x, codes, found.scale, found.high))
        return
    if found.steps is not None:
        made.nodes.append(quantize_float(node.name, x, found.scale, codes, found.steps))
        return
    inputs = [x, *quantizer_constants(node.name, found.scale, found.zero_point, found.dtype)]
    made.nodes.append(gs.Node("QuantizeLinear", node.name, {}, inputs, [codes]))


def emit_float(made: Integerizer, node: gs.Node) -> None:
    """A float node, or a dequantizer, as it was."""
    outputs = [made.other(tensor) for tensor in node.outputs]
    real = made.reals.get(node.outputs[0].name)
    if real is None:
        inputs = [read_as_it_is(made, tensor) for tensor in node.inputs]
        made.nodes.append(gs.Node(node.op, node.name, dict(node.attrs), inputs, outputs, domain=node.domain))
        return
    if real.dtype == "int32":
        made.nodes.append(dequantize_steps(node.name, real.tensor, real.scale, outputs[0]))
        return
    inputs = [real.tensor, *quantizer_constants(node.name, real.scale, real.zero_point, real.dtype)]
    made.nodes.append(gs.Node("DequantizeLinear", node.name, {}, inputs, outputs))


def read_as_it_is(made: Integerizer, tensor: gs.Tensor) -> gs.Tensor:
    """What a float operator reads, at times the codes themselves."""
    codes = made.codes.get(tensor.name)
    if codes is None or tensor.name in made.floats:
        return made.other(tensor)
    if codes.dtype == tensor.dtype:
        return codes
    if codes.dtype != np.int8:
        raise UserError(
            f"tensor {tensor.name} of {tensor.dtype} is read by a float operator; int8, uint8 and int16 can be"
        )
    port = made.other(tensor)
    made.nodes.append(flip_sign(f"{tensor.name}/flip_sign", codes, port))
    return port


def quantizer_constants(name: str, scale: float, zero_point: int, dtype: str) -> list[gs.Constant]:
    return [
        gs.Constant(f"{name}/scale", np.array(scale, np.float32)),
        gs.Constant(f"{name}/zero_point", np.array(zero_point, dtype)),
    ]


def on_integers(made: Integerizer, node: gs.Node) -> bool:
    """Whether an operator other than a quantizer makes codes of 8 or 16 bits of such codes."""
    if is_quantize(node) or is_dequantize(node) or node.outputs[0].dtype not in CODES:
        return False
    return all(isinstance(one, gs.Constant) or one.is_empty() or one.name in made.codes for one in node.inputs)


def emit_move(made: Integerizer, node: gs.Node) -> None:
    """A rounding to codes, blocks or rows of a format, or an operator that some other tool put between integers."""
    if node.op not in (*MOVES, ROUND_MX.name, ROUND_ROWS.name) and not is_rounding(node):
        raise UserError(
            f"node {node.name}: {node.op} of integers cannot be compiled; {', '.join(sorted(MOVES))} can; "
            "cut the model before it with --outputs-at"
        )
    inputs = [made.codes.get(tensor.name) or signed_constant(tensor) for tensor in node.inputs]
    outputs = [made.codes[node.outputs[0].name]]
    made.nodes.append(gs.Node(node.op, node.name, dict(node.attrs), inputs, outputs, domain=node.domain))


def signed_constant(tensor: gs.Tensor) -> gs.Tensor:
    """An unsigned constant as the signed codes of the same reals; anything else as it is."""
    if not isinstance(tensor, gs.Constant) or tensor.dtype not in (np.uint8, np.uint16):
        return tensor
    half = 2 ** (8 * tensor.values.dtype.itemsize - 1)
    moved = (tensor.values.astype(np.int64) - half).astype(signed_type(tensor.values.dtype))
    return gs.Constant(f"{tensor.name}/signed", moved)
