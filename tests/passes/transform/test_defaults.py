"""What transforms rely on of ONNX's defaults: each fires where a graph keeps to them, and stays where one does not.

Graphs are as they were written, not canonical: attributes that `canonicalize` spells out are read here. A body has a
hole `@`. With the usual filling the transforms fire, and the function stays; with each of the others they do not.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
import onnx_graphsurgeon as gs
import pytest

from bevel.calib.data.dataset import random_dataset
from bevel.calib.observe.observe import model_inputs
from bevel.passes.base import PassResult, Work
from bevel.passes.recipes.build import known_passes
from bevel.passes.transform.branch_low_rank import BranchLowRank
from bevel.passes.transform.center_keys import CenterKeys
from bevel.passes.transform.equalize import Equalize
from bevel.passes.transform.flatten_inputs import FlattenInputs
from bevel.passes.transform.keep_outliers import KeepOutliers
from bevel.passes.transform.level_channels import LevelChannels
from bevel.passes.transform.project_gain import ProjectGain
from bevel.passes.transform.reparameterize import Reparameterize
from bevel.passes.transform.rotate_online import RotateOnline
from bevel.passes.transform.rotate_stream import RotateStream
from bevel.passes.transform.rotate_values import RotateValues
from bevel.passes.transform.shift_bias import ShiftBias
from bevel.passes.transform.smooth import Smooth
from bevel.passes.transform.smooth_keys import SmoothKeys
from bevel.passes.transform.split_channels import SplitChannels
from bevel.passes.transform.transform import Transform

N = 16  # rows and channels alike: a graph is as valid where an axis is mistaken for another
RNG = np.random.default_rng(12)
LOUD = np.where(np.isin(np.arange(N), (3, 9)), 30.0, 1.0)
WEIGHTS = ", ".join(
    [
        f"float[{N},{N}] w, float[{N},{N}] v, float[{N},{N}] c, float[{N}] g, float[{N}] b, float[{N}] d, float[1] e",
        f"float[{N},{N},1,1] w1, float[{N},{N},3,3] w3, float[{N},8,3,3] half, float[1,{N}] row, float[{N},1] column",
        "float zero, float one, int64[1] first, int64[1] second, int64[2] both, int64[2] none, int64[2] some",
        f"int64[4] h, int64[2] j, int64[4] image, int64[4] beside, int64[{N}] order, int64[1] eight, float far",
    ]
)
VALUES: dict[str, Any] = {
    "w": RNG.standard_normal((N, N)) * LOUD,
    "v": RNG.standard_normal((N, N)) * np.where(np.arange(N) == 5, 9.0, 1.0)[:, None],
    "g": RNG.uniform(0.5, 2, N) * LOUD,
    "b": np.linspace(-40, 40, N),
    "w3": RNG.standard_normal((N, N, 3, 3)) * np.where(np.arange(N) == 5, 9.0, 1.0)[:, None, None],
    "half": RNG.standard_normal((N, 8, 3, 3)) * np.where(np.arange(8) == 5, 9.0, 1.0)[:, None, None],
    **dict(zero=0.0, one=1.0, far=1e6, first=[0], second=[1], both=[0, 1], none=[0, 0], some=[N, 8], eight=[8]),
    **{"h": [1, N, 2, N // 2], "j": [N, N], "image": [1, 4, 4, N], "beside": [0, 0, 1, 0]},
    "order": np.arange(N)[::-1],
}
FLAT = {"g": np.ones(N), "w": RNG.standard_normal((N, N))}  # no channel is louder than others
ROWS, IMAGE = f"float[{N},{N}] x", f"float[1,{N},6,6] x"
SHARES = f"{ROWS}, float[1,2,{N},{N}] s"

SMOOTH, KEYS, EQUAL = Smooth(alpha=0.5), SmoothKeys(alpha=0.5), Equalize()
GAIN, EVEN, CENTRE = ProjectGain(), Reparameterize(least=-99.0), ShiftBias()
STREAM, VALUE, ONLINE = RotateStream(gain=-99.0), RotateValues(gain=-99.0), RotateOnline("int4", "int4", gain=-99.0)
BRANCH, SPLIT, KEEP = BranchLowRank("int4", rank=1), SplitChannels("int4"), KeepOutliers("int4", "int4")
MIDDLE, FLAT_INPUTS = CenterKeys(), FlattenInputs("int4", "int4", gain=-99.0)
UNCLAMPED = (SMOOTH, EQUAL, GAIN)
SCALES = (*UNCLAMPED, LevelChannels())


@dataclass(frozen=True)
class Rule:
    """usual: what fills the hole of `body` where the transforms fire; others: where they do not."""

    transforms: tuple[Transform, ...]
    body: str
    usual: str
    others: tuple[str, ...]
    inputs: str = ROWS
    values: Mapping[str, Any] = field(default_factory=dict)


GEMM = ("<transA = 1>", "<transB = 1>", "<alpha = 0.5>", "<beta = 0.5>")
NORM = "n = LayerNormalization (x, g, b)\n"
STREAMED = "a = Gemm (x, w, d)\n n = LayerNormalization (a, g, b)\n"
READ = " y = Gemm (n, v, d)"
PAIR = "a = Gemm (x, w, b)\n r = @\n y = Gemm (r, v, d)"
MADE = "a = Gemm (x, w, b)\n v4 = Reshape (a, h)\n vt = Transpose <perm = [0,2,1,3]> (v4)\n p = Softmax (s)\n"
HEADS = " t = Transpose <perm = [0,2,1,3]> (m)\n r = Reshape (t, j)\n y = Gemm (r, v, d)"
ATTENTION = f"{MADE} m = MatMul (p, vt)\n{HEADS}"
QUERIES = "q = Gemm (x, w, b)\n k = Gemm (x, v, d)\n t = Transpose (k)\n y = MatMul (q, t)"
SHARED = f"{QUERIES[: QUERIES.index(' y')]} s = MatMul (q, t)\n"
PIXELS = f"{STREAMED} i = Reshape (n, image)\n t = Transpose <perm = [0,3,1,2]> (i)\n y = Conv @"

AROUND = "a = Gemm (x, w, d)\n r = @\n k = Add (r, c)\n n = LayerNormalization (k, g, b)\n y = Gemm (n, v, d)"

PRODUCTS: dict[str, Rule] = {
    # Gemm: transA and transB 0, alpha and beta 1, C a number for each column
    "Gemm behind a norm": Rule((SMOOTH, GAIN, EVEN), f"{NORM} y = Gemm @ (n, v, d)", "", GEMM),
    "Gemm before a product": Rule(SCALES, "a = Gemm @ (x, w, b)\n y = Gemm (a, v, d)", "", GEMM),
    "Gemm behind a product": Rule(SCALES, "a = Gemm (x, w, b)\n y = Gemm @ (a, v, d)", "", GEMM),
    "Gemm that is centred": Rule((CENTRE,), "a = Gemm @ (x, w, b)\n y = Gemm (a, v, d)", "", GEMM, values=FLAT),
    "Gemm that reads centred": Rule((CENTRE,), f"{NORM} y = Gemm @ (n, v, d)", "", GEMM, values=FLAT),
    "Gemm alone": Rule((BRANCH, SPLIT), "y = Gemm @ (x, v, d)", "", GEMM),
    "Gemm behind loud channels": Rule((KEEP,), "a = Mul (x, g)\n y = Gemm @ (a, v, d)", "", GEMM),
    "Gemm behind a function": Rule((ONLINE, FLAT_INPUTS), "a = Tanh (x)\n y = Gemm @ (a, v, d)", "", GEMM),
    "Gemm of queries": Rule((KEYS,), QUERIES.replace("Gemm (x, w", "Gemm @ (x, w"), "", GEMM),
    "Gemm of keys": Rule((KEYS,), QUERIES.replace("Gemm (x, v", "Gemm @ (x, v"), "", GEMM),
    "Gemm behind a stream": Rule((STREAM,), f"{STREAMED} y = Gemm @ (n, v, d)", "", GEMM),
    "Gemm before a stream": Rule((STREAM,), f"{STREAMED.replace('Gemm', 'Gemm @')}{READ}", "", GEMM),
    "Gemm of values": Rule((VALUE,), ATTENTION.replace("Gemm (x", "Gemm @ (x"), "", GEMM, SHARES),
    "Gemm of heads": Rule((VALUE,), ATTENTION.replace("Gemm (r", "Gemm @ (r"), "", GEMM, SHARES),
    "C before": Rule(SCALES, "a = Gemm (x, w, @)\n y = Gemm (a, v, d)", "b", ("c", "e")),
    "C behind": Rule(SCALES, "a = Gemm (x, w, b)\n y = Gemm (a, v, @)", "d", ("c", "e")),
    "C that is centred": Rule((CENTRE,), "a = Gemm (x, w, @)\n y = Gemm (a, v, d)", "b", ("c", "e"), values=FLAT),
    "C that takes a centre": Rule((CENTRE,), f"{NORM} y = Gemm (n, v, @)", "d", ("c", "e"), values=FLAT),
    "C before a stream": Rule((STREAM,), f"{STREAMED.replace('d)', '@)', 1)}{READ}", "d", ("c", "e", "column")),
    "C behind a stream": Rule((STREAM,), f"{STREAMED} y = Gemm (n, v, @)", "d", ("c", "e", "column")),
    "C of values": Rule((VALUE,), ATTENTION.replace("w, b)", "w, @)"), "b", ("c", "e"), SHARES),
    # Conv: group 1, auto_pad NOTSET, pads 0
    "groups": Rule((SPLIT,), "y = Conv @", "(x, w3, d)", ("<group = 2> (x, half, d)",), IMAGE),
    "groups behind a stream": Rule((STREAM,), PIXELS, "(t, w3, d)", ("<group = 2> (t, half, d)",)),
    "padding of what is centred": Rule(
        (CENTRE,),
        "a = Conv (x, w1, b)\n y = Conv <@> (a, w3, d)",
        'auto_pad = "VALID"',
        ("pads = [0,0,1,1]", 'auto_pad = "SAME_UPPER"', 'auto_pad = "SAME_LOWER"'),
        IMAGE,
    ),
    "padding behind a norm's bias": Rule(
        (STREAM,),
        PIXELS.replace("@", "<@> (t, w3, d)"),
        'auto_pad = "VALID"',
        ("pads = [0,0,1,1]", 'auto_pad = "SAME_UPPER"', 'auto_pad = "SAME_LOWER"'),
    ),
    # MatMul: the last two axes, batches of weights are others
    "two products": Rule(SCALES, PAIR, "Relu (a)", ("MatMul (a, x)", "Mul (a, a)")),
    "scores": Rule((KEYS,), f"{QUERIES[: QUERIES.index(' y')]} y = @", "MatMul (q, t)", ("Mul (q, t)",)),
    "values": Rule((VALUE,), f"{MADE} m = @\n{HEADS}", "MatMul (p, vt)", ("Mul (vt, vt)", "Add (vt, vt)"), SHARES),
}

OTHERS: dict[str, Rule] = {
    # LayerNormalization: axis -1, one result; Softmax: axis -1
    "the axis of a norm": Rule(
        (STREAM, CENTRE),
        "a = Tanh (x)\n e1 = Gemm (a, w, d)\n n = LayerNormalization @\n y = Gemm (n, v, d)",
        "(e1, g, b)",
        ("<axis = 0> (e1, c, c)", "<axis = -2> (e1, c, c)"),
        values=FLAT,
    ),
    "a norm's other results": Rule(
        (STREAM, SMOOTH, EVEN),
        "a = Gemm (x, w, d)\n n@ = LayerNormalization (a, g, b)\n y = Gemm (n, v, d)",
        "",
        (", z",),
    ),
    "the axis of shares": Rule(
        (CENTRE,),
        ATTENTION.replace("Softmax", "Softmax @"),
        "",
        ("<axis = -2>", "<axis = 1>"),
        SHARES,
        FLAT,
    ),
    "the axis of centred keys' shares": Rule(
        (MIDDLE,), f"{SHARED} y = Softmax @ (s)", "", ("<axis = 0>", "<axis = -2>"), values={"d": VALUES["b"]}
    ),
    "what scores go through": Rule(
        (MIDDLE,),
        f"{SHARED} r = @\n y = Softmax (r)",
        "Mul (s, one)",
        ("Mul (s, c)", "Mul (s, row)", "Mul (s, s)", "Div (one, s)", "Relu (s)", "Transpose (s)", "MatMul (s, c)"),
        values={"d": VALUES["b"]},
    ),
    "where scores end": Rule(
        (MIDDLE,), f"{SHARED} y = @ (s)", "LogSoftmax", ("Hardmax", "Exp"), values={"d": VALUES["b"]}
    ),
    "an output of centred keys": Rule(
        (MIDDLE,), f"{SHARED.replace('k', '@')} y = Softmax (s)", "k", ("z",), values={"d": VALUES["b"]}
    ),
    # Transpose: axes reversed; Split, Gather: axis 0; Flatten: axis 1; ReduceMean: all axes
    "where a Transpose puts channels": Rule(
        (STREAM,),
        "a = Gemm (x, w, d)\n t = Transpose @ (a)\n n = LayerNormalization (t, g, b)\n y = Gemm (n, v, d)",
        "<perm = [0,1]>",
        ("",),
    ),
    "what a Split cuts": Rule(
        (STREAM,),
        "a = Gemm (x, w, d)\n p, q = Split <@num_outputs = 2> (a)\n s = Concat <axis = 0> (q, p)\n"
        " t = Reshape (s, j)\n n = LayerNormalization (t, g, b)\n y = Gemm (n, v, d)",
        "",
        ("axis = 1, ",),
    ),
    "what a Gather picks": Rule(
        (STREAM,), f"{STREAMED} r = Gather @ (n, order)\n y = Gemm (r, v, d)", "", ("<axis = 1>", "<axis = -1>")
    ),
    "rows of a table": Rule(
        (STREAM,),
        "a = Gather @ (w, x)\n n = LayerNormalization (a, g, b)\n y = Gemm (n, v, d)",
        "",
        ("<axis = 1>", "<axis = -1>"),
        f"int64[{N}] x",
    ),
    "what a mean runs over": Rule(
        (STREAM,),
        AROUND.replace("@", "ReduceMean @"),
        "(a, first)",
        ("(a)", "(a, second)", "<noop_with_empty_axes = 1> (a)"),
    ),
    "what a Slice cuts": Rule(
        (STREAM,),
        AROUND.replace("r = @", "p = Slice @"),
        "(a, first, eight)\n r = Concat <axis = 0> (p, p)",
        ("(a, none, some)\n r = Concat <axis = 1> (p, p)",),
    ),
    "what a Flatten merges": Rule(
        (STREAM,),
        "i = Reshape (x, image)\n f = Flatten <axis = 3> (i)\n a = Gemm (f, w, d)\n k = Reshape (a, image)\n"
        " t = Flatten @ (k)\n r = Reshape (t, j)\n n = LayerNormalization (r, g, b)\n y = Gemm (n, v, d)",
        "<axis = 3>",
        ("",),
    ),
    "what an Add spreads": Rule((STREAM,), AROUND, "Add (a, column)", ("Add (a, x)",)),
    # Pad: constant, of zeros, along all axes; Clip: no bounds; PRelu: constant slopes
    "what a Pad puts beside channels": Rule(
        (SMOOTH, EQUAL),
        "a = Gemm (x, w, b)\n r = Pad (a, beside@)\n y = Gemm (r, v, d)",
        "",
        (", one", ", zero, both"),
    ),
    "clamps between": Rule(UNCLAMPED, PAIR, "LeakyRelu (a)", ("Clip (a, zero, one)", "Clip (a, zero, far)")),
    "clamps that nothing gets to": Rule(
        (LevelChannels(),),
        PAIR,
        "Clip (a, zero, far)",
        ("Clip (a, zero, one)", "Clip (a, zero)", "Clip (a, , far)", "Clip (a, one, far)", "Clip (a, far, zero)"),
    ),
    "functions between": Rule(
        SCALES,
        PAIR,
        "LeakyRelu (a)",
        (
            "PRelu (a, a)",
            "Sigmoid (a)",
            "Add (a, x)",
            "Add (a, one)",
            "Div (x, a)",
            "Max (a, x)",
        ),
    ),
    "an output in the middle": Rule(SCALES, "@ = Gemm (x, w, b)\n y = Gemm (@, v, d)", "a", ("z",)),
    "an output that would be centred": Rule(
        (CENTRE,), "@ = Gemm (x, w, b)\n y = Gemm (@, v, d)", "a", ("z",), values=FLAT
    ),
    "an output of a stream": Rule((STREAM,), f"{STREAMED.replace('a', '@', 1).replace('(a', '(@')}{READ}", "a", ("z",)),
    "an output of heads": Rule((VALUE,), ATTENTION.replace("m = ", "@ = ").replace("(m)", "(@)"), "m", ("z",), SHARES),
    "an output of keys": Rule((KEYS,), QUERIES.replace("q", "@"), "q", ("z",)),
    "weights of two nodes": Rule(SCALES, "a = Gemm (x, w, b)\n y = Gemm (a, @, d)", "v", ("w",)),
}
RULES = PRODUCTS | OTHERS


def raw(model: onnx.ModelProto) -> gs.Graph:
    graph = gs.import_onnx(onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True))
    for node in graph.nodes:
        node.name = node.outputs[0].name
    return graph.cleanup().toposort()


def run(text: Callable[..., onnx.ModelProto], rule: Rule, filling: str, one: Transform) -> PassResult:
    body = rule.body.replace("@", filling)
    outputs = "float[] y, float[] z" if "z = " in body or ", z = " in body else "float[] y"
    model = text(body, rule.inputs, outputs, WEIGHTS, VALUES | dict(rule.values))
    return one(Work(raw(model), data=random_dataset(model_inputs(model), 8, seed=0)))


def each(which: Callable[[Rule], tuple[str, ...]]) -> list[Any]:
    return [
        pytest.param(rule, filling, one, id=f"{name}-{filling}-{one.name}")
        for name, rule in RULES.items()
        for filling in which(rule)
        for one in rule.transforms
    ]


@pytest.mark.parametrize(("rule", "filling", "one"), each(lambda rule: (rule.usual,)))
def test_it_fires_where_a_graph_keeps_to_defaults(text: Any, rule: Rule, filling: str, one: Transform) -> None:
    result = run(text, rule, filling, one)
    assert result.modified
    assert all(record.relative < 1e-5 for record in result.work.transforms)  # float32 sums of tens of terms


@pytest.mark.parametrize(("rule", "filling", "one"), each(lambda rule: rule.others))
def test_it_stays_away_where_a_node_says_otherwise(text: Any, rule: Rule, filling: str, one: Transform) -> None:
    result = run(text, rule, filling, one)
    assert not result.modified
    assert [note.text for note in result.notes if note.kind == "refused"] == []  # nothing that had to be undone


def test_every_transform_has_such_a_rule() -> None:
    transforms = {name for name, one in known_passes().items() if issubclass(one, Transform)}
    assert {one.name for rule in RULES.values() for one in rule.transforms if rule.others} == transforms
