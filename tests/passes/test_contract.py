"""Every pass has a graph that it changes (or, if it only decides, one that it leaves), and what it says is held to it.

While tests run, `Pass.__call__` compares `modified` with a fingerprint of the graph and asks what a pass requires and
ensures, so a run is a check. A second run finds nothing more.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import numpy as np
import onnx
import onnx_graphsurgeon as gs
import pytest

from bevel.calib.data.dataset import random_dataset
from bevel.calib.observe.observe import model_inputs, observe
from bevel.passes.base import ContractError, Pass, PassResult, Work
from bevel.passes.canonicalize import canonicalize
from bevel.passes.canonicalize.infer_shapes import InferShapes
from bevel.passes.conditions import STATIC_SHAPES
from bevel.passes.graph.edit import alive, detach, redirect
from bevel.passes.graph.fingerprint import fingerprint
from bevel.passes.pipeline import Pipeline, Settled
from bevel.passes.recipes import read
from bevel.passes.recipes.build import build, every_pass
from bevel.passes.transform.transform import Transform

RNG = np.random.default_rng(4)
Q = "q = QuantizeLinear (x, s, z)\n d = DequantizeLinear (q, s, z)\n "
QUANT = "float s, int8 z"
STEPS = {"s": 0.05, "z": 3}
LINE, IMAGE = "float[2,6] x", "float[1,3,8,8] x"
UNLIKE = np.concatenate([RNG.uniform(0.5, 1, (3, 2)), RNG.uniform(0.5, 1, (4, 2)) / 1000])
COMBINATORS = (Pipeline, Settled)


@dataclass(frozen=True)
class Example:
    """A model. prepared: the passes of the recipe `int8` that come before, with `options`; else it is as it was read.
    changes: whether the pass changes it."""

    body: str
    inputs: str = LINE
    weights: str = ""
    values: Mapping[str, Any] = field(default_factory=dict)
    prepared: bool = False
    options: tuple[tuple[str, str, object], ...] = ()
    changes: bool = True
    canonical: bool = False
    outputs: str = "float[] y"


ONE_LOUD = np.random.default_rng(5).standard_normal((6, 8)) * [1, 1, 1, 40, 1, 1, 1, 1]  # one channel


def float_model(**changes: Any) -> Example:
    return Example("y = MatMul (x, w)", weights="float[6,5] w", prepared=True, **changes)


PIXELS = "t = Transpose <perm = [0,3,1,2]> (x)\n f = Cast <to = 1> (t)\n n = Div (f, k)\n y = Exp (n)"
ZEROS = np.concatenate([RNG.standard_normal((2, 3, 3, 3)), np.zeros((8, 3, 3, 3))])

LOUD = RNG.standard_normal((8, 3, 3, 3)) * np.array([1, 1, 30, 1, 1, 1, 1, 1]).reshape(-1, 1, 1, 1)
TWO_CONVOLUTIONS = Example(
    "c = Conv (x, w)\n r = Relu (c)\n y = Conv (r, v)",
    IMAGE,
    "float[8,3,3,3] w, float[4,8,1,1] v",
    {"w": LOUD},
    prepared=True,
)

GATED = Example(
    "u = MatMul (x, w)\n s = Sigmoid (u)\n h = Mul (u, s)\n y = MatMul (h, v)",
    "float[9,6] x",
    "float[6,32] w, float[32,64] v",
    {"w": RNG.standard_normal((6, 32)) * np.where(np.arange(32) == 3, 12.0, 1.0)},
    prepared=True,
)
GAINS = Example(
    "n = LayerNormalization (x, g, b)\n m = MatMul (n, w)\n y = Sigmoid (m)",
    "float[1,12,8] x",
    "float[8] g, float[8] b, float[8,5] w",
    {"g": [1, 1, 40, 1, 1, 1, 1, 1]},
    prepared=True,
)
EXAMPLES = {
    "refuse-early": Example("y = Relu (x)", changes=False, canonical=True),
    # What canonicalization consists of
    "separate-outputs": Example("z = Relu (x)", weights="float[2] y", outputs="float[2] y, float[] z"),
    "name-nodes": Example("y = Relu (x)"),
    "trim-outputs": Example("y, m = Dropout (x)"),
    "infer-shapes": Example("a = Relu (x)\n y = Neg (a)"),
    "fold-constants": Example("c = Neg (w)\n y = Add (x, c)", weights="float[6] w"),
    "read-qoperators": Example(
        f"{Q}r = QLinearMatMul (q, s, z, m, s, z, s, z)\n y = DequantizeLinear (r, s, z)",
        weights=f"{QUANT}, int8[6,4] m",
        values={**STEPS, "m": RNG.integers(-9, 9, (6, 4))},
    ),
    "lower-statistics": Example(
        "y, a, b = BatchNormalization <training_mode = 1> (x, g, h, m, v)",
        IMAGE,
        "float[3] g, float[3] h, float[3] m, float[3] v",
        {"v": np.ones(3)},
    ),
    "remove-identity": Example("a = Identity (x)\n y = Relu (a)"),
    "merge-duplicates": Example("a = Neg (x)\n b = Neg (x)\n y = Add (a, b)"),
    "pair-operands": Example("a = Neg (x)\n b = Exp (x)\n y = Sum (a, b, x)"),
    "unify-reshape": Example("y = Flatten (x)", IMAGE),
    "unify-clip": Example("y = Min (x, c)", weights="float c", values={"c": 6.0}),
    "unify-conv": Example('y = Conv <auto_pad = "SAME_UPPER"> (x, w)', IMAGE, "float[4,3,3,3] w"),
    "unify-pool": Example('y = MaxPool <kernel_shape = [2,2], auto_pad = "VALID"> (x)', IMAGE),
    "flatten-pool": Example("y = MaxPool <kernel_shape = [2,2,2], pads = [0,0,0,0,0,0]> (x)", "float[1,3,4,4,4] x"),
    "unify-gemm": Example("y = MatMul (x, w)", weights="float[6,5] w"),
    "convolve-by-left-matrix": Example("y = MatMul (w, x)", "float[1,6,5] x", "float[4,6] w"),
    "unify-einsum": Example('y = Einsum <equation = "abc,dc->abd"> (x, w)', "float[2,3,4] x", "float[5,4] w"),
    "unify-gather": Example("y = Gather <axis = 1> (x, i)", weights="int64[3] i", values={"i": [0, 1, 2]}),
    "unify-expand": Example("y = Expand (x, s)", weights="int64[3] s", values={"s": [4, 2, 6]}),
    "unify-resize": Example(
        'y = Resize <mode = "linear"> (x, , s)', "float[2,3,8] x", "float[3] s", {"s": [1.0, 1.0, 2.0]}
    ),
    "unify-recurrent": Example(
        'y = RNN <hidden_size = 3, direction = "bidirectional"> (x, w, r)',
        "float[4,1,2] x",
        "float[2,3,2] w, float[2,3,3] r",
    ),
    "begin-recurrent": Example(
        "y = LSTM <hidden_size = 2> (x, w, r)", "float[4,1,2] x", "float[1,8,2] w, float[1,8,2] r"
    ),
    "crop-by-slice": Example("y = Pad (x, p)", weights="int64[4] p", values={"p": [0, -1, 0, 2]}),
    "spell-depth-to-space": Example("y = DepthToSpace <blocksize = 2> (x)", "float[1,8,3,3] x"),
    "spell-reductions": Example("y = ReduceL1 (x, a)", weights="int64[1] a", values={"a": [1]}),
    "spell-magnitudes": Example(
        "p = Mul (x, x)\n q = Mul (z, z)\n s = Add (p, q)\n y = Sqrt (s)", f"{LINE}, float[2,6] z"
    ),
    "sink-reshape": Example(
        "g = Gemm (x, w)\n a = Reshape (g, s)\n y = Relu (a)",
        weights="float[6,4] w, int64[2] s",
        values={"s": [4, 2]},
    ),
    "merge-transposes": Example("a = Transpose <perm = [1,0]> (x)\n y = Transpose <perm = [1,0]> (a)"),
    "absorb-transposes": Example(
        "a = Transpose <perm = [0,3,1,2]> (x)\n b = Relu (a)\n y = Transpose <perm = [0,2,3,1]> (b)", IMAGE
    ),
    "scale-before-concat": Example(
        "c = Concat <axis = 1> (x, z)\n y = Mul (c, w)",
        "float[2,3] x, float[2,2] z",
        "float[5] w",
        {"w": [640, 480, 640, 1, 1]},
    ),
    "balance-concat": Example(
        "c = Concat <axis = 1> (x, z)\n y = Gemm (c, w)",
        "float[2,3] x, float[2,4] z",
        "float[7,2] w",
        {"w": UNLIKE},
    ),
    "absorb-pad": Example(
        "a = Pad (x, p)\n y = Conv <kernel_shape = [3,3], pads = [0,0,0,0], strides = [1,1], dilations = [1,1]> (a, w)",
        IMAGE,
        "int64[8] p, float[4,3,3,3] w",
        {"p": [0, 0, 1, 1, 0, 0, 1, 1]},
    ),
    "fold-affine": Example("a = Gemm (x, w, b)\n y = Mul (a, k)", weights="float[6,5] w, float[5] b, float[5] k"),
    "fold-batchnorm": Example(
        "a = Conv (x, w)\n y = BatchNormalization (a, g, h, m, v)",
        IMAGE,
        "float[4,3,3,3] w, float[4] g, float[4] h, float[4] m, float[4] v",
        {"v": np.ones(4)},
    ),
    "split-unlike-results": Example("y = Mul (x, c)", "float[2,3,5] x", "float[5] c", {"c": [192, 256, 1, 1, 1]}),
    "lower-batchnorm": Example(
        "y = BatchNormalization (x, g, h, m, v)",
        IMAGE,
        "float[3] g, float[3] h, float[3] m, float[3] v",
        {"v": np.ones(3)},
    ),
    "divide-by-reciprocal": Example("e = Sigmoid (z)\n y = Div (x, e)", "float[1,8] x, float[1,8] z"),
    "move-before-cast": Example(
        "f = Cast <to = 1> (x)\n t = Transpose <perm = [0,3,1,2]> (f)\n y = Exp (t)", "uint8[1,4,4,3] x"
    ),
    # What comes before quantizing, and quantizing
    "equalize": TWO_CONVOLUTIONS,
    "smooth": TWO_CONVOLUTIONS,
    "level-channels": TWO_CONVOLUTIONS,
    "smooth-keys": Example(
        "q = MatMul (x, w)\n k = MatMul (x, v)\n t = Transpose <perm = [0,2,1]> (k)\n y = MatMul (q, t)",
        "float[1,9,6] x",
        "float[6,5] w, float[6,5] v",
        {"v": RNG.standard_normal((6, 5)) * [1, 30, 1, 1, 1]},
        prepared=True,
    ),
    "center-keys": Example(
        "q = MatMul (x, w)\n m = MatMul (x, v)\n k = Add (m, b)\n t = Transpose <perm = [0,2,1]> (k)\n"
        " s = MatMul (q, t)\n y = Softmax (s)",
        "float[1,9,6] x",
        "float[6,5] w, float[6,5] v, float[5] b",
        {"b": np.array([-9.0, 9, 0, 9, 0])},
        prepared=True,
    ),
    "clamp-masks": Example(
        "a = Add (x, m)\n r = Relu (x)\n c = Add (a, r)\n y = Softmax (c)",
        weights="float[6] m",
        values={"m": [0, 0, 0, 0, 0, -1e9]},
        prepared=True,
    ),
    "rotate-stream": Example(
        "a = MatMul (x, w)\n n = LayerNormalization (a, g)\n y = MatMul (n, v)",
        "float[1,9,6] x",
        "float[6,8] w, float[8] g, float[8,5] v",
        {"w": ONE_LOUD},
        prepared=True,
    ),
    "rotate-values": Example(
        "v = MatMul (x, w)\n p = Softmax (s)\n a = MatMul (p, v)\n y = MatMul (a, o)",
        "float[1,9,6] x, float[1,9,9] s",
        "float[6,8] w, float[8,5] o",
        {"w": ONE_LOUD},
        prepared=True,
    ),
    "shift-bias": Example(
        "n = LayerNormalization (x, g, b)\n y = MatMul (n, w)",
        "float[1,9,6] x",
        "float[6] g, float[6] b, float[6,5] w",
        {"b": [9, -9, 0, 0, 0, 0]},
        prepared=True,
    ),
    "rotate-online": GATED,
    "flatten-inputs": GATED,
    "branch-low-rank": Example("y = MatMul (x, w)", "float[40,40] x", "float[40,40] w", prepared=True),
    "keep-outliers": float_model(changes=False),  # inputs of 8 bits keep them
    "project-gain": GAINS,
    "reparameterize": GAINS,
    "split-channels": Example(
        "y = MatMul (x, w)",
        "float[5,20] x",
        "float[20,6] w",
        {"w": RNG.standard_normal((20, 6)) * np.where(np.arange(20) == 7, 9, 1)[:, None]},
        prepared=True,
    ),
    "assign-schemes": float_model(changes=False),
    "widen-activations": float_model(changes=False),
    "log-shares": Example("s = Softmax (x)\n y = MatMul (s, s)", "float[6,6] x", changes=False, canonical=True),
    "row-scales": float_model(changes=False),
    "choose-ranges": float_model(changes=False, options=(("assign-schemes", "range", "auto"),)),
    "plan-scales": float_model(changes=False),
    "round-weights": float_model(changes=False),
    "correct-bias": float_model(changes=False),
    "insert-qdq": float_model(),
    # Models that came quantized, and integers
    "quantize-results": Example(
        f"{Q}k = DequantizeLinear (w, s, z)\n y = MatMul (d, k)",
        weights=f"{QUANT}, int8[6,4] w",
        values={**STEPS, "w": RNG.integers(-9, 9, (6, 4))},
        canonical=True,
    ),
    "carry-quantizers": Example(f"{Q}y = Transpose <perm = [1,0]> (d)", weights=QUANT, values=STEPS, canonical=True),
    "restore-tables": Example(
        "q = QuantizeLinear (x, s, z)\n i = Cast <to = 6> (q)\n g = Gather (t, i)\n y = DequantizeLinear (g, s, z)",
        weights=f"{QUANT}, int8[256] t",
        values={**STEPS, "t": RNG.integers(-9, 9, 256)},
        canonical=True,
    ),
    "integerize": float_model(),
    "fuse-rounding": Example(
        "a = MatMul (x, w)\n y = MatMul (a, v)",
        weights="float[6,5] w, float[5,4] v",
        prepared=True,
        options=(("assign-schemes", "activations", "int4"), ("row-scales", "rows", "off")),
    ),
    "fuse-pixels": Example(PIXELS, "uint8[1,4,4,3] x", "float k", {"k": 100.0}, prepared=True),
    "prune-constant-channels": Example(
        "c = Conv (x, w)\n r = Relu (c)\n y = Conv (r, v)",
        IMAGE,
        "float[10,3,3,3] w, float[4,10,1,1] v",
        {"w": ZEROS},
        prepared=True,
    ),
    "share-constants": Example(
        "a = MatMul (x, w)\n r = Relu (a)\n b = MatMul (r, w)\n y = Sigmoid (b)",
        "float[2,20] x",
        "float[20,20] w",
        prepared=True,
    ),
    "switch-widths": float_model(
        changes=False, options=(("switch-widths", "bits", "6,4"), ("row-scales", "rows", "off"))
    ),
}
ONCE = {"integerize", "insert-qdq"}  # whose results are graphs of another kind
ONCE |= {"rotate-stream", "rotate-values", "branch-low-rank", "split-channels", "level-channels"}  # they can go further


def passes() -> dict[str, type[Pass]]:
    return {one.name: one for one in every_pass() if not issubclass(one, COMBINATORS)}


def model_of(text: Any, example: Example) -> onnx.ModelProto:
    model: onnx.ModelProto = text(
        example.body, example.inputs, example.outputs, weights=example.weights, values=dict(example.values)
    )
    return model


def work_before(cls: type[Pass], model: onnx.ModelProto, example: Example) -> tuple[Pass, Work]:
    """The pass, and what it is given."""
    if not example.prepared and not example.canonical:
        work = Work(gs.import_onnx(model))
        return cls(), InferShapes()(work).work if STATIC_SHAPES in cls.requires else work
    graph, _ = canonicalize(model)
    if example.canonical:
        return cls(), Work(graph)
    recipe = build(read("int8"))
    for pass_, option, value in example.options:
        recipe = recipe.with_option(pass_, option, value, "a test")
    samples = random_dataset(model_inputs(model), 4, seed=0)
    work = Work(graph, data=samples)
    if issubclass(cls, Transform):
        return cls(), work
    for one in recipe.passes:
        if one.name == cls.name:
            return one, work
        if one.stage == "assign" and not work.observations:
            seen = observe(gs.export_onnx(work.graph), samples, recipe.wants(work.graph))
            work = replace(work, observations=seen)
        work = one(work).work
    raise AssertionError(f"{cls.name} is in no recipe")


def test_every_pass_has_an_example() -> None:
    assert sorted(passes()) == sorted(EXAMPLES)


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_pass_changes_its_example_says_so_and_finds_nothing_more(text: Any, name: str) -> None:
    example = EXAMPLES[name]
    one, work = work_before(passes()[name], model_of(text, example), example)
    if name == "name-nodes":
        work.graph.nodes[0].name = ""
    if name == "infer-shapes":
        work.graph.nodes[0].outputs[0].shape = None
    before = fingerprint(work.graph)
    result = one(work)
    assert result.modified == example.changes == (fingerprint(result.graph) != before)
    assert name in ONCE or not one(result.work).modified


FLOATS = [name for name, example in EXAMPLES.items() if not example.prepared and not example.canonical]


@pytest.mark.parametrize("name", FLOATS)
def test_a_pass_tells_the_truth_of_the_examples_of_others(text: Any, name: str) -> None:
    for other in FLOATS:
        model = model_of(text, EXAMPLES[other])
        work = InferShapes()(Work(gs.import_onnx(model))).work
        passes()[name]()(work)  # raises ContractError where `modified` and the graph differ


# The check itself


@dataclass(frozen=True)
class Liar(Pass):
    name: ClassVar[str] = "liar"
    says: bool = False
    does: bool = True

    def call(self, work: Work) -> PassResult:
        for node in alive(work.graph) if self.does else []:
            redirect(node.outputs[0], node.inputs[0])
            detach(node)
            break
        return work.result(self.says)


@dataclass(frozen=True)
class Shapeless(Liar):
    name: ClassVar[str] = "shapeless"
    requires: ClassVar[tuple[Any, ...]] = (STATIC_SHAPES,)
    says: bool = False
    does: bool = False


def two_nodes(text: Any) -> Work:
    return InferShapes()(Work(gs.import_onnx(text("a = Neg (x)\n y = Neg (a)", LINE)))).work


@pytest.mark.parametrize(("says", "does"), [(False, True), (True, False)])
def test_a_pass_that_does_not_tell_the_truth_is_named(text: Any, says: bool, does: bool) -> None:
    with pytest.raises(ContractError, match="pass liar"):
        Liar(says, does)(two_nodes(text))


def test_a_pass_whose_conditions_do_not_hold_is_named_with_the_first_that_breaks_it(text: Any) -> None:
    work = two_nodes(text)
    Shapeless()(work)
    work.graph.nodes[0].outputs[0].shape = None
    with pytest.raises(ContractError, match="pass shapeless requires static shapes and types: a has shape None"):
        Shapeless()(work)


def changed(work: Work) -> Iterator[None]:
    """The graph, other in one way at a time."""
    node = work.graph.nodes[0]
    (constant,) = (one for one in work.graph.tensors().values() if isinstance(one, gs.Constant))
    constant.values = constant.values + 1
    yield
    node.attrs["axis"] = 1
    yield
    node.outputs[0].dtype = np.dtype(np.float64)
    yield
    work.graph.outputs.append(node.outputs[0])
    yield
    node.name = "another"
    yield


def test_a_fingerprint_sees_values_attributes_types_ports_and_names_but_no_order(text: Any) -> None:
    model = text("a = Softmax (x)\n b = Neg (x)\n c = Add (a, w)\n y = Add (b, c)", LINE, weights="float[6] w")
    work = InferShapes()(Work(gs.import_onnx(model))).work
    known = [fingerprint(work.graph)]
    work.graph.nodes.reverse()
    assert fingerprint(work.graph) == known[0]
    work.graph.nodes.reverse()
    for _ in changed(work):
        known.append(fingerprint(work.graph))
    assert len(set(known)) == len(known)
