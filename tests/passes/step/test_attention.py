"""Decoders: keys and values are kept, rows of masks and tables are those of the position, and the step form is the full
one; what looks ahead is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnx_graphsurgeon as gs
import pytest
from step_forms import Forms, forms, model

from bevel.calib.errors import UserError
from bevel.passes.canonicalize.evaluate import open_session
from bevel.passes.step.prove import prove, run_steps

LENGTH, WIDTH, HEADS, DEPTH, WORDS = 7, 8, 2, 4, 11
BEHIND = np.triu(np.ones((LENGTH, LENGTH), bool), 1)
ADDED = np.where(BEHIND, -1e9, 0.0).astype(np.float32)
RNG = np.random.default_rng(5)

HEAD = """
    h = Gather (words, x)
    p = Add (h, places)
    q = MatMul (p, wq)
    k = MatMul (p, wk)
    v = MatMul (p, wv)
    q4 = Reshape (q, split)
    k4 = Reshape (k, split)
    v4 = Reshape (v, split)
    qt = Transpose <perm = [0, 2, 1, 3]> (q4)
    kt = Transpose <perm = [0, 2, 3, 1]> (k4)
    vt = Transpose <perm = [0, 2, 1, 3]> (v4)
"""
SCORES = """
    s = MatMul (qt, kt)
    f = Mul (s, scale)
"""
TAIL = """
    a = Softmax <axis = -1> (m)
    o = MatMul (a, vt)
    ot = Transpose <perm = [0, 2, 1, 3]> (o)
    o3 = Reshape (ot, join)
    r = Add (o3, h)
    y = MatMul (r, head)
"""
ADD = "m = Add (f, mask)"
TABLES: dict[str, Any] = {
    "words": RNG.standard_normal((WORDS, WIDTH)).astype(np.float32),
    "places": RNG.standard_normal((LENGTH, WIDTH)).astype(np.float32),
    "split": np.array([1, LENGTH, HEADS, DEPTH], np.int64),
    "join": np.array([1, LENGTH, WIDTH], np.int64),
    "scale": np.float32(0.5),
    "mask": ADDED,
    **{name: RNG.standard_normal((WIDTH, WIDTH)).astype(np.float32) for name in ("wq", "wk", "wv")},
    "head": RNG.standard_normal((WIDTH, WORDS)).astype(np.float32),
}
# Two heads of queries share one of keys and values.
TILED = "k5 = Reshape (k, one)\n k6 = Tile (k5, twice)\n k4 = Reshape (k6, split)"
EXPANDED = "v5 = Reshape (v, one)\n v6 = Expand (v5, wide)\n v4 = Reshape (v6, split)"
GROUPED = HEAD.replace("k4 = Reshape (k, split)", TILED).replace("v4 = Reshape (v, split)", EXPANDED)
GROUPS = {
    "one": np.array([1, LENGTH, 1, 1, DEPTH], np.int64),
    "twice": np.array([1, 1, 1, 2, 1], np.int64),
    "wide": np.array([1, LENGTH, 1, 2, DEPTH], np.int64),
    "wk": TABLES["wk"][:, :DEPTH],
    "wv": TABLES["wv"][:, :DEPTH],
}
SPELLINGS: dict[str, tuple[str, dict[str, Any]]] = {
    "a mask that is added": (ADD, {}),
    "a mask of four axes": (ADD, {"mask": ADDED[np.newaxis, np.newaxis]}),
    "a mask of infinities": (ADD, {"mask": np.where(BEHIND, -np.inf, 0.0).astype(np.float32)}),
    "a mask that is taken away": ("m = Sub (f, mask)", {"mask": -ADDED}),
    "a mask with a slope": (ADD, {"mask": (ADDED + 0.1 * np.arange(LENGTH)).astype(np.float32)}),
    "a mask that looks back two columns": (
        ADD,
        {"mask": np.where(BEHIND | np.tril(np.ones((LENGTH, LENGTH), bool), -3), -1e9, 0.0).astype(np.float32)},
    ),
    "scores where they are kept": ("m = Where (keep, f, low)", {"keep": ~BEHIND, "low": np.float32(-1e9)}),
    "scores but where they are barred": ("m = Where (barred, low, f)", {"barred": BEHIND, "low": np.float32(-65504)}),
}


def decoder(bars: str = ADD, start: str = HEAD, outputs: str = "float[] y", **tables: Any) -> onnx.ModelProto:
    body = f"{start}\n{SCORES}\n{bars}\n{TAIL}"
    used = {name: value for name, value in (TABLES | tables).items() if name in body}
    return model(f"int64[1,{LENGTH}] x", outputs, body, **used)


def windows() -> list[dict[str, np.ndarray]]:
    return [{"x": RNG.integers(0, WORDS, (1, LENGTH))} for _ in range(3)]


def states(found: Forms) -> dict[str, list[int]]:
    return {one.name: list(one.shape) for one in found.form.graph.inputs if one.name in found.form.states}


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_a_decoder_goes_token_by_token(spelling: str) -> None:
    mask, tables = SPELLINGS[spelling]
    found = forms(decoder(mask, **tables), 1)
    assert prove(found.form, found.full, found.step, windows()) == 3
    assert states(found) == {
        "position/past": [1, 1],
        "k.product/past": [LENGTH, WIDTH],
        "v.product/past": [LENGTH, WIDTH],
    }
    assert found.form.tick.period == 1 and found.form.results["y"].axis == 1
    assert not found.form.notes, "nothing is computed for the whole window"


def test_heads_that_share_keys_are_kept_once() -> None:
    found = forms(decoder(start=GROUPED, **GROUPS), 1)
    prove(found.form, found.full, found.step, windows())
    assert states(found)["k.product/past"] == states(found)["v.product/past"] == [LENGTH, DEPTH]


def test_nodes_of_a_step_have_the_size_of_one_token() -> None:
    found = forms(decoder(), 1)
    sizes = {one.name: list(one.outputs[0].shape) for one in found.form.graph.nodes}
    assert sizes["s"] == sizes["a"] == [1, HEADS, 1, LENGTH]
    assert sizes["o"] == [1, HEADS, 1, DEPTH] and sizes["y.rows"] == [1, WIDTH] and sizes["y"] == [1, WORDS]


def test_what_was_kept_before_a_reset_does_not_count() -> None:
    """Rows behind the position hold what they held: the mask bars them."""
    found = forms(decoder(), 1)
    (window, *_) = windows()
    opened, full = open_session(found.step), run_full(found, window)
    dirty = {one.name: np.full(one.shape, 7.0, np.float32) for one in opened.get_inputs() if "product" in one.name}
    kept = dirty | {"position/past": np.zeros((1, 1), np.int64)}
    names = [one.name for one in opened.get_outputs()]
    for place in range(LENGTH):
        given = {"x": window["x"][:, place : place + 1], **kept}
        outputs = dict(zip(names, opened.run(names, given), strict=True))
        kept = {into: outputs[out] for into, out in found.form.states.items()}
        np.testing.assert_allclose(outputs["y"][:, 0], full[:, place], rtol=1e-5, atol=1e-5)  # sums of another order


def run_full(found: Forms, window: dict[str, np.ndarray]) -> np.ndarray:
    return np.asarray(open_session(found.full).run(["y"], window)[0])


def test_the_position_stays_at_the_last_row() -> None:
    found = forms(decoder(), 1)
    opened = open_session(found.step)
    zeros = {"position/past": np.full((1, 1), LENGTH - 1)}
    kept = {one.name: np.zeros(one.shape, np.float32) for one in opened.get_inputs() if "product" in one.name} | zeros
    out = found.form.states["position/past"]
    (after,) = opened.run([out], {"x": np.array([[3]]), **kept})
    assert after.tolist() == [[LENGTH - 1]]


LOOKS_AHEAD = {
    "no mask": ("m = Mul (f, scale)", {}),
    "a mask of one column too many": (ADD, {"mask": np.where(np.triu(BEHIND, 2), -1e9, 0.0).astype(np.float32)}),
    "a mask that is too low a wall": (ADD, {"mask": np.where(BEHIND, -50.0, 0.0).astype(np.float32)}),
    "a mask of what came before": (ADD, {"mask": ADDED.T}),
    "a mask that is the same in all rows": (ADD, {"mask": ADDED[:1]}),
    "scores where they are kept, else zero": ("m = Where (keep, f, low)", {"keep": ~BEHIND, "low": np.float32(0)}),
}


@pytest.mark.parametrize("case", LOOKS_AHEAD)
def test_what_looks_ahead_is_refused(case: str) -> None:
    mask, tables = LOOKS_AHEAD[case]
    with pytest.raises(UserError, match=r"--step: a: its scores are of columns that have not come"):
        forms(decoder(mask, **tables), 1)


SUM = "o = MatMul (a, vt)\n y = Relu (o)"
SHARES = {
    "by a Softmax": "a = Softmax <axis = -1> (m)",
    "by a Relu": "a = Relu (m)",
    "by a Softmax, scaled": "z = Softmax <axis = -1> (m)\n a = Mul (z, half)",
    "by a Softmax of half": "z = Div (m, two)\n a = Softmax <axis = -1> (z)",
    "by a Softmax, barred again": "z = Softmax <axis = -1> (m)\n a = Where (keep, z, none)",
    "by a Softmax, of scores above a floor": "z = Max (m, floor)\n a = Softmax <axis = -1> (z)",
    "by a Softmax, of scores within bounds": "z = Clip (m, floor, half)\n a = Softmax <axis = -1> (z)",
    "by a Softmax, of scores barred twice": "z = Where (seen, m, floor)\n a = Softmax <axis = -1> (z)",
    "by a Softmax, within bounds": "z = Softmax <axis = -1> (m)\n a = Clip (z, none, half)",
}
NO_SHARES = {
    "more than a Softmax": "z = Softmax <axis = -1> (m)\n a = Add (z, half)",
    "scores themselves": "a = Mul (m, half)",
    "a Relu of the opposite": "z = Neg (m)\n a = Relu (z)",
    "what a product turns around": "z = Mul (m, less)\n a = Sigmoid (z)",
    "what a difference turns around": "z = Sub (half, m)\n a = Relu (z)",
    "scores above a floor that counts": "z = Max (m, less)\n a = Sigmoid (z)",
    "scores within bounds that count": "z = Clip (m, less)\n a = Sigmoid (z)",
    "a choice of what counts": "z = Where (seen, m, less)\n a = Sigmoid (z)",
    "shares that are divided by": "z = Softmax <axis = -1> (m)\n a = Div (half, z)",
    "shares of something at least": "z = Softmax <axis = -1> (m)\n a = Clip (z, half)",
    "a mask of ones": "z = Softmax <axis = -1> (m)\n a = Where (keep, z, half)",
}
NUMBERS = {"half": np.float32(0.5), "two": np.float32(2), "less": np.float32(-1), "none": np.float32(0)}
NUMBERS |= {"floor": np.float32(-3e38), "seen": np.arange(LENGTH) < 2}


def attention(shares: str) -> onnx.ModelProto:
    body = f"{HEAD}\n{SCORES}\n{ADD}\n{shares}\n{SUM}"
    used = {name: value for name, value in (TABLES | NUMBERS | {"keep": ~BEHIND}).items() if name in body}
    return model(f"int64[1,{LENGTH}] x", "float[] y", body, **used)


@pytest.mark.parametrize("case", SHARES)
def test_shares_that_are_nothing_of_what_has_not_come_are_summed(case: str) -> None:
    found = forms(attention(SHARES[case]), 1)
    assert prove(found.form, found.full, found.step, windows()) == 3 and not found.form.notes


@pytest.mark.parametrize("case", NO_SHARES)
def test_sums_of_what_has_not_come_are_refused_though_there_is_a_mask(case: str) -> None:
    with pytest.raises(UserError, match="--step: o: it sums over columns that have not come"):
        forms(attention(NO_SHARES[case]), 1)


@pytest.mark.parametrize("shares", ["a = Softmax <axis = -1> (m)", "a = Identity (m)"])
def test_shares_of_a_table_are_summed_and_scores_are_not(shares: str) -> None:
    body = f"{HEAD}\n{SCORES}\n{ADD}\n{shares}\n y = MatMul (a, rows)"
    rows = RNG.standard_normal((1, HEADS, LENGTH, 5)).astype(np.float32)
    used = {name: value for name, value in TABLES.items() if name in body}
    full = model(f"int64[1,{LENGTH}] x", "float[] y", body, **used, rows=rows)
    if "Identity" in shares:
        with pytest.raises(UserError, match="--step: y: it sums over columns that have not come"):
            forms(full, 1)
    else:
        found = forms(full, 1)
        assert prove(found.form, found.full, found.step, windows()) == 3


def test_scores_that_come_out_unmasked_are_refused() -> None:
    with pytest.raises(UserError, match=r"--step: f: its scores are of columns that have not come"):
        forms(decoder(outputs="float[] y, float[] f"), 1)


def test_shares_may_come_out() -> None:
    found = forms(decoder(outputs="float[] y, float[] a"), 1)
    assert prove(found.form, found.full, found.step, windows()) == 3
    assert found.form.results["a"].axis == 2


def test_scores_that_are_normalised_over_queries_are_refused() -> None:
    text = decoder()
    (softmax,) = [node for node in text.graph.node if node.op_type == "Softmax"]
    softmax.attribute[0].i = 2
    with pytest.raises(UserError, match="--step: a: its Softmax is over all columns"):
        forms(text, 1)


def test_two_encoders_of_one_token_each_are_no_attention() -> None:
    """What multiplies columns by columns without time in the product is computed for the window."""
    body = "a = MatMul (x, w)\n b = Transpose <perm = [0, 2, 1]> (a)\n g = MatMul (b, a)\n y = Relu (g)"
    found = forms(model("float[1,6,4] x", "float[] y", body, w=(4, 3)), 1)
    assert {note.node for note in found.form.notes} >= {"g"}
    sample = {"x": RNG.integers(-3, 4, (1, 6, 4)).astype(np.float32)}
    given = run_steps(found.form, open_session(found.step), sample)["y"]
    np.testing.assert_array_equal(given, open_session(found.full).run(["y"], sample)[0])


def test_a_table_of_places_alone_needs_no_attention() -> None:
    body = "h = Gather (words, x)\n p = Add (h, places)\n y = MatMul (p, head)"
    tables = {name: TABLES[name] for name in ("words", "places", "head")}
    found = forms(model(f"int64[1,{LENGTH}] x", "float[] y", body, **tables), 1)
    prove(found.form, found.full, found.step, windows())
    assert states(found) == {"position/past": [1, 1]}


def test_rows_of_places_before_a_mean_over_time_are_refused() -> None:
    body = "h = Gather (words, x)\n p = Add (h, places)\n g = ReduceMean <axes = [1]> (p)\n y = Relu (g)"
    tables = {name: TABLES[name] for name in ("words", "places")}
    with pytest.raises(UserError, match="what node p gives depends on where the sequence begins"):
        forms(model(f"int64[1,{LENGTH}] x", "float[] y", body, **tables), 1)


def test_a_step_form_is_a_valid_model() -> None:
    found = forms(decoder(), 1)
    onnx.checker.check_model(found.step)
    assert isinstance(found.form.graph, gs.Graph)
