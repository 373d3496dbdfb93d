"""Keys that lie around values far from 0 are centred, wherever they are made, as shares do not feel it; and what makes
more of the scores than shares keeps them as they are."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest

from bevel.calib.data.dataset import random_dataset
from bevel.calib.observe.observe import model_inputs
from bevel.passes.base import PassResult, Work
from bevel.passes.canonicalize import canonicalize
from bevel.passes.transform.center_keys import CenterKeys

FAR = np.array([-9.0, 9, 0, 0, -9, 9, 0, 0])
TOKENS = "float[1,6,8] x"
PROJECTED = "q = MatMul (x, wq)\n m = MatMul (x, wk)\n k = Add (m, b)\n "
MATRICES = "float[8,8] wq, float[8,8] wk, float[8] b"
SCORED = f"{PROJECTED} t = Transpose <perm = [0,2,1]> (k)\n s = MatMul (q, t)\n "
SPLIT_HEADS = (
    "q4 = Reshape (q, h)\n qt = Transpose <perm = [0,2,1,3]> (q4)\n k4 = Reshape (@, h)\n"
    " kt = Transpose <perm = [0,2,3,1]> (k4)\n s = MatMul (qt, kt)\n "
)
HEADS = ("int64[4] h", {"h": [1, 6, 2, 4]})
MERGED = (
    "m = MatMul (x, w)\n a = Add (m, b3)\n q, k, v = Split <axis = -1, num_outputs = 3> (a)\n"
    " t = Transpose <perm = [0,2,1]> (k)\n s = MatMul (q, t)\n p = Softmax (s)\n y = MatMul (p, v)"
)
LOWER = np.triu(np.full((6, 6), -1e9), 1)

# body, further weights, their values
CENTRED: dict[str, tuple[str, str, dict[str, Any]]] = {
    "one head": (f"{SCORED} y = Softmax (s)", MATRICES, {}),
    "a factor, a mask, and logarithms": (
        f"{SCORED} f = Mul (s, c)\n a = Add (f, m1)\n y = LogSoftmax (a)",
        f"{MATRICES}, float c, float[6,6] m1",
        {"c": 0.5, "m1": LOWER},
    ),
    "a choice of what is barred": (
        f"{SCORED} a = Where (bars, low, s)\n y = Softmax (a)",
        f"{MATRICES}, bool[6,6] bars, float low",
        {"bars": LOWER < 0, "low": -np.inf},
    ),
    "heads": (
        f"{PROJECTED}{SPLIT_HEADS.replace('@', 'k')} y = Softmax (s)",
        f"{MATRICES}, {HEADS[0]}",
        HEADS[1],
    ),
    "heads that share keys": (
        f"{PROJECTED} k2 = MatMul (k, half)\n k5 = Reshape (k2, shared)\n k6 = Tile (k5, twice)\n"
        f" {SPLIT_HEADS.replace('@', 'k6')} y = Softmax (s)",
        f"{MATRICES}, {HEADS[0]}, float[8,4] half, int64[4] shared, int64[4] twice",
        HEADS[1] | {"shared": [1, 6, 1, 4], "twice": [1, 1, 2, 1]},
    ),
    "queries, keys and values in one product": (MERGED, "float[8,24] w, float[24] b3", {"b3": np.tile(FAR, 3)}),
}
ELSEWHERE = {
    "behind a rotation": (
        f"{PROJECTED} c = Mul (k, cosines)\n o = Neg (k)\n d = Mul (o, sines)\n e = Add (c, d)\n"
        " t = Transpose <perm = [0,2,1]> (e)\n s = MatMul (q, t)\n y = Softmax (s)",
        f"{MATRICES}, float[1,6,1] cosines, float[1,6,1] sines",
        {"cosines": np.cos(np.arange(6) / 10).reshape(1, 6, 1), "sines": np.sin(np.arange(6) / 10).reshape(1, 6, 1)},
    ),
    "behind a function": (
        f"{PROJECTED} e = Abs (k)\n t = Transpose <perm = [0,2,1]> (e)\n s = MatMul (q, t)\n y = Softmax (s)",
        MATRICES,
        {},
    ),
}
LEFT: dict[str, tuple[str, str, dict[str, Any]]] = {
    "shares along queries": (f"{SCORED} y = Softmax <axis = -2> (s)", MATRICES, {}),
    "scores that leave": (f"{SCORED.replace('s =', 'z =')} y = Softmax (z)", MATRICES, {}),
    "scores that something else reads": (f"{SCORED} p = Softmax (s)\n g = Tanh (s)\n y = Mul (p, g)", MATRICES, {}),
    "a function of scores": (f"{SCORED} g = Tanh (s)\n y = Softmax (g)", MATRICES, {}),
    "a factor for each key": (
        f"{SCORED} g = Mul (s, each)\n y = Softmax (g)",
        f"{MATRICES}, float[6] each",
        {"each": np.arange(1.0, 7)},
    ),
    "what divides": (f"{SCORED} g = Div (c, s)\n y = Softmax (g)", f"{MATRICES}, float c", {"c": 1.0}),
    "a choice of what counts": (
        f"{SCORED} a = Where (bars, low, s)\n y = Softmax (a)",
        f"{MATRICES}, bool[6,6] bars, float low",
        {"bars": LOWER < 0, "low": 0.0},
    ),
    "keys that leave": (f"{SCORED.replace('k =', 'z =').replace('(k)', '(z)')} y = Softmax (s)", MATRICES, {}),
    "keys that are values": (f"{SCORED} p = Softmax (s)\n y = MatMul (p, k)", MATRICES, {}),
    "keys around zero": (f"{SCORED} y = Softmax (s)", MATRICES, {"b": np.zeros(8)}),
    "keys that come in": ("t = Transpose <perm = [0,2,1]> (x)\n s = MatMul (x, t)\n y = Softmax (s)", "", {}),
}


def centred(text: Any, case: tuple[str, str, dict[str, Any]]) -> tuple[PassResult, set[str]]:
    """The result, and the nodes that there were before."""
    body, weights, values = case
    outputs = "float[] y, float[] z" if "z = " in body else "float[] y"
    model: onnx.ModelProto = text(body, TOKENS, outputs, weights=weights, values={"b": FAR, **values})
    graph, _ = canonicalize(model)
    names = {node.name for node in graph.nodes}
    return CenterKeys()(Work(graph, data=random_dataset(model_inputs(model), 6, seed=0))), names


@pytest.mark.parametrize("name", CENTRED)
def test_a_bias_takes_it_up_where_there_can_be_one(text: Any, name: str) -> None:
    result, before = centred(text, CENTRED[name])
    assert result.modified and {node.name for node in result.graph.nodes} == before
    (told,) = result.work.transforms
    assert (told.sites, told.operations) == (1, 0)
    assert told.relative < 1e-5  # float32 sums of tens of terms; another function is off by 1e-2
    (note,) = [note for note in result.notes if "keys centred" in note.text]
    assert note.numbers["predicted_db"] > 1


@pytest.mark.parametrize("name", ELSEWHERE)
def test_elsewhere_it_is_added_to_the_keys_which_keep_their_name(text: Any, name: str) -> None:
    result, before = centred(text, ELSEWHERE[name])
    (told,) = result.work.transforms
    assert (len(result.graph.nodes), told.operations, told.relative < 1e-5) == (len(before) + 1, 48, True)
    (added,) = [node for node in result.graph.nodes if node.inputs[-1].name.endswith("/middle")]
    assert added.op == "Add" and added.name in before, "a cache is known by this name"


@pytest.mark.parametrize("name", LEFT)
def test_keys_are_left(text: Any, name: str) -> None:
    result, _ = centred(text, LEFT[name])
    assert not result.modified
    assert not [note for note in result.notes if note.kind == "refused"], "nothing that had to be undone"


def test_values_beside_keys_in_one_bias_stay(text: Any) -> None:
    result, _ = centred(text, CENTRED["queries, keys and values in one product"])
    (bias,) = [node.inputs[2].values for node in result.graph.nodes if node.op == "Gemm" and len(node.inputs) > 2]
    assert np.array_equal(bias[:8], FAR.astype(np.float32)) and np.array_equal(bias[16:], FAR.astype(np.float32))
    assert np.abs(bias[8:16]).max() < 5
