"""Sums, products and choices of elements, and reductions."""

from __future__ import annotations

import numpy as np

from operator_cases.case import CONV, IMAGES, LINE, Case, one

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
REDUCTIONS = {
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
