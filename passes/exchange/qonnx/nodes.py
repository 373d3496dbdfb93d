"""The quantizers of QONNX as they stand in a graph: nodes of three operators with constant parameters."""

from __future__ import annotations

import numpy as np
import onnx_graphsurgeon as gs
from numpy.typing import NDArray

from bevel.calib.errors import UserError
from bevel.passes.exchange.qonnx.formula import ROUND, ROUNDINGS, BipolarQuant, FloatQuant, Quant, Quantizer

DOMAIN = "qonnx.custom_op.general"
DOMAINS = frozenset([DOMAIN, "onnx.brevitas", "finn.custom_op.general"])
QUANTIZERS = frozenset(["Quant", "IntQuant", "BipolarQuant", "FloatQuant"])

MAX_BITS = 32


def is_quantizer(node: gs.Node) -> bool:
    return node.domain in DOMAINS and node.op in QUANTIZERS


def read_quantizer(node: gs.Node) -> Quantizer:
    """What `node` computes. Raises UserError for parameters that are computed, or that make no quantizer."""
    wanted = {"BipolarQuant": 2, "FloatQuant": 6}.get(node.op, 4)
    if len(node.inputs) != wanted:
        raise UserError(f"{called(node)} has {len(node.inputs)} inputs; it takes {wanted}")
    scale = parameter(node, 1)
    if not (np.isfinite(scale) & (scale > 0)).all():
        raise UserError(f"{called(node)} has a scale that is not finite and above 0")
    match node.op:
        case "BipolarQuant":
            return BipolarQuant(scale)
        case "FloatQuant":
            return read_float(node, scale)
    return read_integer(node, scale)


def read_integer(node: gs.Node, scale: NDArray[np.float32]) -> Quant | BipolarQuant:
    """One signed bit is -1 and 1, as in the qonnx package."""
    zero_point, bits = parameter(node, 2), whole(node, 3, "bits")
    signed, narrow = bool(node.attrs.get("signed", 1)), bool(node.attrs.get("narrow", 0))
    if not 1 <= bits <= MAX_BITS:
        raise UserError(f"{called(node)} has {bits} bits; 1 to {MAX_BITS} can be read")
    if bits == 1 and signed:
        if zero_point.any():
            raise UserError(f"{called(node)} moves its one bit by a zero point")
        return BipolarQuant(scale)
    return Quant(scale, zero_point, bits, signed, narrow, rounding(node))


def read_float(node: gs.Node, scale: NDArray[np.float32]) -> FloatQuant:
    exponent, mantissa, bias = (
        whole(node, place, name) for place, name in ((2, "exponent bits"), (3, "mantissa bits"), (4, "bias"))
    )
    if not (1 <= exponent <= 8 and 0 <= mantissa <= 10 and abs(bias) <= 2**8):
        raise UserError(f"{called(node)} has {exponent} exponent bits, {mantissa} mantissa bits and bias {bias}")
    if not node.attrs.get("saturation", 1):
        raise UserError(f"{called(node)} turns large values into infinity or NaN; only saturation can be compiled")
    maximum = float(parameter(node, 5).max())
    return FloatQuant(scale, exponent, mantissa, bias, maximum, rounding(node))


def rounding(node: gs.Node) -> str:
    mode = str(node.attrs.get("rounding_mode", ROUND)).upper()
    if mode not in ROUNDINGS:
        raise UserError(f"{called(node)} rounds by {mode}; known are {', '.join(ROUNDINGS)}")
    return mode


def parameter(node: gs.Node, place: int) -> NDArray[np.float32]:
    tensor = node.inputs[place]
    if not isinstance(tensor, gs.Constant):
        raise UserError(f"{called(node)} computes its parameter {tensor.name}; only constant ones can be compiled")
    return np.asarray(tensor.values, np.float32)


def whole(node: gs.Node, place: int, name: str) -> int:
    values = parameter(node, place)
    if values.size != 1 or values.ravel()[0] != np.rint(values.ravel()[0]):
        raise UserError(f"{called(node)} has {name} {values.tolist()}; one whole number can be read")
    return int(values.ravel()[0])


def called(node: gs.Node) -> str:
    """How an error speaks of a node; exporters leave names out."""
    return f"node {node.name or node.outputs[0].name} ({node.op})"


def quantizer_node(name: str, quantizer: Quantizer, x: gs.Tensor, result: gs.Tensor) -> gs.Node:
    """The node that `read_quantizer` reads as `quantizer`."""

    def constant(role: str, value: float | NDArray[np.float32]) -> gs.Constant:
        return gs.Constant(f"{name}.{role}", np.asarray(value, np.float32))

    inputs = [x, constant("scale", quantizer.scale)]
    match quantizer:
        case BipolarQuant():
            return gs.Node("BipolarQuant", name, {}, inputs, [result], domain=DOMAIN)
        case Quant():
            inputs += [constant("zero_point", quantizer.zero_point), constant("bits", quantizer.bits)]
            attrs = {"signed": int(quantizer.signed), "narrow": int(quantizer.narrow)}
            return gs.Node(
                "Quant", name, attrs | {"rounding_mode": quantizer.rounding}, inputs, [result], domain=DOMAIN
            )
    numbers = {"exponent": quantizer.exponent, "mantissa": quantizer.mantissa, "bias": quantizer.bias}
    inputs += [constant(role, value) for role, value in numbers.items()]
    inputs.append(constant("maximum", quantizer.steps * quantizer.unit))
    flags = {"has_inf": 0, "has_nan": 0, "has_subnormal": 1, "saturation": 1}
    return gs.Node("FloatQuant", name, flags | {"rounding_mode": quantizer.rounding}, inputs, [result], domain=DOMAIN)
