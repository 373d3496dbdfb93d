"""Tokens count by the attention that they get: which attention, how much, and that it shows in what is fitted."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_graphsurgeon as gs
import pytest

from bevel.calib.errors import UserError
from bevel.calib.observe.observe import observe
from bevel.passes.base import Work
from bevel.passes.canonicalize import canonicalize
from bevel.passes.quantize import QuantizeOptions
from bevel.passes.quantize.choose_rounders import RoundWeights
from bevel.passes.quantize.formats import weight_format
from bevel.passes.quantize.seen_rows import LEAST, importance
from bevel.passes.quantize.token_shares import token_shares

LAYER = """
  q{n} = MatMul ({x}, wq{n})
  k{n} = MatMul ({x}, wk{n})
  v{n} = MatMul ({x}, wv{n})
  t{n} = Transpose <perm = [0, 2, 1]> (k{n})
  s{n} = MatMul (q{n}, t{n})
  p{n} = Softmax (s{n})
  o{n} = MatMul (p{n}, v{n})
  r{n} = MatMul (o{n}, wr{n})
  {y} = Add (r{n}, {x})
"""
TWO = LAYER.format(n=0, x="x", y="h") + "  u = MatMul (h, wu)\n" + LAYER.format(n=1, x="u", y="z")
WEIGHTS = ", ".join(f"float[8,8] w{part}{n}" for n in (0, 1) for part in "qkvr") + ", float[8,8] wu"


def by_weights(graph: gs.Graph) -> dict[str, str]:
    """Of each product by a constant: the shares' node, by the name of its weights."""
    names = {node.name: node.inputs[1].name for node in graph.nodes if isinstance(node.inputs[-1], gs.Constant)}
    return {names[node]: shares for node, shares in token_shares(graph, names).items()}


def test_products_count_by_the_next_attention_that_reads_them_and_behind_the_last_by_the_last(text: Any) -> None:
    graph, _ = canonicalize(text(TWO, "float[1,5,8] x", outputs="float[1,5,8] z", weights=WEIGHTS))
    found = by_weights(graph)
    assert found == {
        **dict.fromkeys(("wq0", "wk0", "wv0"), "p0"),
        **dict.fromkeys(("wr0", "wu"), "p1"),
    } | dict.fromkeys(("wq1", "wk1", "wv1", "wr1"), "p1")


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ("h = MatMul (x, wu)\n z = Softmax (h)", "nobody multiplies by the shares"),
        (LAYER.format(n=0, x="x", y="h") + "  m = ReduceMean <keepdims = 0> (h, one)\n  z = MatMul (m, wu)", "pooled"),
    ],
)
def test_rows_that_are_no_tokens_count_alike(text: Any, body: str, why: str) -> None:
    weights = WEIGHTS + ", int64[1] one"
    graph, _ = canonicalize(text(body, "float[1,5,8] x", outputs="float[] z", weights=weights, values={"one": [1]}))
    assert "wu" not in by_weights(graph), why


def test_a_token_counts_by_what_all_others_give_it_up_to_what_most_get() -> None:
    shares = np.random.default_rng(0).random((2, 3, 200, 200)).astype(np.float32) ** 4
    shares[..., 0] = 50.0  # a sink
    counts = importance(shares)
    given = shares.sum(axis=(0, 1, 2))
    assert counts.mean() == pytest.approx(1, abs=1e-5) and counts.min() / counts.max() == pytest.approx(LEAST, rel=1e-4)
    assert (np.diff(counts[np.argsort(given)]) >= 0).all()
    assert counts[0] == counts[np.argsort(given)[-2]]
    np.testing.assert_array_equal(importance(np.ones((4, 7), np.float32)), np.ones(7))


def test_weights_are_fitted_to_tokens_that_get_attention(text: Any) -> None:
    """A product whose tokens are of two kinds that disagree: the codes are best for the kind that is looked at."""
    body = """
      l = ReduceSum (x, last)
      t = Transpose <perm = [0, 2, 1]> (l)
      s = MatMul (o, t)
      p = Softmax (s)
      v = MatMul (x, w)
      y = MatMul (p, v)"""
    values = {"last": [2], "o": np.ones((1, 6, 1))}
    weights = "int64[1] last, float[1,6,1] o, float[16,8] w"
    model = text(body, "float[1,6,16] x", outputs="float[1,6,8] y", weights=weights, values=values)
    rng = np.random.default_rng(3)
    mixed = rng.standard_normal((6, 16))
    runs = []
    for _ in range(32):
        tokens = rng.standard_normal((1, 6, 6)) @ mixed
        tokens -= tokens.mean(axis=2, keepdims=True)
        tokens[:, 0] = rng.standard_normal(16) + 1.0  # all others look at this one: its sum is the largest
        runs.append({"x": tokens.astype(np.float32)})
    graph, _ = canonicalize(model)
    options = QuantizeOptions(weights=weight_format("int2"))
    statistics = observe(gs.export_onnx(graph), runs, options.wants(graph))

    def error(importance: str) -> float:
        work = Work(graph, data=runs, observations=statistics, schemes=options.chosen)  # type: ignore[arg-type]
        (plan,) = (one for one in options.recipe.passes if one.name == "plan-scales")
        (codes,) = RoundWeights(rounding="gptq", corrected=False, importance=importance)(plan(work).work).work.codes
        change = codes.quantized.dequantize() - codes.weights.values
        looked = np.concatenate([run["x"][0, :1] for run in runs])
        return float(np.square(looked @ change).sum())

    assert error("attention") < 0.9 * error("alike")


def test_an_unknown_importance_is_refused() -> None:
    with pytest.raises(UserError, match="known are alike, attention"):
        RoundWeights(importance="loudness")
