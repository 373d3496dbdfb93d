"""Where scales of channels are free, however a network is spelled; any choice of them leaves what it computes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_graphsurgeon as gs
import pytest
from numpy.typing import NDArray

from bevel.calib.observe.observe import run_model, session_with_outputs
from bevel.passes.canonicalize import canonicalize, random_inputs
from bevel.passes.exchange.load import fix_batch, load
from bevel.passes.transform.flow import Flow, find_flow
from bevel.passes.transform.sites import apply_scales, find_sites

MODELS = Path(__file__).parents[3] / "models"
IMAGE, ROWS = "float[1,3,8,8] x", "float[5,8] x"
TOKENS = "float[1,6,8] x"
KERNEL = "kernel_shape = [3,3], pads = [1,1,1,1]"
HEADS = "int64[4] h, int64[3] j"
SHAPES = {"h": [1, 6, 2, 4], "j": [1, 6, 8]}
HEADED = (
    "q4 = Reshape (q, h)\n k4 = Reshape (k, h)\n v4 = Reshape (v, h)\n"
    "qt = Transpose <perm = [0,2,1,3]> (q4)\n kt = Transpose <perm = [0,2,3,1]> (k4)\n"
    "vt = Transpose <perm = [0,2,1,3]> (v4)\n"
)
PROJECTED = "q = MatMul (x, wq)\n k = MatMul (x, wk)\n v = MatMul (x, wv)\n"
MIXED = "s = MatMul (qt, kt)\n p = Softmax (s)\n a = MatMul (p, vt)\n t = Transpose <perm = [0,2,1,3]> (a)\n"
ATTENTION_WEIGHTS = f"float[8,8] wq, float[8,8] wk, float[8,8] wv, float[8,8] wo, {HEADS}"

# A body, its inputs and weights with values, and how many scales are free at each place.
FREE: dict[str, tuple[str, str, str, dict[str, Any], list[int]]] = {
    "two convolutions": (
        f"a = Conv <{KERNEL}> (x, w, b)\n r = Relu (a)\n y = Conv (r, v)",
        IMAGE,
        "float[7,3,3,3] w, float[7] b, float[4,7,1,1] v",
        {},
        [7],
    ),
    "without a bias, nothing between": (
        "a = Conv (x, w)\n y = Conv (a, v)",
        IMAGE,
        "float[7,3,3,3] w, float[4,7,1,1] v",
        {},
        [7],
    ),
    "a grouped convolution between": (
        f"a = Conv (x, w)\n r = Relu (a)\n g = Conv <group = 2, {KERNEL}> (r, u)\n s = Relu (g)\n y = Conv (s, v)",
        IMAGE,
        "float[8,3,1,1] w, float[6,4,3,3] u, float[4,6,1,1] v",
        {},
        [8, 6],
    ),
    "a depthwise convolution between": (
        f"a = Conv (x, w)\n r = Relu (a)\n g = Conv <group = 8, {KERNEL}> (r, u)\n s = Relu (g)\n y = Conv (s, v)",
        IMAGE,
        "float[8,3,1,1] w, float[8,1,3,3] u, float[4,8,1,1] v",
        {},
        [8, 8],
    ),
    "transposed convolutions": (
        "a = ConvTranspose <group = 3, strides = [2,2]> (x, w)\n r = Relu (a)\n y = ConvTranspose (r, v)",
        IMAGE,
        "float[3,2,2,2] w, float[6,4,2,2] v",
        {},
        [6],
    ),
    "products of rows": (
        "a = Gemm <transB = 1> (x, w, b)\n r = LeakyRelu (a)\n y = MatMul (r, v)",
        ROWS,
        "float[7,8] w, float[7] b, float[7,4] v",
        {},
        [7],
    ),
    "a product and its bias added behind": (
        "m = MatMul (x, w)\n a = Add (m, b)\n r = Relu (a)\n n = MatMul (r, v)\n y = Add (n, c)",
        TOKENS,
        "float[8,7] w, float[7] b, float[7,4] v, float[4] c",
        {},
        [7],
    ),
    "pixels in the last axis": (
        "t = Transpose <perm = [0,3,1,2]> (x)\n a = Conv (t, w)\n r = Relu (a)\n y = Conv (r, v)",
        "float[1,8,8,3] x",
        "float[7,3,3,3] w, float[4,7,1,1] v",
        {},
        [7],
    ),
    "pools, a mean and a product": (
        "a = Conv (x, w)\n r = Relu (a)\n m = MaxPool <kernel_shape = [2,2], strides = [2,2]> (r)\n"
        "p = GlobalAveragePool (m)\n f = Flatten (p)\n y = Gemm (f, v)",
        IMAGE,
        "float[7,3,3,3] w, float[7,4] v",
        {},
        [7],
    ),
    "positions flattened into a product": (
        "a = Conv <strides = [4,4]> (x, w)\n f = Flatten (a)\n y = Gemm (f, v)",
        IMAGE,
        "float[2,3,4,4] w, float[8,4] v",
        {},
        [2],
    ),
    "a residual sum": (
        f"a = Conv (x, w)\n b = Conv <{KERNEL}> (a, u)\n s = Add (a, b)\n r = Relu (s)\n y = Conv (r, v)",
        IMAGE,
        "float[7,3,1,1] w, float[7,7,3,3] u, float[4,7,1,1] v",
        {},
        [7],
    ),
    "branches that are put together": (
        "a = Conv (x, w)\n b = Conv (x, u)\n c = Concat <axis = 1> (a, b)\n r = Relu (c)\n y = Conv (r, v)",
        IMAGE,
        "float[3,3,1,1] w, float[2,3,1,1] u, float[4,5,1,1] v",
        {},
        [5],
    ),
    "a slope for each channel": (
        "a = Conv (x, w)\n r = PRelu (a, s)\n y = Conv (r, v)",
        IMAGE,
        "float[7,3,3,3] w, float[7,1,1] s, float[4,7,1,1] v",
        {},
        [7],
    ),
    "zeros padded apart": (
        "a = Conv (x, w)\n r = Relu (a)\n p = Pad (r, n)\n m = MaxPool <kernel_shape = [3,3]> (p)\n y = Conv (m, v)",
        IMAGE,
        "float[7,3,3,3] w, float[4,7,1,1] v, int64[8] n",
        {"n": [0, 0, 1, 1, 0, 0, 1, 1]},
        [7],
    ),
    "a normalization before a product": (
        "n = LayerNormalization (x, g, b)\n m = MatMul (n, w)\n y = Softmax (m)",
        TOKENS,
        "float[8] g, float[8] b, float[8,5] w",
        {},
        [8],
    ),
    "a normalization written out": (
        "q = Mul (x, x)\n m = ReduceMean <keepdims = 1> (q, a)\n e = Add (m, i)\n d = Sqrt (e)\n n = Div (x, d)\n"
        "g = Mul (n, k)\n p = MatMul (g, w)\n y = Softmax (p)",
        TOKENS,
        "int64[1] a, float i, float[8] k, float[8,5] w",
        {"a": [-1], "i": 1e-5},
        [8],
    ),
    "a normalization before three products": (
        "n = LayerNormalization (x, g)\n m = MatMul (n, w)\n o = MatMul (n, v)\n s = Sigmoid (m)\n y = Mul (s, o)",
        TOKENS,
        "float[8] g, float[8,5] w, float[8,5] v",
        {},
        [8],
    ),
    "a gate that bears no scale": (
        "m = MatMul (x, w)\n s = Sigmoid (m)\n u = MatMul (x, v)\n g = Mul (s, u)\n y = MatMul (g, o)",
        TOKENS,
        "float[8,5] w, float[8,5] v, float[5,8] o",
        {},
        [5],
    ),
    "queries, keys, values": (
        f"{PROJECTED}{HEADED}{MIXED}r = Reshape (t, j)\n y = MatMul (r, wo)",
        TOKENS,
        ATTENTION_WEIGHTS,
        SHAPES,
        [8, 8],
    ),
    "queries, keys, values of one product": (
        "m = MatMul (x, w)\n q, k, v = Split <axis = -1, num_outputs = 3> (m)\n"
        f"{HEADED}{MIXED}r = Reshape (t, j)\n y = MatMul (r, wo)",
        TOKENS,
        f"float[8,24] w, float[8,8] wo, {HEADS}",
        SHAPES,
        [8, 8],
    ),
    "a key for two heads of queries": (
        "q = MatMul (x, wq)\n k = MatMul (x, wk)\n q4 = Reshape (q, h)\n k4 = Reshape (k, i)\n"
        "qt = Transpose <perm = [0,2,1,3]> (q4)\n ke = Tile (k4, n)\n kt = Transpose <perm = [0,2,3,1]> (ke)\n"
        "y = MatMul (qt, kt)",
        TOKENS,
        "float[8,8] wq, float[8,4] wk, int64[4] h, int64[4] i, int64[4] n",
        {"h": [1, 6, 2, 4], "i": [1, 6, 1, 4], "n": [1, 1, 2, 1]},
        [4],
    ),
    "rotated pairs": (
        "q = MatMul (x, wq)\n k = MatMul (x, wk)\n"
        "q1, q2 = Split <axis = -1, num_outputs = 2> (q)\n nq = Neg (q2)\n rq = Concat <axis = -1> (nq, q1)\n"
        "k1, k2 = Split <axis = -1, num_outputs = 2> (k)\n nk = Neg (k2)\n rk = Concat <axis = -1> (nk, k1)\n"
        "a = Mul (q, c)\n b = Mul (rq, s)\n qq = Add (a, b)\n d = Mul (k, c)\n e = Mul (rk, s)\n kk = Add (d, e)\n"
        "kt = Transpose <perm = [0,2,1]> (kk)\n y = MatMul (qq, kt)",
        TOKENS,
        "float[8,8] wq, float[8,8] wk, float[6,8] c, float[6,8] s",
        {},
        [4],
    ),
    "gains one after the other, and a product between": (
        "m = Mul (x, g)\n a = Conv (m, w)\n r = Relu (m)\n n = Mul (r, h)\n b = Conv (n, v)\n y = Add (a, b)",
        IMAGE,
        "float[3,1,1] g, float[3,1,1] h, float[4,3,1,1] w, float[4,3,1,1] v",
        {},
        [3],
    ),
}

TWO = "float[7,3,1,1] w, float[4,7,1,1] v"
CLIPPED = "a = Conv (x, w)\n r = Clip (a, l, h)\n y = Conv (r, v)"
NOTHING: dict[str, tuple[str, str, str, dict[str, Any]]] = {
    "a clip to 6": (CLIPPED, IMAGE, f"{TWO}, float l, float h", {"h": 6}),
    "a sigmoid": ("a = Conv (x, w)\n r = Sigmoid (a)\n y = Conv (r, v)", IMAGE, TWO, {}),
    "a function behind a scalar": ("a = Conv (x, w)\n s = Add (a, k)\n y = Sigmoid (s)", IMAGE, f"{TWO}, float k", {}),
    "the model's output": ("y = Conv (x, w)\n r = Relu (y)\n z = Conv (r, v)", IMAGE, TWO, {}),
    "weights of two products": (
        "a = MatMul (x, w)\n r = Relu (a)\n b = MatMul (r, w)\n s = Relu (b)\n y = Sigmoid (s)",
        ROWS,
        "float[8,8] w",
        {},
    ),
    "ones padded": (
        "a = Conv (x, w)\n r = Relu (a)\n p = Pad (r, n, k)\n m = MaxPool <kernel_shape = [3,3]> (p)\n y = Conv (m, v)",
        IMAGE,
        f"{TWO}, int64[8] n, float k",
        {"n": [0, 0, 1, 1, 0, 0, 1, 1], "k": 1.0},
    ),
    "a mean of channels": (
        "a = Conv (x, w)\n r = Relu (a)\n m = ReduceMean <keepdims = 1> (r, n)\n y = Sub (r, m)",
        IMAGE,
        f"{TWO}, int64[1] n",
        {"n": [1]},
    ),
    "squares": ("a = Conv (x, w)\n r = Mul (a, a)\n y = Conv (r, v)", IMAGE, TWO, {}),
    "an input added": (
        "a = Conv (x, w)\n s = Add (a, z)\n y = Conv (s, v)",
        "float[1,3,8,8] x, float[1,7,8,8] z",
        TWO,
        {},
    ),
    "scores that leave": (
        "q = MatMul (x, w)\n t = Transpose <perm = [0,2,1]> (q)\n y = MatMul (q, t)",
        TOKENS,
        "float[8,4] w",
        {},
    ),
}


def canonical(text: Callable[..., onnx.ModelProto], case: tuple[Any, ...]) -> gs.Graph:
    body, inputs, weights, values = case[:4]
    outputs = "float[] y, float[] z" if " z = " in body else "float[] y"
    graph, _ = canonicalize(text(body, inputs, outputs, weights=weights, values=values))
    return graph


def at_random(flow: Flow, seed: int = 0) -> dict[int, float]:
    rng = np.random.default_rng(seed)
    return {scale: float(rng.uniform(-2, 2)) for site in find_sites(flow) for scale in site.scales}


def outputs_of(graph: gs.Graph) -> list[NDArray[Any]]:
    model = gs.export_onnx(graph)
    opened = session_with_outputs(model, names := [tensor.name for tensor in graph.outputs])
    found = [run_model(*opened, random_inputs(model, seed), seed) for seed in range(2)]
    return [one[name] for one in found for name in names]


def assert_preserved(graph: gs.Graph) -> int:
    """Whatever the scales. Returns how many there are."""
    wanted = outputs_of(graph)
    flow = find_flow(graph)
    logs = at_random(flow)
    apply_scales(flow, logs)
    for before, after in zip(wanted, outputs_of(graph), strict=True):
        # float32 sums of some hundred terms that were scaled by up to e**2
        np.testing.assert_allclose(after, before, rtol=0, atol=2e-5 * np.abs(before).max())
    return len(logs)


@pytest.mark.parametrize("name", FREE)
def test_scales_are_free_and_any_choice_of_them_leaves_the_function(text: Any, name: str) -> None:
    graph = canonical(text, FREE[name])
    found = sorted(len(site.scales) for site in find_sites(find_flow(graph)))
    assert found == sorted(FREE[name][4])
    assert assert_preserved(graph) == sum(found)


@pytest.mark.parametrize("name", NOTHING)
def test_no_scale_is_free(text: Any, name: str) -> None:
    graph = canonical(text, NOTHING[name])
    flow = find_flow(graph)
    assert [site.scales for site in find_sites(flow)] == []


@pytest.mark.parametrize("name", ["mlp", "mobilenet", "resnet8", "vit"])
def test_networks_compute_the_same_with_any_scales(name: str) -> None:
    graph, _ = canonicalize(fix_batch(load(MODELS / f"{name}.onnx", ()).model, 1, {}))
    free = assert_preserved(graph)
    assert (free == 0) == (name == "mobilenet")  # its Clips to 6 let none through


def test_what_blocks_scales_is_told_at_a_clip_and_at_shared_weights(text: Any) -> None:
    clip, shared = (
        find_flow(canonical(text, NOTHING[name])).blocked for name in ("a clip to 6", "weights of two products")
    )
    assert clip == [("r", "channels before it keep their scales: they have its bounds in common")]
    assert [node for node, _ in shared] == ["a", "b"]
