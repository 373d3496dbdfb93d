"""Small QONNX networks as a training framework exports them, and what QONNX's definition makes of an input."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun

from bevel.passes.exchange.qonnx import formula

Array = NDArray[Any]
DOMAIN = "qonnx.custom_op.general"


class Quant(OpRun):
    op_domain: ClassVar[str] = DOMAIN

    def _run(self, x, scale, zero_point, bits, signed=1, narrow=0, rounding_mode="ROUND"):
        return (formula.Quant(scale, zero_point, int(bits), bool(signed), bool(narrow), rounding_mode)(x),)


class BipolarQuant(OpRun):
    op_domain: ClassVar[str] = DOMAIN

    def _run(self, x, scale):
        return (formula.BipolarQuant(scale)(x),)


class FloatQuant(OpRun):
    op_domain: ClassVar[str] = DOMAIN

    def _run(self, x, scale, exponent, mantissa, bias, maximum, rounding_mode="ROUND", **flags):
        numbers = (int(exponent), int(mantissa), int(bias), float(maximum))
        return (formula.FloatQuant(scale, *numbers, rounding_mode)(x),)


def executed(model: onnx.ModelProto, sample: Mapping[str, Array]) -> list[Array]:
    evaluator = ReferenceEvaluator(model, new_ops=[Quant, BipolarQuant, FloatQuant])
    return evaluator.run(None, dict(sample))


def parse(
    body: str,
    inputs: str = "float[1,3,8,8] x",
    outputs: str = "float[] y",
    weights: str = "",
    values: Mapping[str, Any] | None = None,
    opset: int = 13,
    domain: str = DOMAIN,
) -> onnx.ModelProto:
    """A model from text in which Quant, BipolarQuant and FloatQuant stand for QONNX's. `weights` become initializers:
    `values`, or seeded normal numbers; further scalars in `values` too."""
    for name in ("Quant", "BipolarQuant", "FloatQuant", "Trunc"):
        body = body.replace(f"= {name}", f"= {domain}.{name}")
    header = f'<ir_version: 7, opset_import: ["" : {opset}, "{domain}" : 1]>'
    given = dict(values or {})
    declared = [one.split(" ")[1].partition("[")[0] for one in filter(None, weights.split(", "))]
    scalars = [f"float {name}" for name in given if name not in declared]
    count = len(onnx.parser.parse_model(f"{header}\ng ({inputs}) => () {{\n}}").graph.input)
    model = onnx.parser.parse_model(
        f"{header}\ng ({', '.join(filter(None, (inputs, weights, *scalars)))}) => ({outputs}) {{\n{body}\n}}"
    )
    rng = np.random.default_rng(0)
    for value in list(model.graph.input)[count:]:
        shape = [dim.dim_value for dim in value.type.tensor_type.shape.dim]
        array = np.asarray(given.get(value.name, 0.5 * rng.standard_normal(shape)), np.float32).reshape(shape)
        model.graph.initializer.append(onnx.numpy_helper.from_array(array, value.name))
    del model.graph.input[count:]
    for output in model.graph.output:
        output.type.tensor_type.ClearField("shape")
    return model


NUMBERS = {
    "z": 0.0,
    "two": 2.0,
    "four": 4.0,
    "eight": 8.0,
    "sixteen": 16.0,
    "sx": 2**-5,
    "sa": 2**-2,
    "sb": 2**-12,
    "sy": 2**-3,
}
SIGNED = '<signed = 1, narrow = 0, rounding_mode = "ROUND">'
NARROW = '<signed = 1, narrow = 1, rounding_mode = "ROUND">'
UNSIGNED = '<signed = 0, narrow = 0, rounding_mode = "ROUND">'


def network(opset: int = 13, domain: str = DOMAIN) -> onnx.ModelProto:
    """4-bit, 2-bit and bipolar weights, unsigned 4-bit activations, a BatchNormalization between, an unquantized bias;
    a pooling and a Flatten that pass quantized tensors on; weights stored transposed. All scales are powers of two."""
    body = f"""
        q = Quant {SIGNED} (x, sx, z, eight)
        wa = Quant {NARROW} (ka, ska, z, four)
        ba = Quant {SIGNED} (bias_a, sb, z, sixteen)
        a = Conv <pads = [1, 1, 1, 1]> (q, wa, ba)
        ra = Relu (a)
        qa = Quant {UNSIGNED} (ra, sa, z, four)
        p = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (qa)
        wb = Quant {NARROW} (kb, sk, z, two)
        b = Conv (p, wb)
        nb = BatchNormalization <epsilon = 0.0> (b, gamma, beta, mean, variance)
        rb = Relu (nb)
        qb = Quant {UNSIGNED} (rb, sa, z, four)
        f = Flatten <axis = 1> (qb)
        wc = BipolarQuant (kc, sk)
        t = Transpose <perm = [1, 0]> (wc)
        m = MatMul (f, t)
        c = Add (m, bias_c)
        y = Quant {SIGNED} (c, sy, z, eight)
    """
    weights = (
        "float[4,3,3,3] ka, float[4,1,1,1] ska, float[4] bias_a, float[6,4,3,3] kb, float[5,24] kc, float[5] bias_c, "
        "float[6] gamma, float[6] beta, float[6] mean, float[6] variance"
    )
    values = NUMBERS | {
        "ska": np.reshape([2**-2, 2**-3, 2**-3, 2**-2], (4, 1, 1, 1)),
        "sk": 2**-3,
        "gamma": [1, 2, -1, 0.5, 1, 2],
        "beta": [0, 0.5, 1, -0.5, 0.25, 0],
        "mean": [0.5, 0, 0.25, 0, -0.5, 0],
        "variance": np.ones(6),
    }
    return parse(body, weights=weights, values=values, opset=opset, domain=domain)


@pytest.fixture(scope="session")
def qonnx() -> Callable[..., onnx.ModelProto]:
    return parse


@pytest.fixture(scope="session")
def execute() -> Callable[..., list[Array]]:
    return executed


@pytest.fixture(scope="session")
def trained() -> Callable[..., onnx.ModelProto]:
    return network
