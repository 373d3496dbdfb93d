"""Integers that are only moved."""

from __future__ import annotations

from operator_cases.case import CONV, IMAGES, Case, one

CUT = "int64[2] s, int64[2] e, int64[2] a, int64[2] t"

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
    "scatter one": Case(
        "i = ArgMax <axis = 0> (k)\n y = ScatterND (x, i, z)", "float[5,3,4] x, float[1,3,4] z, float[5,1] k"
    ),
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
}
