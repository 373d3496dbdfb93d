"""Every operator: kernels equal onnxruntime bit for bit, stay near the float operator, and leave no float inside."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from bevel.passes.base import FLOAT_KINDS
from bevel.passes.graph.regions import ONE_INPUT
from bevel.passes.partition.listed_operators import Listed, listed_operators
from bevel.passes.quantize import QuantizeOptions
from bevel.passes.quantize.formats import activation_format, weight_format


@dataclass(frozen=True)
class Case:
    """`body` makes y from x. `steps`: how far the integers may be from the QDQ model's, and why it is more than one."""

    body: str
    inputs: str = "float[1,3,7,6] x"
    weights: str = ""
    values: dict[str, Any] = field(default_factory=dict)
    outputs: str = "float[] y"
    steps: int = 1
    opset: int = 21


CONV = "float[4,3,3,3] w, float[4] b"
LINE = "float[1,4,11] x"
SOLID = "float[1,2,4,5,3] x"
IMAGES = "float[2,4,5,6] x"
CUT = "int64[2] s, int64[2] e, int64[2] a, int64[2] t"
BILINEAR = 'mode = "linear", coordinate_transformation_mode'
NEAREST = 'mode = "nearest", coordinate_transformation_mode'


def conv(attributes: str = "", weights: str = CONV, **rest: Any) -> Case:
    bias = ", b" if weights.endswith(" b") else ""
    return Case(
        f"y = Conv <{attributes}> (x, w{bias})" if attributes else f"y = Conv (x, w{bias})", weights=weights, **rest
    )


def conv_transpose(attributes: str, weights: str = "float[3,4,3,3] w, float[4] b", **rest: Any) -> Case:
    return Case(f"y = ConvTranspose <{attributes}> (x, w, b)", weights=weights, **rest)


def one(body: str, inputs: str = "float[1,3,7,6] x", weights: str = "", values: Any = None, **rest: Any) -> Case:
    return Case(f"y = {body}", inputs, weights, values or {}, **rest)


def resize(attributes: str, height: float, width: float, image: str = "float[1,3,7,6] x") -> Case:
    body = f"y = Resize <{attributes}> (x, , scales)"
    return Case(body, image, "float[4] scales", {"scales": [1, 1, height, width]})


CONVOLUTIONS = {
    "conv": conv("pads = [1,1,1,1]"),
    "conv without bias": conv(weights="float[4,3,3,3] w"),
    "conv asymmetric pads": conv("pads = [2,0,1,3]"),
    "conv strides": conv("strides = [2,3], pads = [1,1,1,1]"),
    "conv dilations": conv("dilations = [2,3], pads = [2,3,2,3]"),
    "conv groups": conv("group = 2, pads = [1,1,1,1]", "float[6,2,3,3] w, float[6] b", inputs=IMAGES),
    "conv depthwise": conv("group = 4, pads = [1,1,1,1]", "float[4,1,3,3] w, float[4] b", inputs=IMAGES),
    "conv depthwise, multiplier 2": conv("group = 4, strides = [2,2]", "float[8,1,3,3] w, float[8] b", inputs=IMAGES),
    "conv 1x1": conv("", "float[5,3,1,1] w, float[5] b"),
    "conv 1x1 of one channel": conv("", "float[1,1,1,1] w, float[1] b", inputs="float[1,1,1,1] x"),
    "conv of the whole image": conv("", "float[2,3,7,6] w, float[2] b"),
    "conv 1-D": conv("pads = [2,1], strides = [2]", "float[5,4,3] w, float[5] b", inputs=LINE),
    "conv 1-D depthwise dilated": conv("group = 4, dilations = [2]", "float[4,1,3] w, float[4] b", inputs=LINE),
    "conv auto_pad": conv('auto_pad = "SAME_UPPER", strides = [2,2]'),
    "conv relu": Case("c = Conv <pads = [1,1,1,1]> (x, w, b)\n y = Relu(c)", weights=CONV),
    "conv relu6": Case(
        "c = Conv (x, w, b)\n y = Clip(c, l, h)", weights=f"{CONV}, float l, float h", values={"l": 0, "h": 6}
    ),
    "conv clip": Case(
        "c = Conv (x, w, b)\n y = Clip(c, l, h)", weights=f"{CONV}, float l, float h", values={"l": -1, "h": 1}
    ),
    # From here on, steps = 2 where two roundings follow each other: the first, one step off, is scaled by the second.
    "conv read by a relu and another conv": Case(
        "c = Conv (x, w, b)\n r = Relu(c)\n p = Conv <pads = [1,1,1,1]> (c, v)\n y = Add(r, p)",
        weights=f"{CONV}, float[4,4,3,3] v",
        steps=2,
    ),
    "conv chain": Case(
        "c = Conv <pads = [1,1,1,1]> (x, w, b)\n r = Relu(c)\n y = Conv (r, v)",
        weights=f"{CONV}, float[2,4,3,3] v",
        steps=2,
    ),
    "conv transpose": conv_transpose("strides = [1,1]"),
    "conv transpose stride 2": conv_transpose("strides = [2,2], pads = [1,1,1,1], output_padding = [1,1]"),
    "conv transpose stride 3": conv_transpose("strides = [3,2], pads = [0,1,1,0]"),
    "conv transpose dilations": conv_transpose("strides = [2,1], dilations = [2,3], pads = [1,2,3,1]"),
    "conv transpose kernel 1": conv_transpose("strides = [2,2]", "float[3,4,1,1] w, float[4] b"),
    "conv transpose kernel 2": conv_transpose("strides = [2,2]", "float[3,2,2,2] w, float[2] b"),
    "conv transpose gaps": conv_transpose("strides = [3,3], output_padding = [2,1]", "float[3,4,2,1] w, float[4] b"),
    "conv transpose cropped": conv_transpose("strides = [2,3], pads = [3,2,4,3]", "float[3,4,2,3] w, float[4] b"),
    "conv transpose groups": conv_transpose(
        "group = 2, strides = [2,2]", "float[4,3,3,3] w, float[6] b", inputs=IMAGES
    ),
    "conv transpose depthwise": conv_transpose("group = 4", "float[4,1,3,2] w, float[4] b", inputs=IMAGES),
    "conv transpose 1-D": conv_transpose("strides = [2], pads = [1,0]", "float[4,3,4] w, float[3] b", inputs=LINE),
    "conv transpose auto_pad": conv_transpose('strides = [2,2], auto_pad = "SAME_UPPER"'),
    "conv transpose relu": Case("c = ConvTranspose (x, w)\n y = Relu(c)", weights="float[3,4,3,3] w"),
    "gemm": one("Gemm (x, w, b)", inputs="float[2,7] x", weights="float[7,5] w, float[5] b"),
    "gemm transB": one("Gemm <transB = 1> (x, w, b)", inputs="float[1,7] x", weights="float[5,7] w, float[5] b"),
    "gemm one column": one("Gemm (x, w)", inputs="float[3,7] x", weights="float[7,1] w"),
    "matmul rank 3": one("MatMul (x, w)", inputs="float[2,3,7] x", weights="float[7,5] w"),
    "matmul rank 4 and bias": Case("m = MatMul (x, w)\n y = Add(b, m)", weights="float[6,5] w, float[5] b"),
    "matmul relu": Case(
        "m = MatMul (x, w)\n s = Add(m, b)\n y = Relu(s)", "float[2,3,7] x", "float[7,5] w, float[5] b"
    ),
}
PRODUCTS = {
    "product of two": one("MatMul (x, z)", "float[2,3,5] x, float[2,5,4] z"),
    "product of a broadcast batch": one("MatMul (x, z)", "float[2,1,3,5] x, float[3,5,4] z"),
    "product by itself, transposed": Case("t = Transpose <perm = [0,2,1]> (x)\n y = MatMul (x, t)", "float[2,3,5] x"),
    "product of vectors": one("MatMul (x, z)", "float[2,3,5] x, float[5] z"),
    "product of a vector and matrices": one("MatMul (x, z)", "float[5] x, float[2,5,4] z"),
    "product by a batch of matrices": one("MatMul (x, w)", "float[2,3,5] x", "float[2,5,4] w"),
    "product by a matrix on the left": one("MatMul (w, x)", "float[2,5,4] x", "float[2,3,5] w"),
    "product relu": Case("m = MatMul (x, z)\n y = Relu (m)", "float[3,5] x, float[5,4] z"),
    "product by a number": Case(
        "m = MatMul (x, z)\n y = Mul (m, s)", "float[3,5] x, float[5,4] z", "float s", {"s": 0.25}
    ),
    "product by a negative number": Case(
        "m = MatMul (x, z)\n y = Mul (m, s)", "float[3,5] x, float[5,4] z", "float s", {"s": -0.25}, steps=2
    ),
    "product over a number": Case(
        "m = MatMul (x, z)\n y = Div (m, s)", "float[3,5] x, float[5,4] z", "float s", {"s": 2.8}
    ),
    "einsum of heads": one('Einsum <equation = "bqhd,bkhd->bhqk"> (x, z)', "float[1,5,2,4] x, float[1,3,2,4] z"),
    "gemm of two": one("Gemm <transA = 1, alpha = 0.5> (x, z)", "float[5,3] x, float[5,4] z", steps=2),
    "attention": Case(
        """q = Transpose <perm = [0,2,1,3]> (x)
        k = Transpose <perm = [0,2,3,1]> (z)
        s = MatMul (q, k)
        c = Div (s, r)
        p = Softmax (c)
        v = Transpose <perm = [0,2,1,3]> (u)
        o = MatMul (p, v)
        t = Transpose <perm = [0,2,1,3]> (o)
        y = Reshape (t, n)""",
        "float[1,5,2,4] x, float[1,5,2,4] z, float[1,5,2,4] u",
        "float r, int64[3] n",
        {"r": 2.0, "n": [1, 5, 8]},
        steps=12,  # a step of the scores is a factor of exp(step) in the shares
    ),
}
APART = {"s": np.array([1.0, 1.5, 2.0]).reshape(3, 1, 1)}  # divisors that are never 0
SUMS = {
    "add": one("Add (x, z)", inputs="float[1,3,4,5] x, float[1,3,4,5] z"),
    "sub": one("Sub (x, z)", inputs="float[1,3,4,5] x, float[1,3,4,5] z"),
    "mul": one("Mul (x, z)", inputs="float[1,3,4,5] x, float[1,3,4,5] z"),
    "add per channel": one("Add (x, z)", inputs="float[1,3,4,5] x, float[1,3,1,1] z"),
    "sub broadcast on the left": one("Sub (z, x)", inputs="float[1,3,4,5] x, float[1,3,1,1] z"),
    "mul per channel": one("Mul (z, x)", inputs="float[2,3,4,5] x, float[2,3,1,1] z"),
    "add row and column": one("Add (x, z)", inputs="float[4,1] x, float[1,5] z"),
    "add of lower rank": one("Add (x, z)", inputs="float[2,3,4,5] x, float[5] z"),
    "add scalar": one("Add (x, s)", weights="float s"),
    "mul constant scalar": one("Mul (x, s)", weights="float s", values={"s": -1.7}),
    "add constant per channel": one("Add (x, s)", weights="float[1,3,1,1] s"),
    "mul constant per channel": one("Mul (s, x)", weights="float[1,3,1,1] s"),
    "sub from constant": one("Sub (s, x)", weights="float[3,1,1] s"),
    "add constant": one("Add (x, s)", weights="float[1,3,7,6] s"),
    "mul constant": one("Mul (x, s)", weights="float[1,3,7,6] s"),
    "constant larger than the tensor": one("Mul (x, s)", inputs="float[1,3,1,1] x", weights="float[1,3,4,5] s"),
    "x plus x": one("Add (x, x)"),
    "x times x": one("Mul (x, x)"),
    "div": Case(
        "m = Max (z, s)\n y = Div (x, m)", "float[1,3,4,5] x, float[1,3,4,5] z", "float[3,1,1] s", APART, steps=2
    ),
    "div by channels": Case(
        "m = Max (z, s)\n y = Div (x, m)", "float[1,3,4,5] x, float[1,3,1,1] z", "float[3,1,1] s", APART, steps=2
    ),
    "div of a constant": Case("m = Max (x, s)\n y = Div (s, m)", weights="float[3,1,1] s", values=APART, steps=2),
    "div by a constant": one("Div (x, s)", weights="float[3,1,1] s"),
    "max": one("Max (x, z)", inputs="float[1,3,4,5] x, float[1,3,4,5] z"),
    "min with a row": one("Min (x, z)", inputs="float[1,3,4,5] x, float[5] z"),
    "max with constants": one("Max (x, s)", weights="float[3,1,1] s"),
    "min of three": one("Min (x, z, x)", inputs="float[2,3] x, float[2,3] z"),
    "where by a mask": one(
        "Where (c, x, z)",
        "float[2,3] x, float[2,3] z",
        weights="bool[2,3] c",
        values={"c": [[True, False, True], [False, False, True]]},
    ),
    "sum of three": one("Sum (x, z, w)", "float[2,3] x, float[2,3] z, float[1,3] w", steps=2),
    "mean of three": one("Mean (x, z, x)", "float[2,3] x, float[2,3] z", steps=2),
    "prelu of channels": one("PRelu (x, s)", weights="float[3,1,1] s"),
    "prelu of a batch of channels": one(
        "PRelu (x, s)", weights="float[1,3,1,1] s", values={"s": np.array([0.3, -0.1, 1.5]).reshape(1, 3, 1, 1)}
    ),
    "prelu behind a conv": Case("c = Conv (x, w, b)\n y = PRelu (c, s)", weights=f"{CONV}, float[4,1,1] s", steps=3),
    "sum relu": Case("s = Add (x, z)\n y = Relu(s)", "float[1,3,4,5] x, float[1,3,4,5] z"),
    "residual relu": Case(
        "c = Conv <pads = [1,1,1,1]> (x, w)\n s = Add (x, c)\n y = Relu(s)", weights="float[3,3,3,3] w", steps=2
    ),
    "add of distant scales": one(
        "Add (x, t)", weights="float[1,3,1,1] t", values={"t": np.array([1e3, -2e3, 5.0]).reshape(1, 3, 1, 1)}
    ),
    "squeeze and excite": Case(
        "g = GlobalAveragePool (x)\n c = Conv (g, w)\n h = HardSigmoid (c)\n y = Mul (x, h)",
        weights="float[3,3,1,1] w",
        steps=3,
    ),
}
POOLS = {
    "max pool": one("MaxPool <kernel_shape = [2,2], strides = [2,2]> (x)"),
    "max pool pads": one("MaxPool <kernel_shape = [3,3], pads = [1,0,1,2]> (x)"),
    "max pool dilations": one("MaxPool <kernel_shape = [2,2], dilations = [2,3]> (x)"),
    "max pool 1-D": one("MaxPool <kernel_shape = [3], strides = [2], pads = [1,1]> (x)", inputs=LINE),
    "max pool 3-D": one(
        "MaxPool <kernel_shape = [2,3,2], strides = [1,2,1], dilations = [2,1,1], pads = [1,1,0,0,2,1]> (x)",
        inputs=SOLID,
    ),
    "max pool ceil": one("MaxPool <kernel_shape = [2,2], strides = [2,2], ceil_mode = 1> (x)"),
    "average pool": one("AveragePool <kernel_shape = [2,3]> (x)"),
    "average pool pads": one("AveragePool <kernel_shape = [3,3], pads = [1,0,1,2]> (x)"),
    "average pool counting pads": one(
        "AveragePool <kernel_shape = [3,3], pads = [1,1,1,1], count_include_pad = 1> (x)"
    ),
    "average pool strides": one(
        "AveragePool <kernel_shape = [3,2], strides = [2,2], pads = [1,1,1,1]> (x)", inputs=IMAGES
    ),
    "average pool 1-D": one("AveragePool <kernel_shape = [3], pads = [1,1]> (x)", inputs=LINE),
    "average pool relu": Case("p = AveragePool <kernel_shape = [2,2]> (x)\n y = Relu(p)"),
    "average pool ceil": one("AveragePool <kernel_shape = [2,2], strides = [2,2], ceil_mode = 1> (x)"),
    "global average pool": one("GlobalAveragePool (x)"),
    "global average pool of one pixel": one("GlobalAveragePool (x)", inputs="float[1,3,1,1] x"),
    "global max pool": one("GlobalMaxPool (x)"),
    "global max pool 3-D": one("GlobalMaxPool (x)", inputs=SOLID),
    "mean over rows": one("ReduceMean (x, a)", weights="int64[1] a", values={"a": 2}),
    "mean over rows, dropped": one("ReduceMean <keepdims = 0> (x, a)", weights="int64[1] a", values={"a": -2}),
    "mean over channels": one("ReduceMean (x, a)", weights="int64[1] a", values={"a": 1}),
    "mean over channels and columns": one(
        "ReduceMean <keepdims = 0> (x, a)", weights="int64[2] a", values={"a": [3, 1]}
    ),
    "mean over everything": one("ReduceMean <keepdims = 0> (x)"),
    "mean over the image": one("ReduceMean <keepdims = 0> (x, a)", weights="int64[2] a", values={"a": [2, 3]}),
    "mean over batch": one("ReduceMean (x, a)", inputs=IMAGES, weights="int64[1] a", values={"a": 0}),
    "mean over the last axis": one(
        "ReduceMean (x, a)", inputs="float[2,3,9] x", weights="int64[1] a", values={"a": -1}
    ),
    "sum over rows": one("ReduceSum <keepdims = 0> (x, a)", weights="int64[1] a", values={"a": 2}),
    "root of squares over channels": one("ReduceL2 (x, a)", weights="int64[1] a", values={"a": 1}),
    "root of squares over the image": one(
        "ReduceL2 <keepdims = 0> (x, a)", inputs=IMAGES, weights="int64[2] a", values={"a": [2, 3]}
    ),
    "sum of squares": one("ReduceSumSquare (x, a)", weights="int64[1] a", values={"a": 3}, steps=3),
    "sum of magnitudes": one("ReduceL1 (x, a)", weights="int64[1] a", values={"a": 1}, steps=3),
    "logarithm of a sum": Case(
        "p = Exp (x)\n y = ReduceLogSum <keepdims = 0> (p, a)", weights="int64[1] a", values={"a": 1}, steps=12
    ),
    "sum over everything": one("ReduceSum (x)"),
    "maximum over channels": one("ReduceMax (x, a)", weights="int64[1] a", values={"a": 1}),
    "minimum over rows and channels": one(
        "ReduceMin <keepdims = 0> (x, a)", weights="int64[2] a", values={"a": [-2, 1]}
    ),
    "maximum over time": one("ReduceMax <keepdims = 0> (x, a)", inputs=LINE, weights="int64[1] a", values={"a": 2}),
    "maximum over time behind a conv": Case(
        "c = Conv (x, w, b)\n y = ReduceMax <keepdims = 0> (c, a)",
        LINE,
        "float[5,4,3] w, float[5] b, int64[1] a",
        {"a": -1},
    ),
    "mean behind a conv": Case(
        "c = Conv (x, w, b)\n y = ReduceMean <keepdims = 0> (c, a)",
        weights=f"{CONV}, int64[1] a",
        values={"a": 1},
        steps=2,
    ),
}
BOUNDS = {"l": -0.5, "h": 0.75}
TABLES = {
    "relu": one("Relu (x)"),
    "clip": one("Clip (x, l, h)", weights="float l, float h", values=BOUNDS),
    "clip from below": one("Clip (x, l)", weights="float l", values=BOUNDS),
    "sigmoid": one("Sigmoid (x)"),
    "tanh": one("Tanh (x)"),
    "hard swish": one("HardSwish (x)"),
    "swish": Case("s = Sigmoid (x)\n y = Mul (x, s)"),
    "gelu": one("Gelu (x)"),
    "gelu by erf": Case(
        "d = Div (x, r)\n e = Erf (d)\n o = Add (e, i)\n m = Mul (x, o)\n y = Mul (m, f)",
        weights="float r, float i, float f",
        values={"r": 2**0.5, "i": 1, "f": 0.5},
    ),
    "leaky relu": one("LeakyRelu <alpha = 0.1> (x)"),
    "prelu of a scalar": one("PRelu (x, s)", weights="float[1] s", values={"s": 0.25}),
    "elu of an odd shape": one("Elu (x)", inputs="float[7] x"),
    "reciprocal": one("Reciprocal (x)"),
    "square": one("Pow (x, e)", weights="float e", values={"e": 2}),
    "conv sigmoid": Case("c = Conv (x, w, b)\n y = Sigmoid(c)", weights=CONV),
    "conv swish": Case("c = Conv (x, w, b)\n s = Sigmoid (c)\n y = Mul (c, s)", weights=CONV, steps=2),
    "softmax": one("Softmax (x)", inputs="float[2,10] x"),
    "softmax of channels": one("Softmax <axis = 1> (x)"),
    "softmax of rows": one("Softmax <axis = 2> (x)"),
    "softmax of one": one("Softmax (x)", inputs="float[3,1] x"),
    "log softmax": one("LogSoftmax (x)", inputs="float[2,10] x", steps=2),
    "log softmax of channels": one("LogSoftmax <axis = 1> (x)", steps=2),
    "softmax behind a conv": Case("c = Conv (x, w, b)\n y = Softmax <axis = 1> (c)", weights=CONV, steps=2),
}
# With a smaller epsilon, onnxruntime's own is no number where all elements are equal.
GROUP_NORM = "GroupNormalization <num_groups = 2, epsilon = 0.01>"
NORMS = {
    "layer norm": one(
        "LayerNormalization (x, s, b)", inputs="float[2,5,24] x", weights="float[24] s, float[24] b", steps=2
    ),
    "layer norm of two axes, without bias": one(
        "LayerNormalization <axis = 2> (x, s)", weights="float[7,6] s", steps=2
    ),
    "rms norm": one("RMSNormalization (x, s)", inputs="float[5,16] x", weights="float[16] s", opset=23, steps=2),
    "instance norm": one("InstanceNormalization (x, s, b)", weights="float[3] s, float[3] b", steps=2),
    "instance norm of a line behind a conv": Case(
        "c = Conv (x, w, v)\n y = InstanceNormalization (c, s, b)",
        LINE,
        "float[5,4,3] w, float[5] v, float[5] s, float[5] b",
        steps=4,
    ),
    "group norm": one(
        "GroupNormalization <num_groups = 2, epsilon = 0.01> (x, s, b)",
        inputs=IMAGES,
        weights="float[4] s, float[4] b",
        steps=2,
    ),
    "group norm behind a conv": Case(
        f"c = Conv (x, w, v)\n y = {GROUP_NORM} (c, s, b)",
        weights="float[4,3,3,3] w, float[4] v, float[4] s, float[4] b",
        steps=4,
    ),
    "euclidean norm": one("LpNormalization <axis = 1> (x)", steps=2),
}
MOVES = {
    "concat": one("Concat <axis = 1> (x, z)", inputs="float[1,3,4,5] x, float[1,2,4,5] z"),
    "concat last axis": one("Concat <axis = -1> (x, z, x)", inputs="float[1,3,4,5] x, float[1,3,4,1] z"),
    # with a reader behind it: where the result leaves the model, a constant of another range stays a part of its own
    "concat a constant": Case(
        "c = Concat <axis = 1> (x, s)\n y = Mul (c, k)", weights="float[1,2,7,6] s, float k", values={"k": 1.7}
    ),
    "concat of different ranges": Case(
        "b = Mul (z, k)\n y = Concat <axis = 1> (x, b)", "float[1,3,4,5] x, float[1,2,4,5] z", "float k", {"k": 40.0}
    ),
    "concat of convs": Case(
        "c = Conv (x, w, b)\n d = Conv (x, v)\n s = Relu (d)\n y = Concat <axis = 1> (c, s)",
        weights=f"{CONV}, float[2,3,3,3] v",
    ),
    "concat with a softmax": Case("s = Softmax <axis = 1> (x)\n y = Concat <axis = 1> (x, s)", steps=2),
    "split": Case(
        "p, q, r = Split <axis = 1> (x, s)\n y = Mul (p, r)\n z = Relu (q)",
        "float[1,6,4,3] x",
        "int64[3] s",
        {"s": [2, 2, 2]},
        "float[] y, float[] z",
    ),
    "split unevenly": Case(
        "y, z = Split <axis = -1> (x, s)", "float[2,7] x", "int64[2] s", {"s": [5, 2]}, "float[] y, float[] z"
    ),
    "slice": one(
        "Slice (x, s, e, a)",
        weights="int64[2] s, int64[2] e, int64[2] a",
        values={"s": [1, 2], "e": [-1, 99], "a": [2, -1]},
    ),
    "slice backwards": one(
        "Slice (x, s, e, a, t)", weights=CUT, values={"s": [-1, 5], "e": [-99, 0], "a": [2, 3], "t": [-2, -1]}
    ),
    "slice in steps": one(
        "Slice (x, s, e, a, t)", weights=CUT, values={"s": [0, 1], "e": [7, 6], "a": [2, 3], "t": [3, 2]}
    ),
    "pad": one("Pad (x, p)", weights="int64[8] p", values={"p": [0, 1, 2, 0, 0, 0, 1, 3]}),
    "pad with a value": one(
        "Pad (x, p, v)", weights="int64[8] p, float v", values={"p": [0, 0, 1, 1, 0, 0, 1, 1], "v": 0.7}
    ),
    "pad of an axis": one("Pad (x, p, , a)", weights="int64[2] p, int64[1] a", values={"p": [1, 2], "a": -1}),
    "pad by reflection": one(
        'Pad <mode = "reflect"> (x, p)', weights="int64[8] p", values={"p": [0, 0, 2, 0, 0, 0, 1, 3]}
    ),
    "pad by edges": one(
        'Pad <mode = "edge"> (x, p, , a)', weights="int64[2] p, int64[1] a", values={"p": [9, 2], "a": -2}
    ),
    "pad by wrapping": one('Pad <mode = "wrap"> (x, p)', weights="int64[8] p", values={"p": [0, 1, 2, 3, 0, 0, 1, 0]}),
    "pad that crops": one("Pad (x, p)", weights="int64[8] p", values={"p": [0, 0, -1, 2, 0, 1, 1, -3]}),
    "gather": one("Gather <axis = 1> (x, i)", weights="int64[5] i", values={"i": [2, 0, 0, -1, 1]}),
    "gather one": one("Gather <axis = -2> (x, i)", weights="int64 i", values={"i": -2}),
    "gather in steps": one("Gather <axis = 3> (x, i)", weights="int64[3] i", values={"i": [4, 2, 0]}),
    "gather a table": one("Gather <axis = 2> (x, i)", weights="int64[2,2] i", values={"i": [[1, 0], [4, 4]]}),
    "gather the channels of a conv": Case(
        "c = Conv (x, w, b)\n y = Gather <axis = 1> (c, i)", weights=f"{CONV}, int64[4] i", values={"i": [0, 2, 1, 3]}
    ),
    "tile": one("Tile (x, r)", weights="int64[4] r", values={"r": [2, 1, 3, 1]}),
    "expand": one("Expand (x, n)", "float[3,1,4] x", weights="int64[4] n", values={"n": [2, 1, 5, 1]}),
    "depth to space": one("DepthToSpace <blocksize = 2> (x)", inputs=IMAGES),
    "depth to space of a conv, by columns": Case(
        'c = Conv (x, w, b)\n y = DepthToSpace <blocksize = 2, mode = "CRD"> (c)', weights=CONV
    ),
    "space to depth": one("SpaceToDepth <blocksize = 3> (x)", inputs="float[1,2,3,6] x"),
    "transpose": one("Transpose <perm = [0,3,1,2]> (x)"),
    "transpose of a matrix": one("Transpose (x)", inputs="float[3,5] x"),
    "reshape": one("Reshape (x, s)", weights="int64[2] s", values={"s": [6, -1]}),
    "an output that is a reshaped input": one("Flatten (x)"),
    "flatten a conv": Case(
        "c = Conv (x, w, b)\n f = Flatten (c)\n y = Gemm (f, m)", weights=f"{CONV}, float[80,5] m", steps=2
    ),
    "squeeze a conv": Case("c = Conv (x, w, b)\n y = Squeeze (c, a)", weights=f"{CONV}, int64[1] a", values={"a": 0}),
    "unsqueeze a conv": Case(
        "c = Conv (x, w, b)\n y = Unsqueeze (c, a)", weights=f"{CONV}, int64[1] a", values={"a": 2}
    ),
    "split the channels of a conv": Case(
        "c = Conv (x, w, b)\n r = Reshape (c, s)\n t = Transpose <perm = [0,2,1,3,4]> (r)\n y = Relu (t)",
        weights=f"{CONV}, int64[5] s",
        values={"s": [1, 2, 2, 5, 4]},
    ),
    "resize nearest": resize(f'{NEAREST} = "asymmetric", nearest_mode = "floor"', 2, 2),
    "resize nearest half_pixel": resize(f'{NEAREST} = "half_pixel"', 1.5, 2.3),
    "resize nearest down": resize(f'{NEAREST} = "half_pixel", nearest_mode = "ceil"', 0.5, 0.7),
    "resize nearest align_corners": resize(f'{NEAREST} = "align_corners", nearest_mode = "round_prefer_ceil"', 2, 1.7),
    "resize bilinear half_pixel": resize(f'{BILINEAR} = "half_pixel"', 2, 2),
    "resize bilinear align_corners": resize(f'{BILINEAR} = "align_corners"', 2.4, 1.9),
    "resize bilinear asymmetric": resize(f'{BILINEAR} = "asymmetric"', 2, 3),
    "resize bilinear pytorch_half_pixel": resize(f'{BILINEAR} = "pytorch_half_pixel"', 1.6, 2),
    "resize bilinear down": resize(f'{BILINEAR} = "half_pixel"', 0.5, 0.6),
    "resize bilinear to one row": resize(f'{BILINEAR} = "pytorch_half_pixel"', 1 / 7, 1),
    "resize bilinear from one pixel": resize(f'{BILINEAR} = "half_pixel"', 3, 2, "float[2,3,1,1] x"),
    "resize nearest a line": one(
        f'Resize <{NEAREST} = "asymmetric", nearest_mode = "floor"> (x, , s)', LINE, "float[3] s", {"s": [1, 1, 2]}
    ),
    "resize nearest a volume": one(
        f'Resize <{NEAREST} = "half_pixel"> (x, , s)', "float[1,2,3,2,4] x", "float[5] s", {"s": [1, 1, 2, 1.5, 2]}
    ),
    "resize linear a line": one(f'Resize <{BILINEAR} = "half_pixel"> (x, , s)', LINE, "float[3] s", {"s": [1, 1, 1.7]}),
    "resize linear images channels last": one(
        f'Resize <{BILINEAR} = "align_corners"> (x, , s)',
        "float[1,4,5,3] x",
        "float[4] s",
        {"s": [1, 2, 2, 1]},
        steps=2,
    ),
    "resize bilinear to sizes": one(
        f'Resize <{BILINEAR} = "half_pixel"> (x, , , n)',
        inputs=IMAGES,
        weights="int64[4] n",
        values={"n": [2, 4, 9, 13]},
    ),
}
GRAPHS = {
    "an input that two nodes read": Case(
        "c = Conv <pads = [1,1,1,1]> (x, w)\n p = MaxPool <kernel_shape = [1,1]> (x)\n y = Add (c, p)",
        weights="float[3,3,3,3] w",
        steps=2,
    ),
    "an output that is read inside": Case(
        "y = Conv (x, w, b)\n z = Conv (y, v)",
        weights=f"{CONV}, float[2,4,3,3] v",
        outputs="float[] y, float[] z",
        steps=2,
    ),
    "two outputs that are one": Case(
        "c = Conv (x, w, b)\n y = Flatten (c)\n z = Reshape (c, s)",
        weights=f"{CONV}, int64[2] s",
        values={"s": [4, -1]},
        outputs="float[] y, float[] z, float[] c",
    ),
    "batch 2": Case(
        "c = Conv <pads = [1,1,1,1]> (x, w)\n g = GlobalAveragePool (c)\n f = Flatten (g)\n y = Gemm (f, m)",
        IMAGES,
        "float[5,4,3,3] w, float[5,3] m",
        steps=2,
    ),
    "images that come channels last": Case(
        "t = Transpose <perm = [0,3,1,2]> (x)\n c = Conv (t, w, b)\n y = Transpose <perm = [0,2,3,1]> (c)",
        "float[1,7,6,3] x",
        CONV,
    ),
}
CASES = CONVOLUTIONS | PRODUCTS | SUMS | POOLS | TABLES | NORMS | MOVES | GRAPHS


@pytest.mark.parametrize("row", listed_operators(), ids=lambda row: row.ops[0])
def test_every_operator_of_the_list_has_a_case(row: Listed) -> None:
    tested = " ".join(case.body for case in CASES.values())
    without = {op for op in row.ops if not re.search(rf"\b{op} ?[<(]", tested)}
    assert without <= ONE_INPUT | ELSEWHERE


# Around these means all calibration data is negative, mixed, positive: zero points at the top, inside, at the bottom.
# In test_arg_max.py, in test_compare.py, and among the tests of canonicalization
ELSEWHERE = {"ArgMax", "ArgMin", "BatchNormalization", "Dropout", "Identity"}
ELSEWHERE |= {"Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual"}
MEANS = (-6.0, 0.0, 6.0)


def conforms(case: Case, mean: float, text: Any, stages: Any, floats: Any, around: Any) -> None:
    model = text(case.body, case.inputs, case.outputs, case.weights, case.values, case.opset)
    made = stages(model, around(model, mean))
    assert floats(made.integer) == set(), made.notes
    assert {port.dtype for port in (*made.program.inputs, *made.program.outputs)} == {"int8"}
    for sample in made.extremes():
        assert made.error(sample) <= case.steps


@pytest.mark.parametrize("mean", MEANS)
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_operator_on_integers_is_the_same_everywhere(
    case: Case, mean: float, text: Any, stages: Any, floats: Any, around: Any
) -> None:
    conforms(case, mean, text, stages, floats, around)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_operator_between_floats_is_the_same_everywhere(case: Case, text: Any, stages: Any, floats: Any) -> None:
    model = text(case.body, case.inputs, case.outputs, case.weights, case.values, case.opset)
    made = stages(model, inputs="float", outputs="float")
    assert floats(made.integer) == set(), made.notes
    for sample in made.extremes():
        made.run(sample)


# Weights and activations; every case runs in one of them.
FORMATS = (
    ("int4", "int4"),
    ("e2m1", "e2m1"),
    ("ternary", "e2m3"),
    ("uint4", "uint4"),
    ("int2", "int6"),
    ("log4", "log3"),
)
FORMAT_CASES = [(case, *FORMATS[index % len(FORMATS)]) for index, case in enumerate(CASES.values())]


@pytest.mark.parametrize(("case", "weights", "activations"), FORMAT_CASES, ids=CASES)
def test_operator_in_other_formats_is_the_same_everywhere(
    case: Case, weights: str, activations: str, text: Any, stages: Any, floats: Any, around: Any
) -> None:
    options = QuantizeOptions(weights=weight_format(weights), activations=activation_format(activations))
    model = text(case.body, case.inputs, case.outputs, case.weights, case.values, case.opset)
    made = stages(model, around(model, 0.5), options)
    assert floats(made.integer) == set(), made.notes
    for sample in made.extremes():
        made.run(sample)


# Activations wider than int8, next to weights of either kind; every case runs in one of them.
WIDE = (
    ("int8", "int16"),
    ("int4", "e3m2"),
    ("int8", "e4m3"),
    ("e2m1", "mxfp4"),
    ("int8", "int12"),
    ("e2m1", "e3m4"),
    ("int8", "mxint8"),
)
WIDE_CASES = [(case, *WIDE[index % len(WIDE)]) for index, case in enumerate(CASES.values())]


@pytest.mark.parametrize(("case", "weights", "activations"), WIDE_CASES, ids=CASES)
def test_operator_on_wide_activations_is_the_same_everywhere(
    case: Case, weights: str, activations: str, text: Any, stages: Any, around: Any
) -> None:
    options = QuantizeOptions(weights=weight_format(weights), activations=activation_format(activations))
    model = text(case.body, case.inputs, case.outputs, case.weights, case.values, case.opset)
    made = stages(model, around(model, 0.5), options)
    assert not [note for note in made.notes if note.kind in FLOAT_KINDS]
    for sample in made.extremes():
        made.run(sample)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_operator_asked_for_int16_reads_and_makes_nothing_narrower(
    case: Case, text: Any, stages: Any, around: Any
) -> None:
    options = QuantizeOptions(activations=activation_format("int16"))
    model = text(case.body, case.inputs, case.outputs, case.weights, case.values, case.opset)
    made = stages(model, around(model, -0.5), options)
    assert not [note for note in made.notes if note.kind in FLOAT_KINDS]
    buffers = made.program.buffers.items()
    assert {buffer.dtype for name, buffer in buffers if name not in made.program.constants} == {"int16"}
    for sample in made.extremes():
        assert made.error(sample) <= case.steps + 1  # lines between codes may be a step beyond rounding


@pytest.mark.parametrize(("weights", "activations"), FORMATS)
def test_product_in_other_formats_is_near_the_quantized_model(
    weights: str, activations: str, text: Any, stages: Any, around: Any
) -> None:
    options = QuantizeOptions(weights=weight_format(weights), activations=activation_format(activations))
    for name in ("conv relu", "conv depthwise", "conv transpose stride 2", "gemm transB", "add", "mul", "max pool"):
        case = CASES[name]
        model = text(case.body, case.inputs, case.outputs, case.weights, case.values, case.opset)
        made = stages(model, around(model), options)
        for sample in made.extremes():
            assert made.error(sample) <= 1


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_quantized_model_of_every_operator_loads_in_stock_onnxruntime(case: Case, text: Any, stages: Any) -> None:
    model = text(case.body, case.inputs, case.outputs, case.weights, case.values, case.opset)
    made = stages(model)
    opened = ort.InferenceSession(made.shipped.SerializeToString(), providers=["CPUExecutionProvider"])
    assert [port.name for port in opened.get_outputs()] == [port.name for port in model.graph.output]


WINDOWS = st.tuples(st.integers(1, 4), st.integers(1, 3), st.integers(1, 2), st.integers(0, 2), st.integers(0, 2))


@st.composite
def windows(draw: st.DrawFn) -> tuple[int, int, str]:
    """Height and width of an image, and the attributes of a window that fits it; pads are smaller than the window."""
    sizes, axes = [], [draw(WINDOWS) for _ in range(2)]
    fitting = []
    for kernel, stride, dilation, before, after in axes:
        reach = dilation * (kernel - 1) + 1
        before, after = min(before, kernel - 1), min(after, kernel - 1)
        sizes.append(draw(st.integers(max(1, reach - before - after), 7)))
        fitting.append((kernel, stride, dilation, before, after))
    kernels, strides, dilations, begins, ends = (list(values) for values in zip(*fitting, strict=True))
    given = f"kernel_shape = {kernels}, strides = {strides}, dilations = {dilations}, pads = {begins + ends}"
    return sizes[0], sizes[1], given


@settings(max_examples=40)
@given(windows(), st.integers(1, 3), st.integers(1, 2), st.integers(1, 2), st.sampled_from(MEANS))
def test_convolution_of_any_shape_conforms(
    text: Any, stages: Any, floats: Any, around: Any, window: Any, groups: int, per_in: int, per_out: int, mean: float
) -> None:
    height, width, given = window
    kernel = given.split("[")[1].split("]")[0]
    channels = groups * per_out
    body = f"y = Conv <{given}, group = {groups}> (x, w, b)"
    weights = f"float[{channels},{per_in},{kernel}] w, float[{channels}] b"
    conforms(Case(body, f"float[1,{groups * per_in},{height},{width}] x", weights), mean, text, stages, floats, around)


@settings(max_examples=30)
@given(windows(), st.integers(1, 3), st.sampled_from(MEANS))
def test_pooling_of_any_shape_conforms(
    text: Any, stages: Any, floats: Any, around: Any, window: Any, channels: int, mean: float
) -> None:
    height, width, given = window
    case = Case(f"y = MaxPool <{given}> (x)", f"float[2,{channels},{height},{width}] x")
    conforms(case, mean, text, stages, floats, around)


@settings(max_examples=40)
@given(windows(), st.integers(1, 2), st.integers(1, 2), st.integers(0, 1), st.sampled_from(MEANS))
def test_transposed_convolution_of_any_shape_conforms(
    text: Any, stages: Any, floats: Any, around: Any, window: Any, groups: int, per_out: int, extra: int, mean: float
) -> None:
    height, width, given = window
    assume(min(height, width) > 4)  # so that the pads leave something of the result
    kernel, strides = (given.split(f"{name} = [")[1].split("]")[0] for name in ("kernel_shape", "strides"))
    extras = [min(extra, int(stride) - 1) for stride in strides.split(", ")]
    body = f"y = ConvTranspose <{given}, group = {groups}, output_padding = {extras}> (x, w, b)"
    weights = f"float[{2 * groups},{per_out},{kernel}] w, float[{groups * per_out}] b"
    conforms(Case(body, f"float[1,{2 * groups},{height},{width}] x", weights), mean, text, stages, floats, around)


@pytest.mark.parametrize(("weights", "activations"), WIDE)
def test_sums_on_wide_activations_are_near_the_quantized_model(
    weights: str, activations: str, text: Any, stages: Any
) -> None:
    options = QuantizeOptions(weights=weight_format(weights), activations=activation_format(activations))
    for name in ("conv relu", "conv depthwise", "gemm transB", "add", "average pool pads", "global average pool"):
        case = CASES[name]
        made = stages(
            text(case.body, case.inputs, case.outputs, case.weights, case.values, case.opset),
            None,
            options,
            inputs="float",
        )
        for sample in made.extremes():
            assert made.error(sample) <= 1
