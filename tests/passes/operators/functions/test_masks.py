"""Masks that are part of the Softmax behind them: which are, and that the integers keep to them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from bevel.backends.program.ops.softmax import Softmax, WideSoftmax
from bevel.passes.canonicalize import canonicalize
from bevel.passes.operators.base import Reason
from bevel.passes.operators.functions.masks import Masked, find_masked, prefix_of
from bevel.passes.quantize import QuantizeOptions
from bevel.passes.quantize.formats import activation_format

N = 6
CAUSAL = np.triu(np.ones((N, N), bool), 1)
FAR = np.where(CAUSAL, -1e9, 0.0)
SCORES = f"float[2,3,{N},{N}] x"


def matched(text: Any, body: str, weights: str, values: dict[str, Any], inputs: str = SCORES, more: str = "") -> Any:
    graph, _ = canonicalize(text(body, inputs, f"float[] y{more}", weights, values))
    return next(find_masked(node) for node in graph.nodes if node.op == "Softmax")


MATCHES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "added": ("m = Add (x, c)\n y = Softmax (m)", f"float[{N},{N}] c", {"c": FAR}),
    "subtracted": ("m = Sub (x, c)\n y = Softmax (m)", f"float[{N},{N}] c", {"c": -FAR}),
    "of a triangle": (
        "t = Trilu <upper = 1> (c, k)\n m = Add (x, t)\n y = Softmax (m)",
        f"float[{N},{N}] c, int64 k",
        {"c": np.full((N, N), -np.inf), "k": 1},
    ),
    "of positions": (
        """r = Unsqueeze (p, last)
        b = LessOrEqual (p, r)
        m = Where (b, x, c)
        y = Softmax (m)""",
        f"int64[{N}] p, int64[1] last, float c",
        {"p": np.arange(N), "last": [-1], "c": -65504.0},
    ),
    "expanded": (
        "e = Expand (b, s)\n m = Where (e, c, x)\n y = Softmax (m)",
        f"bool[{N},{N}] b, int64[4] s, float c",
        {"b": CAUSAL, "s": [2, 1, N, N], "c": -np.inf},
    ),
    "times and over a number": (
        "m = Add (x, c)\n d = Div (m, r)\n y = Softmax (d)",
        f"float[{N},{N}] c, float r",
        {"c": FAR, "r": 4.0},
    ),
}


@pytest.mark.parametrize(("body", "weights", "values"), MATCHES.values(), ids=MATCHES)
def test_every_spelling_keeps_the_same_elements(body: str, weights: str, values: dict[str, Any], text: Any) -> None:
    found = matched(text, body, weights, values)
    assert isinstance(found, Masked) and found.scores.name == "x"
    np.testing.assert_array_equal(np.broadcast_to(found.keep, (2, 3, N, N)), np.broadcast_to(~CAUSAL, (2, 3, N, N)))
    assert found.factor == (0.25 if "Div" in body else 1.0)


MISSES: dict[str, tuple[str, str, dict[str, Any], str]] = {
    "a bias": ("m = Add (x, c)\n y = Softmax (m)", f"float[{N},{N}] c", {"c": FAR / 1e7}, ""),
    "a bias beside": ("m = Add (x, c)\n y = Softmax (m)", f"float[{N},{N}] c", {"c": FAR + np.eye(N)}, ""),
    "added to everything": ("m = Add (x, c)\n y = Softmax (m)", "float c", {"c": 0.5}, ""),
    "the other way round": ("m = Sub (c, x)\n y = Softmax (m)", f"float[{N},{N}] c", {"c": FAR}, ""),
    "no Softmax of the sum": ("m = Add (x, c)\n s = Softmax (x)\n y = Add (m, s)", f"float[{N},{N}] c", {"c": FAR}, ""),
    "a negative factor": (
        "m = Add (x, c)\n d = Mul (m, r)\n y = Softmax (d)",
        f"float[{N},{N}] c, float r",
        {"c": FAR, "r": -4.0},
        "",
    ),
    "a small choice": (
        "m = Where (b, x, c)\n y = Softmax (m)",
        f"bool[{N},{N}] b, float c",
        {"b": CAUSAL, "c": -9.0},
        "",
    ),
    "read by others": (
        "m = Add (x, c)\n y = Softmax (m)\n z = Relu (m)",
        f"float[{N},{N}] c",
        {"c": FAR},
        ", float[] z",
    ),
    "computed for whole rows": ("m = Where (b, x, c)\n y = Softmax (m)", "float c", {"c": -1e9}, ""),
    "whole rows": ("m = Add (x, c)\n y = Softmax (m)", f"float[{N},1] c", {"c": FAR[:, 3:4]}, ""),
    "more than the scores": (
        "m = Add (x, c)\n y = Softmax (m)",
        f"float[4,1,1,{N},{N}] c",
        {"c": np.broadcast_to(FAR, (4, 1, 1, N, N))},
        "",
    ),
}
SPOKEN = {"read by others", "whole rows", "computed for whole rows", "more than the scores"}


@pytest.mark.parametrize("name", MISSES)
def test_what_is_no_such_mask_stays_as_it_is(name: str, text: Any) -> None:
    body, weights, values, more = MISSES[name]
    found = matched(text, body, weights, values, f"{SCORES}, bool[{N},1] b" if "computed" in name else SCORES, more)
    assert isinstance(found, Reason) if name in SPOKEN else found is None


@pytest.mark.parametrize("activations", ["int8", "int16"])
@pytest.mark.parametrize(
    ("middle", "inputs"),
    [
        ("m = Where (b, x, c)", f"{SCORES}, bool[1,1,{N},{N}] b"),
        ("m = Where (b, c, x)", f"{SCORES}, bool[2,1,1,{N}] b"),
        ("h = Greater (z, x)\n m = Where (h, x, c)", f"{SCORES}, float[2,1,1,1] z"),
    ],
)
def test_masks_that_are_computed_or_come_in_are_part_of_it(
    middle: str, inputs: str, activations: str, text: Any, stages: Any
) -> None:
    axis = 2 if "h =" in middle else -1  # of the keys, and of the queries
    model = text(f"{middle}\n y = Softmax <axis = {axis}> (m)", inputs, "float[] y", "float c", {"c": -1e9})
    rng = np.random.default_rng(0)
    samples = []
    for _ in range(3):
        sample: dict[str, Any] = {"x": rng.standard_normal((2, 3, N, N)).astype(np.float32)}
        for port in model.graph.input[1:]:
            shape = [dim.dim_value for dim in port.type.tensor_type.shape.dim]
            bools = port.type.tensor_type.elem_type == 9
            sample[port.name] = rng.random(shape) < 0.5 if bools else np.ones(shape, np.float32)
        samples.append(sample)
    made = stages(model, samples, QuantizeOptions(activations=activation_format(activations)), inputs="float")
    (kernel,) = [call.kernel for call in made.program.calls if isinstance(call.kernel, Softmax | WideSoftmax)]
    assert kernel.mask is not None and not kernel.mask.constant
    for sample in samples:
        made.run(sample)


@pytest.mark.parametrize("activations", ["int8", "int16"])
@pytest.mark.parametrize(("keep", "prefix"), [(~CAUSAL, True), (CAUSAL | np.eye(N, dtype=bool), False)])
def test_a_constant_mask_is_how_many_of_each_row_where_it_can_be(
    keep: Any, prefix: bool, activations: str, text: Any, stages: Any
) -> None:
    values = {"c": np.where(keep, 0.0, -1e9)}
    model = text("m = Add (x, c)\n y = Softmax (m)", SCORES, "float[] y", f"float[{N},{N}] c", values)
    made = stages(model, None, QuantizeOptions(activations=activation_format(activations)))
    (kernel,) = [call.kernel for call in made.program.calls if isinstance(call.kernel, Softmax | WideSoftmax)]
    assert kernel.mask is not None and kernel.mask.prefix is prefix
    assert kernel.mask.mask_shape == (1, 1, N)
    for sample in made.extremes():
        made.run(sample)


def test_only_masks_of_first_elements_are_numbers() -> None:
    assert prefix_of(~CAUSAL).tolist() == [1, 2, 3, 4, 5, 6]  # type: ignore[union-attr]
    assert prefix_of(CAUSAL) is None
