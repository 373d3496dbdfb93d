"""Streams, scores and shares of transformers that get int16: which may, and which are loud enough."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from bevel.calib.formats.format import INT16
from bevel.calib.observe.observe import observe
from bevel.passes.assign.assign_schemes import with_product_inputs
from bevel.passes.canonicalize import canonicalize
from bevel.passes.quantize import NodeFormat, QuantizeOptions, export
from bevel.passes.quantize.plan import make_plan
from bevel.passes.quantize.streams import FACTOR, find_streams, loudest, stream_format
from bevel.passes.quantize.widen_activations import Widened, widen_activations

WEIGHTS = "float[8,8] wq, float[8,8] wk, float[8,8] wv, float[8,8] wo, float[8] g, float[8] h, float c, float[8,3] w"
BLOCK = """
n = LayerNormalization (x, g, h)
q = MatMul (n, wq)
k = MatMul (n, wk)
v = MatMul (n, wv)
t = Transpose <perm = [0,2,1]> (k)
m = MatMul (q, t)
s = Mul (m, c)
p = Softmax (s)
a = MatMul (p, v)
o = MatMul (a, wo)
r = Add (x, o)
l = LayerNormalization (r, g, h)
y = MatMul (l, w)
"""
TOKENS = "float[1,5,8] x"
VALUES = {"g": np.ones(8), "h": np.zeros(8), "c": 4.0}


def planned(text: Any, body: str, weights: str = WEIGHTS) -> tuple[Any, list[set[str]]]:
    graph, _ = canonicalize(text(body, TOKENS, "float[] y", weights, VALUES))
    plan = make_plan(graph)
    return graph, [set(plan.ties[place]) for place in find_streams(plan, plan.ties)]


def test_streams_branches_factors_scores_and_shares_may_be_wide(text: Any) -> None:
    _, found = planned(text, BLOCK)
    members = set[str]().union(*found)
    assert {"s", "p", "o", "r", "q", "k", "t", "v"} <= members
    # the model's own ports, and what weights multiply
    assert not members & {"x", "n", "a", "l", "y"}


def test_factors_of_products_of_two_get_12_bits_but_for_shares(text: Any) -> None:
    graph, _ = canonicalize(text(BLOCK, TOKENS, "float[] y", WEIGHTS, VALUES))
    plan = make_plan(graph)
    formats = {name: stream_format(plan, group) for group in plan.ties for name in group}
    wide = {"q", "k", "t", "v", "q.product", "k.product", "v.product"}
    assert {name for name, format in formats.items() if format == FACTOR} == wide
    assert all(format == INT16 for name, format in formats.items() if name not in wide)


def test_network_without_products_of_two_has_no_streams(text: Any) -> None:
    body = "q = MatMul (x, wq)\n r = Add (x, q)\n l = LayerNormalization (r, g, h)\n y = MatMul (l, w)"
    assert planned(text, body, "float[8,8] wq, float[8] g, float[8] h, float[8,3] w")[1] == []


@pytest.mark.parametrize(
    ("noise", "rest", "wide"),
    [
        ({}, 1.0, []),
        ({3: 0.05, 5: 0.05}, 1.0, []),
        ({3: 0.05, 5: 0.06}, 1.0, [5]),
        ({3: 4.0, 5: 0.5, 7: 0.01, 9: 0.04}, 1.0, [3, 5]),
        ({3: 1.0, 5: 1.0}, 0.0, [3, 5]),
    ],
)
def test_the_loudest_go_until_a_tenth_of_the_rest_is_left(
    noise: dict[int, float], rest: float, wide: list[int]
) -> None:
    assert loudest(noise, rest) == wide


def samples(count: int) -> list[dict[str, Any]]:
    """Tokens of which one axis is far louder than the others, as residual streams have it."""
    rng = np.random.default_rng(0)
    gains = np.array([30, 1, 1, 1, 1, 1, 1, 1])
    return [{"x": (gains * rng.standard_normal((1, 5, 8))).astype(np.float32)} for _ in range(count)]


def test_what_is_widened_gains_what_the_note_says_and_no_product_by_weights_reads_int16(text: Any, stages: Any) -> None:
    body = f"e = MatMul (x, wq)\n f = Add (e, x)\n {BLOCK.replace('x,', 'f,')}"
    model, runs = text(body, TOKENS, "float[] y", WEIGHTS, VALUES), samples(16)
    graph, _ = canonicalize(model, runs[:1])
    options = QuantizeOptions()
    chosen, statistics = options.chosen, observe(export(graph), runs, options.wants(graph))
    found = widen_activations(graph, statistics, chosen.method, chosen, runs)
    assert "f" in found.nodes
    assert {one for one in found.nodes.values()} <= {NodeFormat(activations=one) for one in (INT16, FACTOR)}
    numbers = found.notes[0].numbers
    assert numbers["with_int16_db"] > numbers["all_int8_db"] + 1
    made = stages(model, runs, QuantizeOptions(nodes=found.nodes))
    products = [call.kernel for call in made.program.calls if type(call.kernel).__name__ in ("Gemm", "CodedConv")]
    assert products and all(one.operands()[0].dtype == "int8" for one in products)
    for run in made.extremes():
        made.run(run)


def test_what_is_asked_for_stays_as_asked(text: Any) -> None:
    model, runs = text(BLOCK, TOKENS, "float[] y", WEIGHTS, VALUES), samples(16)
    graph, _ = canonicalize(model, runs[:1])
    options = QuantizeOptions(activations=INT16)
    chosen, statistics = options.chosen, observe(export(graph), runs, options.wants(graph))
    assert widen_activations(graph, statistics, chosen.method, chosen, runs) == Widened()


def test_streams_are_widened_as_before_where_products_read_fewer_bits(text: Any) -> None:
    body = f"e = MatMul (x, wq)\n f = Add (e, x)\n {BLOCK.replace('x,', 'f,')}"
    model, runs = text(body, TOKENS, "float[] y", WEIGHTS, VALUES), samples(16)
    graph, _ = canonicalize(model, runs[:1])
    options = QuantizeOptions()
    chosen, statistics = options.chosen, observe(export(graph), runs, options.wants(graph))
    coarse = with_product_inputs(chosen, make_plan(graph), "int3")
    before, found = (widen_activations(graph, statistics, one.method, one, runs) for one in (chosen, coarse))
    assert before.nodes and before.nodes.keys() <= found.nodes.keys()
    assert not found.nodes.keys() & coarse.nodes.keys()
    numbers = found.notes[0].numbers
    assert numbers["with_int16_db"] > numbers["all_int8_db"] + 1
