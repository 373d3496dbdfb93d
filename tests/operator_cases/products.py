"""Products with constant weights, and of two activations."""

from __future__ import annotations

from typing import Any

import numpy as np

from bevel.passes.transform.orthogonal import block_diagonal, hadamard
from operator_cases.case import CONV, IMAGES, LINE, Case, one


def conv(attributes: str = "", weights: str = CONV, **rest: Any) -> Case:
    bias = ", b" if weights.endswith(" b") else ""
    return Case(
        f"y = Conv <{attributes}> (x, w{bias})" if attributes else f"y = Conv (x, w{bias})", weights=weights, **rest
    )


def conv_transpose(attributes: str, weights: str = "float[3,4,3,3] w, float[4] b", **rest: Any) -> Case:
    return Case(f"y = ConvTranspose <{attributes}> (x, w, b)", weights=weights, **rest)


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
    "walsh-hadamard": one("MatMul (x, h)", "float[2,3,8] x", "float[8,8] h", {"h": 0.3 * hadamard(8)}),
    "walsh-hadamard of 12, with signs": one(
        "MatMul (x, h)", "float[1,5,12] x", "float[12,12] h", {"h": hadamard(12) * (-1) ** np.arange(12)[:, None]}
    ),
    "walsh-hadamard in blocks": one(
        "MatMul (x, h)", "float[4,12] x", "float[12,12] h", {"h": block_diagonal(hadamard(8) / 8, hadamard(4) / 2)}
    ),
    "walsh-hadamard relu": Case(
        "m = MatMul (x, h)\n y = Relu (m)", "float[3,16] x", "float[16,16] h", {"h": hadamard(16) / 4}
    ),
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
    "rotary embedding": Case(
        """a, b = Split <axis = -1, num_outputs = 2> (x)
        n = Neg (b)
        t = Concat <axis = -1> (n, a)
        u = Mul (x, c)
        v = Mul (t, s)
        y = Add (u, v)""",
        "float[1,2,3,4] x",
        "float[3,4] c, float[3,4] s",
        {
            "c": [[1, 1, 1, 1], [0.5, 0.9, 0.5, 0.9], [-0.4, 0.6, -0.4, 0.6]],
            "s": [[0] * 4, [0.8, 0.4] * 2, [0.9, 0.8] * 2],
        },
    ),
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
