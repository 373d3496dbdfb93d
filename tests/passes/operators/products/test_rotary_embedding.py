"""Rotary position embeddings are one operator however they are spelled, and nothing else is taken for one."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_graphsurgeon as gs
import pytest

from bevel.backends.program.ops.rotary_embedding import RotaryEmbedding
from bevel.passes.canonicalize import canonicalize
from bevel.passes.operators.base import Reason
from bevel.passes.operators.products.rotation import Rotation, find_rotation
from bevel.passes.quantize import QuantizeOptions
from bevel.passes.quantize.formats import activation_format

TOKENS, HEADS, WIDTH = 5, 3, 8
HALF = WIDTH // 2
ANGLES = np.outer(np.arange(1, TOKENS + 1), 10000.0 ** (-np.arange(HALF) / HALF))
COS, SIN = np.cos(ANGLES), np.sin(ANGLES)

BY_HEAD = f"float[1,{HEADS},{TOKENS},{WIDTH}] x"
BY_TOKEN = f"float[1,{TOKENS},{HEADS},{WIDTH}] x"
WHOLE = f"float[{TOKENS},{WIDTH}] c, float[{TOKENS},{WIDTH}] s"
PLACES = "int64[1] zero, int64[1] half, int64[1] end, int64[1] last, int64[1] two"
AT = {"zero": [0], "half": [HALF], "end": [2**31 - 1], "last": [-1], "two": [2]}
HALVES = {"c": np.tile(COS, 2), "s": np.tile(SIN, 2)} | AT
NEIGHBOURS = {"c": np.repeat(COS, 2, 1), "s": np.repeat(SIN, 2, 1)} | AT

TURNED = """a = Slice (x, zero, half, last)
b = Slice (x, half, end, last)
n = Neg (b)
t = Concat <axis = -1> (n, a)
u = Mul (x, c)
v = Mul (t, s)
y = Add (u, v)"""
FOUR = """ac = Mul (a, c)
bs = Mul (b, s)
as = Mul (a, s)
bc = Mul (b, c)
p = Sub (ac, bs)
q = Add (as, bc)
"""
# body, inputs, weights, their values, and the pairs: (outer, inner)
SPELLINGS: dict[str, tuple[str, str, str, dict[str, Any], tuple[int, int]]] = {
    "x * cos + rotate_half(x) * sin": (TURNED, BY_HEAD, f"{WHOLE}, {PLACES}", HALVES, (1, HALF)),
    "the negative by a product": (
        TURNED.replace("Neg (b)", "Mul (b, minus)"),
        BY_HEAD,
        f"{WHOLE}, {PLACES}, float minus",
        HALVES | {"minus": -1.0},
        (1, HALF),
    ),
    "halves, and four products": (
        f"a, b = Split <axis = -1, num_outputs = 2> (x)\n{FOUR}y = Concat <axis = -1> (p, q)",
        BY_HEAD,
        f"float[{TOKENS},{HALF}] c, float[{TOKENS},{HALF}] s",
        {"c": COS, "s": SIN},
        (1, HALF),
    ),
    "neighbours, split and squeezed": (
        f"""r = Reshape (x, split_shape)
        a5, b5 = Split <axis = -1, num_outputs = 2> (r)
        a = Squeeze (a5, last)
        b = Squeeze (b5, last)
        {FOUR}
        pu = Unsqueeze (p, last)
        qu = Unsqueeze (q, last)
        z = Concat <axis = -1> (pu, qu)
        y = Reshape (z, joined_shape)""",
        BY_TOKEN,
        f"float[{TOKENS},1,{HALF}] c, float[{TOKENS},1,{HALF}] s, int64[1] last, int64[5] split_shape, "
        "int64[4] joined_shape",
        {"c": COS[:, None], "s": SIN[:, None], "last": [-1], "split_shape": [0, 0, 0, HALF, 2]}
        | {"joined_shape": [0, 0, 0, WIDTH]},
        (1, 1),
    ),
    "neighbours by strided slices": (
        f"""a = Slice (x, zero, end, last, two)
        b = Slice (x, one, end, last, two)
        {FOUR}
        pu = Unsqueeze (p, last)
        qu = Unsqueeze (q, last)
        z = Concat <axis = -1> (pu, qu)
        y = Reshape (z, joined_shape)""",
        BY_HEAD,
        f"float[{TOKENS},{HALF}] c, float[{TOKENS},{HALF}] s, {PLACES}, int64[1] one, int64[4] joined_shape",
        {"c": COS, "s": SIN, "one": [1], "joined_shape": [0, 0, 0, WIDTH]} | AT,
        (HALF, 1),
    ),
    "x * cos + rotate_every_two(x) * sin": (
        """a = Slice (x, zero, end, last, two)
        b = Slice (x, one, end, last, two)
        n = Neg (b)
        nu = Unsqueeze (n, last)
        au = Unsqueeze (a, last)
        z = Concat <axis = -1> (nu, au)
        t = Reshape (z, joined_shape)
        u = Mul (x, c)
        v = Mul (t, s)
        y = Add (v, u)""",
        BY_HEAD,
        f"{WHOLE}, {PLACES}, int64[1] one, int64[4] joined_shape",
        NEIGHBOURS | {"one": [1], "joined_shape": [0, 0, 0, WIDTH]},
        (HALF, 1),
    ),
    "tables of angles": (
        f"""f = Mul (positions, frequencies)
        both = Concat <axis = -1> (f, f)
        c = Cos (both)
        s = Sin (both)
        {TURNED}""",
        BY_HEAD,
        f"float[{TOKENS},1] positions, float[1,{HALF}] frequencies, {PLACES}",
        {"positions": np.arange(TOKENS)[:, None] + 1.0, "frequencies": 10000.0 ** (-np.arange(HALF)[None] / HALF)} | AT,
        (1, HALF),
    ),
    "scaled": (
        TURNED,
        BY_HEAD,
        f"{WHOLE}, {PLACES}",
        HALVES | {"c": 1.3 * HALVES["c"], "s": 1.3 * HALVES["s"]},
        (1, HALF),
    ),
}


def rotations(graph: gs.Graph) -> list[Rotation | Reason]:
    return [found for node in graph.nodes if (found := find_rotation(node)) is not None]


@pytest.mark.parametrize("activations", ["int8", "int16"])
@pytest.mark.parametrize("name", SPELLINGS)
def test_every_spelling_is_one_operator(name: str, activations: str, text: Any, stages: Any) -> None:
    body, inputs, weights, values, pairs = SPELLINGS[name]
    model = text(body, inputs, "float[] y", weights, values)
    (found,) = rotations(canonicalize(model)[0])
    assert isinstance(found, Rotation) and (found.pairs.outer, found.pairs.inner) == pairs
    made = stages(model, None, QuantizeOptions(activations=activation_format(activations)))
    kernels = [call.kernel for call in made.program.calls]
    (kernel,) = [kernel for kernel in kernels if isinstance(kernel, RotaryEmbedding)]
    assert all(type(one).__name__ in ("RotaryEmbedding", "Transpose") for one in kernels)
    assert kernel.constant and np.prod(kernel.coefficient_shape) * kernel.n == TOKENS * WIDTH
    for sample in made.extremes():
        assert made.error(sample) <= 1


ONE = f"float[1,{HEADS},1,{WIDTH}] x"
TABLE = f"float[64,{HALF}] ct, float[64,{HALF}] st"
ROWS = {
    "of halves": (
        f"""cr = Gather (ct, at)
        sr = Gather (st, at)
        c = Concat <axis = -1> (cr, cr)
        s = Concat <axis = -1> (sr, sr)
        {TURNED}""",
        f"{ONE}, int64[1] at",
        f"{TABLE}, {PLACES}",
    ),
    "of pairs": (
        f"""c = Gather (ct, at)
        s = Gather (st, at)
        a, b = Split <axis = -1, num_outputs = 2> (x)
        {FOUR}
        y = Concat <axis = -1> (p, q)""",
        f"{ONE}, int32[1] at",
        TABLE,
    ),
}


@pytest.mark.parametrize("activations", ["int8", "int16"])
@pytest.mark.parametrize(("body", "inputs", "weights"), ROWS.values(), ids=ROWS)
def test_coefficients_may_be_rows_of_tables_at_a_position(
    body: str, inputs: str, weights: str, activations: str, text: Any, stages: Any
) -> None:
    angles = np.outer(np.arange(64), 100.0 ** (-np.arange(HALF) / HALF))
    values = {"ct": np.cos(angles), "st": np.sin(angles)} | AT
    model = text(body, inputs, "float[] y", weights, values)
    dtype = np.int32 if "int32" in inputs else np.int64
    rng = np.random.default_rng(0)
    samples = [
        {"x": rng.standard_normal((1, HEADS, 1, WIDTH)).astype(np.float32), "at": np.array([at], dtype)}
        for at in (0, 1, 33, 63)
    ]
    made = stages(model, samples, QuantizeOptions(activations=activation_format(activations)), inputs="float")
    (kernel,) = [call.kernel for call in made.program.calls if isinstance(call.kernel, RotaryEmbedding)]
    assert not kernel.constant
    assert "float32" not in {buffer.dtype for name, buffer in made.program.buffers.items() if name not in ("x", "y")}
    for sample in samples:
        made.run(sample)


OTHERS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "a gate beside a bias": ("u = Mul (x, c)\n v = Mul (x, s)\n y = Add (u, v)", f"{WHOLE}, {PLACES}", HALVES),
    "a sum of two tensors": (
        "z = Relu (x)\n u = Mul (x, c)\n v = Mul (z, s)\n y = Add (u, v)",
        f"{WHOLE}, {PLACES}",
        HALVES,
    ),
    "quarters are moved": (TURNED, f"{WHOLE}, {PLACES}", HALVES | {"half": [HALF // 2]}),
    "products of two activations": (
        TURNED.replace("Mul (t, s)", "Mul (t, r)").replace("u = ", "r = Sigmoid (x)\nu = "),
        f"{WHOLE}, {PLACES}",
        HALVES,
    ),
    "a difference": (TURNED.replace("y = Add (u, v)", "y = Sub (u, v)"), f"{WHOLE}, {PLACES}", HALVES),
}


@pytest.mark.parametrize(("body", "weights", "values"), OTHERS.values(), ids=OTHERS)
def test_other_sums_of_products_are_none(body: str, weights: str, values: dict[str, Any], text: Any) -> None:
    graph, _ = canonicalize(text(body, BY_HEAD, "float[] y", weights, values))
    assert rotations(graph) == []


def test_a_part_that_is_read_by_others_keeps_the_whole_as_it_is(text: Any) -> None:
    body = f"{TURNED}\n o = Relu (t)"
    graph, _ = canonicalize(text(body, BY_HEAD, "float[] y, float[] o", f"{WHOLE}, {PLACES}", HALVES))
    (found,) = rotations(graph)
    assert isinstance(found, Reason)
