"""Weights of a model file at the width they need: what a graph holds as whole integers lies in the file as codes.

Standard types where opset 21 has them: INT4 and UINT4, and FLOAT8E4M3FN for a DequantizeLinear. Everything else of up
to 8 bits is a stream of bits behind a model-local function (`bevel.passes.operators.formats.unpack`). Weights of many
different values, and those too few to pay for the node, stay as they are. `unpack_weights` is the way back.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import onnx_graphsurgeon as gs
from onnx import numpy_helper

from bevel.calib.data.content import content
from bevel.calib.formats.coded import Coded, coded
from bevel.calib.formats.float_format import E4M3
from bevel.calib.formats.format import INT4, UINT4, IntFormat
from bevel.calib.formats.levels import levels_of
from bevel.calib.formats.packing import pack_bits
from bevel.calib.formats.scheme import PerBlock
from bevel.passes.graph.coded_constant import coded_of
from bevel.passes.operators.base import DOMAIN, Array
from bevel.passes.operators.formats.dequantize_steps import DEQUANTIZE_STEPS
from bevel.passes.operators.formats.unpack import BLOCKS, GROUPS, unpack_name

LEAST_SAVING = 128  # bytes: about what a node takes in the file
LEAST_RANK = 2  # biases stay plain: OpenVINO takes no bias of a Conv whose rank it does not see
STEPS = DEQUANTIZE_STEPS.name
WEIGHTS = "w"  # what functions call the input that holds weights
FOUR_BITS = {INT4: np.dtype(ml_dtypes.int4), UINT4: np.dtype(ml_dtypes.uint4)}


@dataclass
class Packing:
    """What the weights of one model become."""

    known: dict[str, onnx.TensorProto]  # the model's initializers
    initializers: dict[str, onnx.TensorProto] = field(default_factory=dict)
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    tables: dict[bytes, str] = field(default_factory=dict)
    called: set[str] = field(default_factory=set)  # functions of operators

    def add(self, values: Array, name: str) -> str:
        """An initializer, once for each name; its name."""
        if name not in self.initializers:
            self.initializers[name] = numpy_helper.from_array(np.asarray(values, order="C"), name)
        return name

    def values(self, name: str) -> Array:
        """The values of an initializer. Raises KeyError for what is none."""
        return numpy_helper.to_array(self.known[name])

    def table(self, values: Array) -> str:
        """The name of a constant table; weights of one format share it."""
        key = content(values)
        if key not in self.tables:
            self.tables[key] = self.add(values, f"values/{len(self.tables)}")
        return self.tables[key]

    def call(self, op: str, name: str, inputs: list[str], output: str, **attrs: Any) -> None:
        domain = "" if op == "Cast" else DOMAIN
        self.nodes.append(onnx.helper.make_node(op, inputs, [output], name, domain=domain, **attrs))


def pack_weights(
    model: onnx.ModelProto, constants: Mapping[str, gs.Constant], functions: Mapping[str, onnx.FunctionProto]
) -> set[str]:
    """Edit `model`; the names of the functions that it calls for it. constants: its initializers as they stood in the
    graph, by name. functions: those it may call already, which say where weights stand."""
    packing = Packing({tensor.name: tensor for tensor in model.graph.initializer})
    readers = weight_readers(model, functions)
    packed = {
        tensor.name
        for tensor in model.graph.initializer
        if tensor.name in readers and (codes := coded_of(constants[tensor.name])) is not None
        if pack(packing, tensor, codes, readers[tensor.name])
    }
    if not packed and not packing.called:
        return set()
    nodes = [*packing.nodes, *model.graph.node]
    read = {name for node in nodes for name in node.input} | {port.name for port in model.graph.output}
    known = [one for one in model.graph.initializer if one.name not in packed and one.name in read]
    graph = onnx.GraphProto(node=nodes, initializer=[*known, *packing.initializers.values()])
    for name in ("node", "initializer"):
        model.graph.ClearField(name)
    model.graph.MergeFrom(graph)
    return packing.called | {node.op_type for node in packing.nodes if node.domain == DOMAIN}


def weight_readers(
    model: onnx.ModelProto, functions: Mapping[str, onnx.FunctionProto]
) -> dict[str, list[onnx.NodeProto]]:
    """The nodes that read each tensor as their weights, and only so."""
    found: dict[str, list[onnx.NodeProto]] = {}
    others: set[str] = set()
    for node in model.graph.node:
        places = set(weight_places(node, functions))
        for place, name in enumerate(node.input):
            if place in places:
                found.setdefault(name, []).append(node)
            else:
                others.add(name)
    return {name: nodes for name, nodes in found.items() if name not in others}


def weight_places(node: onnx.NodeProto, functions: Mapping[str, onnx.FunctionProto]) -> Iterator[int]:
    if node.op_type == "DequantizeLinear":
        yield 0
    elif node.domain == DOMAIN and node.op_type in functions:
        yield from (place for place, name in enumerate(functions[node.op_type].input) if name == WEIGHTS)


def pack(packing: Packing, tensor: onnx.TensorProto, found: Coded, readers: list[onnx.NodeProto]) -> bool:
    """Put packed constants and the nodes that unpack them in place of `tensor`, if that pays."""
    values = numpy_helper.to_array(tensor)
    if values.ndim < LEAST_RANK:
        return False
    elements = shortest(found, values.dtype)
    if isinstance(found.blocks, PerBlock):
        multiply_out(packing, readers, values.ndim)
        tables = [found.block_table, *([] if found.block_zeros is None else [found.block_zeros])]
        return pack_blocks(
            packing, tensor.name, values, (elements, *(coded(one[found.block_codes]) for one in tables)), found.blocks
        )
    if store_float8(packing, tensor.name, found, readers):
        return True
    if values.dtype == np.int32:
        multiply_out(packing, readers, values.ndim)
    if elements.bits == 4 and store_four_bits(packing, tensor.name, values, readers):
        return True
    if values.nbytes - stored_bytes(elements, values.dtype) < LEAST_SAVING or is_int8(elements, values):
        return False
    unpack(packing, tensor.name, elements, values.dtype)
    return True


def multiply_out(packing: Packing, readers: list[onnx.NodeProto], rank: int) -> None:
    """Let int32 weights become reals by a product, exact as DequantizeLinear: onnxruntime would fuse that into a
    QLinearConv, which takes no int32."""
    for node in readers:
        if node.op_type != "DequantizeLinear":
            continue
        scale = packing.values(node.input[1])
        axis = next((attr.i for attr in node.attribute if attr.name == "axis"), 1) % rank
        if scale.ndim:
            scale = scale.reshape([-1 if place == axis else 1 for place in range(rank)])
        node.op_type, node.domain = STEPS, DOMAIN
        node.input[:] = [node.input[0], packing.add(scale, f"{node.input[1]}/spread")]
        node.ClearField("attribute")
        packing.called.add(STEPS)


def shortest(found: Coded, dtype: np.dtype[Any]) -> Coded:
    """The elements alone: with the format's own table, which other weights share, unless fewer bits do, or `dtype`,
    which holds the weights, does not hold all of it."""
    alone = coded(found.table[found.codes])
    if alone.bits < found.bits or (found.table.astype(dtype) != found.table).any():
        return alone
    return replace(alone, codes=found.codes, table=found.table)


def is_int8(elements: Coded, values: Array) -> bool:
    """Whether integers use the range of int8: few different ones by chance do not pay for a function, which not every
    runtime reads."""
    wide = values.dtype == np.int8 and int(values.max(initial=0)) - int(values.min(initial=0)) > 127
    return wide and elements.bits > 4


def pack_blocks(packing: Packing, name: str, values: Array, codes: tuple[Coded, ...], blocks: PerBlock) -> bool:
    """As `pack`, for elements and the factors of their blocks, and zero points where there are some."""
    if values.nbytes - sum(stored_bytes(one, values.dtype) for one in codes) < LEAST_SAVING:
        return False
    parts = [f"{name}/{role}" for role in ("elements", "factors", "zeros")[: len(codes)]]
    for part, one in zip(parts, codes, strict=True):
        unpack(packing, part, one, values.dtype)
    axis = blocks.axis % values.ndim
    packing.call(
        BLOCKS if len(codes) == 2 else GROUPS,
        f"{name}/scale",
        parts,
        name,
        axis=axis,
        length=values.shape[axis],
        size=blocks.size,
    )
    return True


def stored_bytes(codes: Coded, dtype: np.dtype[Any]) -> int:
    """Of codes and a table of `dtype`."""
    return -(-codes.codes.size * codes.bits // 8) + len(codes.table) * dtype.itemsize


def only_dequantized(readers: list[onnx.NodeProto]) -> bool:
    return all(node.op_type == "DequantizeLinear" for node in readers)


def store_float8(packing: Packing, name: str, found: Coded, readers: list[onnx.NodeProto]) -> bool:
    """FLOAT8E4M3FN where every step of that format has its code: its unit, a power of two, leaves the scale."""
    levels = levels_of(E4M3)
    if levels is None or not np.array_equal(found.table, levels.array) or not only_dequantized(readers):
        return False
    reals = found.values() * levels.unit
    packing.add(reals.astype(ml_dtypes.float8_e4m3fn), name)
    for node in readers:
        scale = packing.values(node.input[1])
        node.input[:] = [name, packing.add((scale / levels.unit).astype(np.float32), f"{node.input[1]}/{E4M3.name}")]
    return True


def store_four_bits(packing: Packing, name: str, values: Array, readers: list[onnx.NodeProto]) -> bool:
    """INT4 or UINT4: a DequantizeLinear reads them, for others a Cast widens them."""
    format = next((one for one in FOUR_BITS if one.low <= values.min() and values.max() <= one.high), None)
    if format is None:
        return False
    dtype = FOUR_BITS[format]
    if only_dequantized(readers) and all(zero_points_fit(packing, node, format) for node in readers):
        packing.add(values.astype(dtype), name)
        for node in readers:
            zeros = [packing.add(packing.values(one).astype(dtype), f"{one}/{format.name}") for one in node.input[2:]]
            node.input[:] = [name, node.input[1], *zeros]
        return True
    if values.nbytes // 2 < LEAST_SAVING:
        return False
    packed = packing.add(values.astype(dtype), f"{name}/{format.name}")
    packing.call("Cast", f"{name}/unpack", [packed], name, to=onnx.helper.np_dtype_to_tensor_dtype(values.dtype))
    return True


def zero_points_fit(packing: Packing, node: onnx.NodeProto, format: IntFormat) -> bool:
    known = [packing.values(name) for name in node.input[2:]]
    return all(format.low <= one.min(initial=0) and one.max(initial=0) <= format.high for one in known)


def unpack(packing: Packing, name: str, elements: Coded, dtype: np.dtype[Any]) -> None:
    """Codes without blocks as packed bytes, and the node that makes `name` of them."""
    packed = pack_bits(elements.codes, elements.bits)
    packed = np.pad(packed, (0, -packed.size % elements.bits))  # whole groups of codes
    inputs = [packing.add(packed, f"{name}/packed"), packing.table(elements.table.astype(dtype))]
    shape = [int(size) for size in elements.codes.shape]
    packing.call(unpack_name(elements.bits), f"{name}/unpack", inputs, name, shape=shape)
