"""Integer graph in, program out: a kernel call for every node, in execution order, and where each value lies.

On a CPU, float products by stored weights have a kernel of their own (`weight_products`), and other nodes that stayed
float become kernels through TVM's importer; a microcontroller refuses them by name.
"""

from __future__ import annotations

import json
from collections.abc import Container, Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from math import prod
from typing import Any

import numpy as np
import onnx
import onnx_graphsurgeon as gs

from bevel.backends.program.carry import carry
from bevel.backends.program.island import Importer
from bevel.backends.program.op import Array
from bevel.backends.program.ops.dequantize import Dequantize
from bevel.backends.program.ops.dequantize_channels import DequantizeChannels
from bevel.backends.program.ops.quantize import Quantize
from bevel.backends.program.ops.transpose import Transpose
from bevel.backends.program.program import Call, Port, Program
from bevel.calib.errors import UserError
from bevel.passes.base import Note
from bevel.passes.exchange.export import PORTS
from bevel.passes.exchange.unpack_weights import unpack_weights
from bevel.passes.graph.moves import PURE_MOVES
from bevel.passes.graph.quantizers import is_dequantize, is_quantize, parameters
from bevel.passes.operators import lowering_operator
from bevel.passes.operators.base import DOMAIN
from bevel.passes.operators.lowering import Lowering, Order, Value, channels_last, onnx_order
from bevel.passes.partition.count_prefixes import count_prefixes
from bevel.passes.partition.islands import FloatRun, float_run, imported
from bevel.passes.partition.pack_caches import pack_caches
from bevel.passes.partition.refuse_floats import reasons_of, refusal
from bevel.passes.partition.weight_products import (
    is_weight_product,
    lower_product,
    stored,
    take_biases,
    weight_product,
)
from bevel.passes.states.pairs import states_of

PASS = "partition"  # whose notes these are
MOST_PARTS = 16  # of an output that are dequantized by a call each
FLOAT_BYTES = 4
INTEGERS = (np.int8, np.uint8, np.int16, np.int32)
# What only moves elements moves those of other types too: the indices that ArgMax makes, truth values
MOVES = frozenset(
    {"Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Slice", "Concat", "Gather", "Tile", "ScatterND"}
)
MOVED = (*INTEGERS, np.int64, np.bool_)
Meanings = Mapping[str, Sequence[Any]]  # of ports: scale, zero point, axis
ANY = (*MOVED, np.float32)  # floats are bits like others where nothing is computed


def partition(
    model: onnx.ModelProto, name: str, islands: bool, importer: Importer, said: Sequence[Note] = ()
) -> tuple[Program, list[Note]]:
    """The program `name` (a C identifier) that computes `model`, the integer model, bit for bit.

    With `islands`, float nodes become kernels through `importer`; without, raises UserError that names them, with
    the reasons that `said`, the notes of the passes before, hold.
    """
    graph, states = prepared(model), states_of(model)
    floats = [node for node in graph.nodes if not runs_in_integers(node)]
    if floats and not islands:
        raise UserError(refusal(graph, floats, reasons_of(said), importer))
    meanings = {port: [*found, 0][:3] for port, found in json.loads(metadata(model).get(PORTS, "{}")).items()}
    found = lowered(graph, name, meanings, importer)
    if not states:
        return found
    # Nobody sees in what order states lie
    images = {out: into for into, out in states.items()}
    moved = lowered(prepared(model), name, meanings, importer, frozenset({*images, *images.values()}))
    carried = ((carry(program, states), notes) for program, notes in (found, moved))
    program, notes = min(carried, key=lambda one: reordered(one[0]))
    program, kept = pack_caches(program)
    return program, [*notes, *kept]


def reordered(program: Program) -> int:
    """Bytes that are moved into another order."""
    return sum(call.writes()[0].end for call in program.calls if isinstance(call.kernel, Transpose))


def lowered(
    graph: gs.Graph, name: str, meanings: Meanings, importer: Importer, images: Container[str] = ()
) -> tuple[Program, list[Note]]:
    """The program, and notes. `images`: inputs and outputs whose channels lie last."""

    def order(tensor: gs.Variable) -> Order:
        return (channels_last if tensor.name in images else onnx_order)(len(tensor.shape))

    lowering = Lowering()
    for tensor in graph.inputs:
        buffer = lowering.new_buffer(tensor.name, tuple(tensor.shape), str(np.dtype(tensor.dtype)))
        lowering.values[tensor.name] = Value(buffer, tuple(tensor.shape), order(tensor))
    inputs = tuple(port(lowering, tensor, lowering.values[tensor.name].buffer, meanings) for tensor in graph.inputs)
    notes = lower_nodes(graph, lowering, importer)
    taken = {one.buffer for one in inputs}
    outputs = []
    for tensor in graph.outputs:
        outputs.append(port(lowering, tensor, output_buffer(lowering, tensor, order(tensor), taken), meanings))
        taken.add(outputs[-1].buffer)
    lowering.drop_unread_constants()
    program = Program(name, inputs, tuple(outputs), lowering.buffers, tuple(lowering.calls), lowering.constants)
    return count_prefixes(program), notes


def prepared(model: onnx.ModelProto) -> gs.Graph:
    """The integer model with its weights as constants of whole integers, those of float nodes as floats."""
    graph = gs.import_onnx(model)
    unpack_weights(graph)
    dequantize_constants(graph)
    take_biases(graph)
    return graph


def metadata(model: onnx.ModelProto) -> dict[str, str]:
    return {entry.key: entry.value for entry in model.metadata_props}


def dequantize_constants(graph: gs.Graph) -> None:
    """Stored weights of nodes that stayed float become float constants, as DequantizeLinear would compute them."""
    for node in graph.nodes:
        found = parameters(node) if is_dequantize(node) and isinstance(node.inputs[0], gs.Constant) else None
        if found is None:
            continue
        output, codes = node.outputs[0], np.asarray(node.inputs[0].values)
        size = int(node.attrs.get("block_size", 0))
        quant = [spread(one, codes.shape, found.axis, size) for one in found[:2]]
        reals = (codes.astype(np.int32) - quant[1].astype(np.int32)).astype(np.float32) * quant[0]
        constant = stored(output.name, codes, found, size, np.asarray(reals))  # of rank 0, too
        for reader in list(output.outputs):
            reader.inputs = [constant if one is output else one for one in reader.inputs]
        if all(output is not one for one in graph.outputs):
            node.outputs.clear()  # whose name the constant has
    graph.cleanup()


def spread(quant: Array, shape: tuple[int, ...], axis: int, size: int) -> Array:
    """A scale or zero point as it broadcasts against codes of `shape`: one for all, for each index, for each block of
    `size`."""
    if quant.ndim == len(shape) > 1:
        return np.repeat(quant, size, axis).take(range(shape[axis]), axis)
    return np.expand_dims(quant, others(len(shape), axis)) if quant.ndim else quant


def others(rank: int, axis: int) -> list[int]:
    return [place for place in range(rank) if place != axis % rank]


def lower_nodes(graph: gs.Graph, lowering: Lowering, importer: Importer) -> list[Note]:
    notes = []
    ports = {tensor.name for tensor in graph.outputs}
    for ours, run in groupby(graph.nodes, key=has_kernel):
        nodes = list(run)
        if ours:
            for node in nodes:
                if (product := weight_product(node)) is not None:
                    lower_product(node, product, lowering)
                else:
                    lower_integer(node, lowering)
        else:
            lower_island(float_run(nodes, ports, graph.opset), lowering, importer)
            notes += [Note(PASS, node.name, "warned", "runs in float, compiled by TVM's importer") for node in nodes]
    return notes


def lower_integer(node: gs.Node, lowering: Lowering) -> None:
    operator = lowering_operator(node)
    if operator is not None:
        operator.lower(node, lowering)
    elif is_quantize(node) or is_dequantize(node):
        lower_quantizer(node, lowering)


def lower_island(run: FloatRun, lowering: Lowering, importer: Importer) -> None:
    """Neighbouring float nodes as one sub-model, whose inputs are named for the buffers they are in."""
    island = imported(run, importer, lambda tensor: lowering.read(tensor, onnx_order(len(tensor.shape))))
    lowering.buffers |= {buffer.name: buffer for buffer in island.buffers}
    lowering.constants |= island.constants
    lowering.calls += island.calls
    for tensor in run.outputs:
        shape = tuple(tensor.shape)
        lowering.values[tensor.name] = Value(tensor.name, shape, onnx_order(len(shape)))


def has_kernel(node: gs.Node) -> bool:
    """Whether the node is no part of a float island."""
    return runs_in_integers(node) or is_weight_product(node)


def runs_in_integers(node: gs.Node) -> bool:
    if is_quantize(node) or is_dequantize(node) or node.domain == DOMAIN:
        return True
    if node.op == "Identity":
        return True
    tensors = [tensor for tensor in node.inputs if isinstance(tensor, gs.Variable) and not tensor.is_empty()]
    looks_up = node.op == "Gather" and isinstance(node.inputs[0], gs.Constant)
    parameters = [] if node.op in ("Concat", "ScatterND") or looks_up else node.inputs[1:]
    moved = ANY if node.op in PURE_MOVES else MOVED
    read, made = (moved if node.op in MOVES else INTEGERS), (moved if node.op in MOVES else (*INTEGERS, np.int64))
    return (
        lowering_operator(node) is not None
        and bool(tensors)
        and all(one.dtype in read for one in tensors)
        and all(one.dtype in made for one in node.outputs)
        and all(isinstance(one, gs.Constant) or one.is_empty() for one in parameters)
    )


def lower_quantizer(node: gs.Node, lowering: Lowering) -> None:
    """QuantizeLinear and DequantizeLinear, in whatever layout the value has."""
    value = lowering.value(node.inputs[0])
    scale, zero_point = (lowering.constant(tensor) for tensor in node.inputs[1:3])
    if scale.ndim and is_dequantize(node):
        lower_parts(node, value, scale, zero_point, lowering)
        return
    make = Quantize if is_quantize(node) else Dequantize
    kernel = make(size=prod(value.shape), scale=float(scale), zero_point=int(zero_point), dtype=str(zero_point.dtype))
    lowering.emit(node, kernel, [value.buffer], (), node.outputs[0], value.order)


def lower_parts(node: gs.Node, value: Value, scale: Array, zero_point: Array, lowering: Lowering) -> None:
    """A DequantizeLinear with a scale for each index along an axis: a call for each part, if they lie apart."""
    place = value.order.index(int(node.attrs.get("axis", 1)) % len(value.order))
    outer, channels, inner = prod(value.stored[:place]), value.stored[place], prod(value.stored[place + 1 :])
    dtype = str(zero_point.dtype)
    meanings = list(zip(scale.tolist(), zero_point.tolist(), strict=True))
    runs = [(meaning, len(list(run)) * inner) for meaning, run in groupby(meanings)]
    if outer != 1 or len(runs) > MOST_PARTS:
        kernel = DequantizeChannels(outer, channels, inner, dtype)
        constants = (scale.astype(np.float32), zero_point.astype(np.int32))
        lowering.emit(node, kernel, [value.buffer], constants, node.outputs[0], value.order)
        return
    result, first = node.outputs[0], 0
    buffer = lowering.new_buffer(result.name, value.stored, "float32")
    for (step, zero), size in runs:
        part = Dequantize(size, step, zero, dtype)
        starts = (first * zero_point.dtype.itemsize,), first * FLOAT_BYTES
        lowering.calls.append(Call(node.name, part, (value.buffer,), (), buffer, *starts))
        first += size
    lowering.values[result.name] = Value(buffer, value.shape, value.order)


def output_buffer(lowering: Lowering, tensor: gs.Variable, order: Order, taken: set[str]) -> str:
    """A buffer of the output's own, in `order`."""
    value = lowering.reorder(lowering.value(tensor), order, tensor.name)
    if value.buffer in taken or value.buffer in lowering.constants:
        value = lowering.copy(value, tensor.name)
    return value.buffer


def port(lowering: Lowering, tensor: gs.Variable, buffer: str, meanings: Meanings) -> Port:
    shape = tuple(int(size) for size in tensor.shape)
    plain = Port(tensor.name, buffer, shape, lowering.buffers[buffer].dtype)
    if tensor.name not in meanings:
        return plain
    scale, zero_point, axis = meanings[tensor.name]
    if isinstance(scale, list):
        return replace(plain, scale=tuple(scale), zero_point=tuple(zero_point), axis=axis)
    return replace(plain, scale=scale, zero_point=zero_point)
