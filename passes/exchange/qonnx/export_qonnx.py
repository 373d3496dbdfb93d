"""QONNX out: a QDQ graph's quantizers as Quant, BipolarQuant and FloatQuant.

Constants become the floats that their integers mean, behind the quantizer of the fewest bits that leaves them as they
are: the width is what the integers need. An activation's int8 quantizer and the Clip behind it become one Quant, or,
with a look-up behind it, two quantizers; behind what only moves integers there is none. The model computes what it
computed before, but for what lies exactly between two codes of a quantizer with an odd zero point
(`quantize_activations`), and for integers beyond 2**24 in a bias, which a float32 does not hold.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import ml_dtypes
import numpy as np
import onnx
import onnx_graphsurgeon as gs
from numpy.typing import NDArray

from bevel.calib.errors import UserError
from bevel.calib.formats.float_format import E4M3
from bevel.passes.base import Work
from bevel.passes.exchange.qonnx import find_quantizer
from bevel.passes.exchange.qonnx.formula import Floats, Quantizer
from bevel.passes.exchange.qonnx.nodes import DOMAIN, quantizer_node
from bevel.passes.graph.edit import bypass, producer
from bevel.passes.graph.quantizers import ROUND, Parameters, is_dequantize, is_quantize, parameters
from bevel.passes.integerize.carry_quantizers import is_carried
from bevel.passes.integerize.fuse_rounding import as_table, is_clamp, is_rounding
from bevel.passes.integerize.restore_tables import RestoreTables
from bevel.passes.operators.base import INT8
from bevel.passes.operators.formats.quantize_float import QUANTIZE_FLOAT, steps_of
from bevel.passes.operators.formats.round_mx import ROUND_MX
from bevel.passes.operators.formats.round_rows import ROUND_ROWS
from bevel.passes.operators.functions.clip import bounds

IR_VERSION = 10


def export_qonnx(graph: gs.Graph) -> onnx.ModelProto:
    """The model of `graph`, canonical and with quantizers; `graph` is used up.

    Raises UserError for a quantizer that QONNX cannot say, and for a graph without any.
    """
    RestoreTables()(Work(graph))
    dequantizers = [node for node in graph.nodes if is_dequantize(node)]
    if not dequantizers:
        raise UserError("the model has no quantizers; give a quantized.onnx, or the folder that optimize wrote")
    carried = [node for node in dequantizers if is_carried(node)]  # as long as all quantizers stand
    for node in dequantizers:
        if isinstance(node.inputs[0], gs.Constant):
            write_constant(graph, node)
        elif any(node is one for one in carried) and bypass(graph, node, quantize_before(node).inputs[0]) is None:
            continue
        else:
            write_activation(graph, node)
    graph.cleanup().toposort()
    graph.import_domains = [onnx.helper.make_opsetid("", graph.opset), onnx.helper.make_opsetid(DOMAIN, 1)]
    model: onnx.ModelProto = gs.export_onnx(graph, do_type_check=False)
    model.ir_version, model.producer_name, model.producer_version = IR_VERSION, "bevel", ""
    return model


def quantize_before(dequantize: gs.Node) -> gs.Node:
    node: gs.Node = dequantize.inputs[0].inputs[0]
    return node


def write_constant(graph: gs.Graph, node: gs.Node) -> None:
    """A DequantizeLinear of constants becomes a quantizer of the floats it gives."""
    found, codes = known(node), np.asarray(node.inputs[0].values).astype(np.int64)
    scale = spread(found.scale, codes.ndim, found.axis).astype(np.float32)
    zero_point = spread(found.zero_point, codes.ndim, found.axis).astype(np.int64)
    integers = codes - zero_point
    quantizer = find_quantizer.of_constant(integers, scale, zero_point)
    name = node.name.removesuffix("/dequantize")
    reals = gs.Constant(f"{name}.float", integers.astype(np.float32) * scale)
    replace(graph, node, [(name, quantizer)], reals)


def write_activation(graph: gs.Graph, node: gs.Node) -> None:
    """A chain from QuantizeLinear to DequantizeLinear becomes one quantizer, or two where a look-up lies between."""
    maker = producer(node.inputs[0])
    minifloat = minifloat_of(maker) if maker is not None else None
    if maker is not None and minifloat is not None:
        replace(graph, node, [(maker.name.removesuffix("/quantize"), minifloat)], maker.inputs[0])
        return
    chain = trace(node)
    first, last = known(chain.quantize), known(node)
    name = chain.quantize.name.removesuffix("/quantize")
    zero_point = int(first.zero_point)
    quantizer = find_quantizer.exactly(chain.low - zero_point, chain.high - zero_point, scalar(first))
    if quantizer is None:
        raise UserError(f"node {node.name} holds integers from {chain.low} to {chain.high}; QONNX has whole bits")
    quantizers: list[tuple[str, Quantizer]] = [(name, quantizer)]
    if chain.table is not None:
        codes = np.arange(chain.low, chain.high + 1)
        reals = (codes - zero_point).astype(np.float32) * first.scale
        values = (chain.table - int(last.zero_point)).astype(np.float32) * last.scale
        second = find_quantizer.of_values(reals, values, scalar(last))
        if second is None and (shift := np.float32(int(last.zero_point)) * scalar(last)):
            values = chain.table.astype(np.float32) * last.scale
            around = find_quantizer.of_values(reals + shift, values, scalar(last))
            if around is not None:
                replace_shifted(graph, node, [*quantizers, (f"{name}{ROUND}", around)], chain.quantize.inputs[0], shift)
                return
        if second is None:
            raise UserError(f"node {node.name} looks up values that no quantizer of QONNX has")
        quantizers.append((f"{name}{ROUND}", second))
    elif (first.scale, first.zero_point) != (last.scale, last.zero_point):
        raise UserError(f"node {node.name} reads integers at another scale than {chain.quantize.name} writes them")
    replace(graph, node, quantizers, chain.quantize.inputs[0])


def minifloat_of(node: gs.Node) -> Quantizer | None:
    """What a node that makes steps or codes of a minifloat quantizes to; None for other nodes."""
    if node.op == QUANTIZE_FLOAT.name:
        return find_quantizer.of_steps(steps_of(node), scalar(known(node)))
    if is_quantize(node) and known(node).zero_point.dtype == ml_dtypes.float8_e4m3fn:
        return find_quantizer.minifloat(E4M3, scalar(known(node)) * np.float32(find_quantizer.unit(E4M3)))
    return None


class QuantizerChain(NamedTuple):
    """quantize: where integers start. low, high: what they are clamped to; table: what each of those becomes."""

    quantize: gs.Node
    low: int
    high: int
    table: NDArray[np.int64] | None


def trace(dequantize: gs.Node) -> QuantizerChain:
    """What lies before a DequantizeLinear. Raises UserError for other operators between integers."""
    roundings: list[gs.Node] = []
    node = producer(dequantize.inputs[0])
    while node is not None and is_rounding(node):
        roundings.insert(0, node)
        node = producer(node.inputs[0])
    if node is None or not is_quantize(node):
        found = "the model's input holds" if node is None else f"{node.op} makes"
        if node is not None and node.op in (ROUND_MX.name, ROUND_ROWS.name):
            apart = "blocks" if node.op == ROUND_MX.name else "rows"
            raise UserError(f"node {dequantize.name} has {apart} with scales of their own, which QONNX cannot say")
        raise UserError(f"node {dequantize.name}: {found} integers that no QuantizeLinear made; QONNX has only floats")
    limits = np.iinfo(known(node).zero_point.dtype)
    low, high = int(limits.min), int(limits.max)
    while roundings and is_clamp(roundings[0]):
        below, above = bounds(roundings.pop(0))
        low, high = max(low, below), min(high, above)
    if not roundings:
        return QuantizerChain(node, low, high, None)
    table = np.arange(low, high + 1)
    for one in roundings:
        table = as_table(one)[table - INT8[0]].astype(np.int64)
    return QuantizerChain(node, low, high, table)


def known(node: gs.Node) -> Parameters:
    found = parameters(node)
    if found is None or node.attrs.get("block_size", 0):
        raise UserError(f"node {node.name} has scales that are computed or of blocks, which QONNX cannot say")
    return found


def scalar(found: Parameters) -> Floats:
    return np.asarray(found.scale, np.float32)


def spread(array: NDArray[Any], rank: int, axis: int) -> NDArray[Any]:
    """Scalars as they are, vectors along `axis` of a tensor of that rank."""
    if not array.ndim:
        return array
    return array.reshape([-1 if place == axis % max(rank, 1) else 1 for place in range(rank)])


def replace_shifted(
    graph: gs.Graph, node: gs.Node, quantizers: list[tuple[str, Quantizer]], source: gs.Tensor, shift: Floats
) -> None:
    """As `replace`, with `shift` added before the last of two quantizers and taken off behind it: minifloats of QONNX
    have no zero point."""
    ((first, quantizer), (second, minifloat)), result = quantizers, node.outputs[0]
    node.outputs.clear()
    codes, moved, found = (
        gs.Variable(f"{name}.{role}", np.float32, result.shape)
        for name, role in ((first, "value"), (second, "moved"), (second, "value"))
    )
    by = gs.Constant(f"{second}.shift", np.asarray(shift))
    graph.nodes += [
        quantizer_node(first, quantizer, source, codes),
        gs.Node("Add", moved.name, {}, [codes, by], [moved]),
        quantizer_node(second, minifloat, moved, found),
        gs.Node("Sub", f"{second}.back", {}, [found, by], [result]),
    ]


def replace(graph: gs.Graph, node: gs.Node, quantizers: list[tuple[str, Quantizer]], source: gs.Tensor) -> None:
    """`quantizers`, by name and one after the other, between `source` and what `node` made."""
    result = node.outputs[0]
    node.outputs.clear()
    for name, quantizer in quantizers:
        last = quantizer is quantizers[-1][1]
        made = result if last else gs.Variable(f"{name}.value", np.float32, result.shape)
        graph.nodes.append(quantizer_node(name, quantizer, source, made))
        source = made
