"""Quantizers of activations: to codes and back to floats.

Codes of up to 8 bits are int8 tensors: a Clip behind the QuantizeLinear keeps the codes of narrower integers, a look-up
(`Table`, a function of standard operators) those of formats with unequal steps. Integers of 9 to 16 bits are int16
tensors. Wider minifloats are made by the function QuantizeFloat, whose steps a DequantizeLinear takes, or, if they are
int32, the function DequantizeSteps. E4M3 among them:
ONNX has it as a type, but onnxruntime at its default settings fuses quantizers of it into operators that do not.
Blocks that share a power of two are made by two functions, QuantizeFixed and RoundMx, as a device makes them; rows with
a scale of their own by RoundRows, of int16 codes.
"""

from __future__ import annotations

from collections.abc import Container
from typing import Any

import numpy as np
import onnx_graphsurgeon as gs

from bevel.calib.arithmetic.round_float import float_steps
from bevel.calib.formats.format import INT8, INT16
from bevel.calib.formats.mx import mx_rounding
from bevel.calib.formats.scheme import TensorQuant
from bevel.calib.formats.stairs import Stairs
from bevel.calib.formats.tensor_format import BlockFormat
from bevel.calib.observe.observe import LAST_AXIS_OPERATORS
from bevel.passes.graph.quantizers import ROUND, ROWS
from bevel.passes.integerize.coding import signed_type
from bevel.passes.operators.formats.dequantize_steps import dequantize_steps
from bevel.passes.operators.formats.quantize_fixed import quantize_fixed
from bevel.passes.operators.formats.quantize_float import quantize_float
from bevel.passes.operators.formats.round_mx import round_mx
from bevel.passes.operators.formats.round_rows import round_rows
from bevel.passes.operators.functions.clip import wide_clip
from bevel.passes.operators.functions.table import look_up
from bevel.passes.quantize.choose_scales import RowReaders
from bevel.passes.quantize.divisors import Nonzero

# How the first codes become a point's; None: they are those already.
Rounding = TensorQuant | Stairs | BlockFormat | Nonzero | None

CLAMPS = ("Relu", "Clip")
CHANNELS_FIRST = frozenset({"Conv", "ConvTranspose", "MaxPool", "AveragePool", "GlobalAveragePool", "Resize"})


def quantize_tensor(
    graph: gs.Graph, tensor: gs.Variable, quant: TensorQuant, rounding: Rounding, unrounded: Container[str] = ()
) -> None:
    """Every reader of `tensor` reads it quantized and dequantized, but for the nodes named in `unrounded`."""
    readers = [node for node in tensor.outputs if node.name not in unrounded]
    through = gs.Variable(f"{tensor.name}/dequantized", np.float32, tensor.shape)
    for reader in readers:
        reader.inputs = [through if one is tensor else one for one in reader.inputs]
    pair(graph, tensor.name, tensor, through, quant, rounding)


def quantize_rows(graph: gs.Graph, tensor: gs.Variable, quant: TensorQuant, rows: RowReaders) -> None:
    """Those of `rows` read `tensor`, int16, with its rows rounded, all other readers as it is."""
    products = [node for node in tensor.outputs if node.name in rows.readers]
    others = [node for node in tensor.outputs if node.name not in rows.readers]
    codes = gs.Variable(f"{tensor.name}/quantized", np.int16, tensor.shape)
    parameters = quantizer_constants(tensor.name, quant)
    rounded = gs.Variable(f"{tensor.name}/rounded", np.int16, tensor.shape)
    ways = [(products, rounded, f"{tensor.name}{ROWS}"), (others, codes, tensor.name)]
    for readers, read, name in ways if others else ways[:1]:
        through = gs.Variable(f"{name}/dequantized", np.float32, tensor.shape)
        for reader in readers:
            reader.inputs = [through if one is tensor else one for one in reader.inputs]
        graph.nodes.append(gs.Node("DequantizeLinear", f"{name}/dequantize", {}, [read, *parameters], [through]))
    graph.nodes += [
        gs.Node("QuantizeLinear", f"{tensor.name}/quantize", {}, [tensor, *parameters], [codes]),
        round_rows(f"{tensor.name}{ROUND}", codes, rounded, 2**rows.format.bits - 1),
    ]


def quantize_output(
    graph: gs.Graph, tensor: gs.Variable, quant: TensorQuant, rounding: Rounding, unrounded: Container[str] = ()
) -> None:
    """A graph output keeps its name on the dequantized side; the nodes named in `unrounded` read the other."""
    producer = tensor.inputs[0]
    raw = gs.Variable(f"{tensor.name}/float", np.float32, tensor.shape)
    producer.outputs = [raw if one is tensor else one for one in producer.outputs]
    for reader in [node for node in tensor.outputs if node.name in unrounded]:
        reader.inputs = [raw if one is tensor else one for one in reader.inputs]
    pair(graph, tensor.name, raw, tensor, quant, rounding)


def pair(
    graph: gs.Graph, name: str, source: gs.Variable, target: gs.Variable, quant: TensorQuant, rounding: Rounding
) -> None:
    """`source` to codes of `quant` to `target`."""
    if quant.scheme.levels is not None and quant.scheme.dtype != np.int8:
        float_pair(graph, name, source, target, quant)
        return
    if isinstance(rounding, BlockFormat):
        block_pair(graph, name, source, target, quant, rounding)
        return
    first = rounding.first if isinstance(rounding, Stairs) else quant
    codes = gs.Variable(f"{name}/quantized", signed_type(first.scheme.dtype), source.shape)
    parameters = quantizer_constants(name, quant)
    given = quantizer_constants(f"{name}/int8", first) if isinstance(rounding, Stairs) else parameters
    graph.nodes.append(gs.Node("QuantizeLinear", f"{name}/quantize", {}, [source, *given], [codes]))
    if rounding is not None:
        codes = rounded(graph, name, codes, rounding)
    graph.nodes.append(gs.Node("DequantizeLinear", f"{name}/dequantize", {}, [codes, *parameters], [target]))


def float_pair(graph: gs.Graph, name: str, source: gs.Variable, target: gs.Variable, quant: TensorQuant) -> None:
    """To the steps of a minifloat and back."""
    steps = float_steps(quant.scheme.format)
    if steps is None:
        raise TypeError(f"{quant.scheme.format.name} has neither int8 nor wide steps")
    codes = gs.Variable(f"{name}/quantized", quant.scheme.dtype, source.shape)
    graph.nodes.append(quantize_float(f"{name}/quantize", source, float(quant.scale), codes, steps))
    if codes.dtype == np.int32:
        graph.nodes.append(dequantize_steps(f"{name}/dequantize", codes, float(quant.scale), target))
        return
    parameters = constants_of(name, quant.scale, quant.zero_point)
    graph.nodes.append(gs.Node("DequantizeLinear", f"{name}/dequantize", {}, [codes, *parameters], [target]))


def block_pair(
    graph: gs.Graph, name: str, source: gs.Variable, target: gs.Variable, quant: TensorQuant, format: BlockFormat
) -> None:
    """To blocks of channels that share a power of two: first to parts of a step, then to steps."""
    rounding = mx_rounding(format)
    if rounding is None:
        raise TypeError(f"activations have no blocks of {format.name}")
    parts = gs.Variable(f"{name}/parts", np.int32, source.shape)
    codes = gs.Variable(f"{name}/quantized", np.int16, source.shape)
    part = float(quant.scale) / 2**rounding.fraction
    graph.nodes += [
        quantize_fixed(f"{name}/quantize", source, parts, part, rounding.limit),
        round_mx(f"{name}{ROUND}", parts, codes, rounding, block_axis(source, target)),
        gs.Node("DequantizeLinear", f"{name}/dequantize", {}, [codes, *quantizer_constants(name, quant)], [target]),
    ]


def block_axis(source: gs.Variable, target: gs.Variable) -> int:
    """The axis that blocks run along: the last of what matrix products read or make, and of sequences of features that
    are no signals of channels; else axis 1, that of channels."""
    makers = [
        *source.inputs,
        *(maker for node in source.inputs if node.op in CLAMPS for maker in node.inputs[0].inputs),
    ]
    touching = {node.op for node in (*makers, *target.outputs)}
    rank = len(source.shape)
    features = touching & LAST_AXIS_OPERATORS or (rank == 3 and not touching & CHANNELS_FIRST)
    return rank - 1 if features else min(1, rank - 1)


def quantizer_constants(name: str, quant: TensorQuant) -> list[gs.Constant]:
    return constants_of(name, quant.scale, quant.zero_point.astype(signed_type(quant.scheme.dtype)))


def constants_of(name: str, scale: Any, zero_point: Any) -> list[gs.Constant]:
    return [
        gs.Constant(f"{name}/scale", np.asarray(scale)),
        gs.Constant(f"{name}/zero_point", np.asarray(zero_point)),
    ]


def rounded(graph: gs.Graph, name: str, codes: gs.Variable, rounding: TensorQuant | Stairs | Nonzero) -> gs.Variable:
    """The format's codes of int8 or int16 `codes`, which are the same where the format is one of these."""
    result = gs.Variable(f"{name}/rounded", codes.dtype, codes.shape)
    if isinstance(rounding, Stairs):
        graph.nodes += look_up(f"{name}{ROUND}", codes, rounding.table, result)
        return result
    if isinstance(rounding, Nonzero):
        if not rounding.clamps:
            graph.nodes += look_up(f"{name}{ROUND}", codes, rounding.table, result)
            return result
        low, high = rounding.low, rounding.high
    elif rounding.scheme.format in (INT8, INT16):
        return codes
    else:
        low, high = rounding.scheme.low, rounding.scheme.high
    if codes.dtype != np.int8:
        graph.nodes.append(wide_clip(f"{name}{ROUND}", codes, result, low, high))
        return result
    constants = [
        gs.Constant(f"{name}/{role}", np.array(bound, np.int8)) for role, bound in (("low", low), ("high", high))
    ]
    graph.nodes.append(gs.Node("Clip", f"{name}{ROUND}", {}, [codes, *constants], [result]))
    return result
