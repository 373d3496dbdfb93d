"""Packed weights of an imported model as constants of whole integers: the inverse of `pack_weights`.

Inside, weights are int8, int16 or int32, whatever their width in the file: INT4 and UINT4 too, of which numpy and
graphsurgeon know little, and FLOAT8E4M3FN, whose values are integers times a power of two.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace as replaced
from math import prod
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import onnx_graphsurgeon as gs
from numpy.typing import NDArray

from bevel.calib.formats.coded import Coded, at_levels
from bevel.calib.formats.float_format import E4M3
from bevel.calib.formats.format import INT4, UINT4, IntFormat
from bevel.calib.formats.levels import integer_levels, levels_of
from bevel.calib.formats.packing import unpack_bits
from bevel.calib.formats.quantized import Factors
from bevel.calib.formats.scheme import PerBlock, PerTensor
from bevel.passes.graph.coded_constant import CodedConstant, coded_of
from bevel.passes.graph.quantizers import is_dequantize
from bevel.passes.operators.base import DOMAIN, Array
from bevel.passes.operators.formats.dequantize_steps import DEQUANTIZE_STEPS
from bevel.passes.operators.formats.unpack import BLOCKS, GROUPS, unpack_width

FOUR_BITS = {np.dtype(ml_dtypes.int4): INT4, np.dtype(ml_dtypes.uint4): UINT4}


def unpack_weights(graph: gs.Graph) -> None:
    """Edit `graph`, whose nodes are in execution order: what reads packed weights reads a constant."""
    formats = {}  # of what lay in four bits, by the constant's name
    for node in graph.nodes:
        for tensor in node.inputs:
            if isinstance(tensor, gs.Constant) and (format := FOUR_BITS.get(stored_type(tensor))) is not None:
                tensor.values = np.asarray(tensor.values).astype(format.dtype)
                formats[tensor.name] = format
    for node in graph.nodes:
        constant = all(isinstance(tensor, gs.Constant) for tensor in node.inputs)
        if is_dequantize(node) and constant:
            read_linear(node)
            read_steps(node)
        elif constant and (found := unpacked(node, formats)) is not None:
            replace(node.outputs[0], found)
            node.outputs.clear()
    graph.cleanup()
    called = {(node.domain, node.op) for node in graph.nodes}
    graph.functions = [one for one in graph.functions if (one.domain, one.name) in called]


def stored_type(tensor: gs.Constant) -> np.dtype[Any]:
    """The type of its elements; graphsurgeon gives ONNX's number for what numpy itself does not have."""
    given = tensor.dtype
    return onnx.helper.tensor_dtype_to_np_dtype(given) if isinstance(given, int) else np.dtype(given)


def read_linear(node: gs.Node) -> None:
    """Let weights that became reals by a product with a scale spread over their axes be a DequantizeLinear again."""
    if node.op != DEQUANTIZE_STEPS.name:
        return
    scale = np.asarray(node.inputs[1].values)
    axes = [place for place, size in enumerate(scale.shape) if size > 1]
    node.op, node.domain = "DequantizeLinear", None
    node.attrs["axis"] = axes[0] if axes else 0
    node.inputs[1] = gs.Constant(f"{node.inputs[1].name}/flat", scale.ravel() if axes else scale.reshape(()))


def read_steps(node: gs.Node) -> None:
    """Let a DequantizeLinear of FLOAT8E4M3FN without a zero point read the steps of that format."""
    levels = levels_of(E4M3)
    if stored_type(node.inputs[0]) != ml_dtypes.float8_e4m3fn or levels is None:
        return
    reals = np.asarray(node.inputs[0].values).astype(np.float64)
    if not np.isfinite(reals).all():
        return
    steps = np.rint(reals / levels.unit).astype(np.int64)
    scale = node.inputs[1]
    unit = gs.Constant(f"{scale.name}/unit", np.asarray(scale.values) * np.float32(levels.unit))
    node.inputs = [CodedConstant(node.inputs[0].name, at_levels(steps, levels)), unit]


def unpacked(node: gs.Node, formats: Mapping[str, IntFormat]) -> gs.Constant | None:
    """The constant that a node of constants makes of packed weights; None where it does something else.

    `formats`: of constants that lay in four bits, by name."""
    name = node.outputs[0].name
    values = [np.asarray(tensor.values) for tensor in node.inputs]
    if node.op == "Cast" and not node.domain and values[0].dtype.kind in "iu":  # of what was INT4
        dtype = onnx.helper.tensor_dtype_to_np_dtype(int(node.attrs["to"]))
        format = formats.get(node.inputs[0].name)
        if format is None:
            return gs.Constant(name, values[0].astype(dtype))
        return of_format(name, values[0], format, dtype)
    if node.domain != DOMAIN:
        return None
    bits = unpack_width(node.op)
    if bits is not None:
        codes = unpack_bits(values[0], prod(node.attrs["shape"]), bits, signed=False).reshape(node.attrs["shape"])
        return looked_up(name, codes.astype(np.uint8), values[1], bits)
    if node.op in (BLOCKS, GROUPS):
        inner = coded_of(node.inputs[0])
        if inner is None:
            raise TypeError(f"node {node.name}: elements of blocks are codes")
        return CodedConstant(name, in_blocks(node, inner, values[1:]))
    return None


def in_blocks(node: gs.Node, inner: Coded, tables: list[Array]) -> Coded:
    """The elements `inner` with the factors, and the zero points, of their blocks."""
    blocks = PerBlock(int(node.attrs["axis"]), int(node.attrs["size"]))
    factors = Factors.of(blocks, *(one.astype(np.int64) for one in tables))
    return replaced(
        inner, blocks=blocks, block_codes=factors.codes, block_table=factors.table, block_zeros=factors.zeros
    )


def of_format(name: str, values: Array, format: IntFormat, dtype: np.dtype[Any]) -> CodedConstant:
    """Integers of a format of a few bits, as a constant of `dtype`."""
    levels = integer_levels(format)
    assert levels is not None
    return CodedConstant(name, at_levels(values, levels), dtype)


def looked_up(name: str, codes: NDArray[np.uint8], table: Array, bits: int) -> CodedConstant:
    """Entries of a table, as a constant of the table's type."""
    one = np.ones(1, np.int32)
    made = Coded(codes, bits, table.astype(np.int32), PerTensor(), np.zeros((), np.uint8), one)
    return CodedConstant(name, made, table.dtype)


def replace(tensor: gs.Variable, constant: gs.Constant) -> None:
    for reader in list(tensor.outputs):
        reader.inputs = [constant if one is tensor else one for one in reader.inputs]
