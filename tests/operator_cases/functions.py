"""Functions of one tensor, and of rows."""

from __future__ import annotations

from operator_cases.case import CONV, Case, one

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
    "softmax behind a mask": Case(
        "m = Add (x, c)\n y = Softmax (m)", weights="float[6] c", values={"c": [0, 0, -1e9, 0, 0, -1e9]}
    ),
    "softmax of one": one("Softmax (x)", inputs="float[3,1] x"),
    "softmax of 33,000": one("Softmax (x)", inputs="float[1,33000] x"),
    "log softmax": one("LogSoftmax (x)", inputs="float[2,10] x", steps=2),
    "log softmax of channels": one("LogSoftmax <axis = 1> (x)", steps=2),
    # An exponential of 16 bits is off by two steps, and so is what all of a row sum up to
    "softmax behind a conv": Case(
        "c = Conv (x, w, b)\n y = Softmax <axis = 1> (c)", weights=CONV, steps=2, int16_steps=4
    ),
}
