"""Shares of attention as powers of two: which are, and that products by them shift, the same everywhere."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

from bevel.backends.program.ops.mat_mul import MatMul
from bevel.backends.program.ops.power_softmax import PowerSoftmax
from bevel.backends.program.ops.shift_mat_mul import ShiftMatMul
from bevel.backends.program.ops.softmax import Softmax, WideSoftmax
from bevel.calib.arithmetic.power_softmax import FORMAT
from bevel.passes.base import Work
from bevel.passes.canonicalize import canonicalize
from bevel.passes.quantize import QuantizeOptions
from bevel.passes.quantize.formats import activation_format
from bevel.passes.quantize.log_shares import LogShares

ATTENTION = "float[2,5,6] x, float[2,6,4] v"
LOG = QuantizeOptions(activations=activation_format(FORMAT.name))
MASK = {"c": np.where(np.triu(np.ones((5, 6), bool), 1), -1e9, 0.0)}


def worked(text: Any, body: str, inputs: str = ATTENTION, weights: str = "", outputs: str = "float[] y") -> Work:
    graph, _ = canonicalize(text(body, inputs, outputs, weights))
    return LogShares()(Work(graph)).work


@pytest.mark.parametrize(
    "body",
    [
        "s = Softmax (x)\n y = MatMul (s, v)",
        "s = Softmax (x)\n t = Transpose <perm = [0, 2, 1]> (s)\n y = MatMul (t, x)",
    ],
)
def test_shares_that_products_of_activations_alone_read_are_powers_of_two(body: str, text: Any) -> None:
    work = worked(text, body)
    assert [one.activations for one in work.schemes.nodes.values()] == [FORMAT]
    assert [note.kind for note in work.notes] == ["chosen"]


@pytest.mark.parametrize(
    ("body", "weights", "outputs", "why"),
    [
        ("y = Softmax (x)", "", "float[] y", "they leave the model"),
        ("s = Softmax (x)\n y = MatMul (s, v)", "", "float[] y, float[] s", "they leave the model"),
        ("s = Softmax (x)\n y = MatMul (s, w)", "float[6,3] w", "float[] y", "Gemm .* reads them"),
        ("s = Softmax (x)\n y = MatMul (w, s)", "float[3,5] w", "float[] y", "Conv .* reads them"),
        ("s = Softmax (x)\n p = MatMul (s, v)\n q = Sqrt (s)\n y = MatMul (q, v)", "", "float[] y, float[] p", "Sqrt"),
        ("s = Softmax (x)\n r = Reshape (s, k)\n y = Add (r, r)", "int64[1] k", "float[] y", "Add .* reads them"),
    ],
)
def test_others_stay_as_they_are(body: str, weights: str, outputs: str, why: str, text: Any) -> None:
    graph, _ = canonicalize(text(body, ATTENTION, outputs, weights, {"k": [60]} if "k" in weights else None))
    work = LogShares()(Work(graph)).work
    assert not work.schemes.nodes
    (note,) = work.notes
    assert note.kind == "stays"
    assert re.search(why, note.text)


@pytest.mark.parametrize("axis", ["", "<axis = 1>"])
def test_products_by_powers_of_two_shift_and_are_the_same_everywhere(axis: str, text: Any, stages: Any) -> None:
    model = text(f"s = Softmax {axis} (x)\n y = MatMul (s, v)", ATTENTION)
    made = stages(model, None, LOG)
    kinds = [type(call.kernel) for call in made.program.calls]
    assert PowerSoftmax in kinds and ShiftMatMul in kinds and not {MatMul, Softmax, WideSoftmax} & {*kinds}
    for sample in made.extremes():
        made.run(sample)


def test_rows_of_shares_bound_the_sums_and_columns_do_not(text: Any, stages: Any) -> None:
    bounds = []
    for axis in (-1, 1):
        made = stages(text(f"s = Softmax <axis = {axis}> (x)\n y = MatMul (s, v)", ATTENTION), None, LOG)
        (kernel,) = (call.kernel for call in made.program.calls if isinstance(call.kernel, ShiftMatMul))
        bounds.append(kernel.product.largest)
    assert bounds[0] < bounds[1]


@pytest.mark.parametrize("mask", ["m = Add (x, c)", "b = Less (c, z)\n m = Where (b, f, x)"])
def test_what_a_mask_bars_has_no_share(mask: str, text: Any, stages: Any) -> None:
    weights, values = "float[5,6] c, float z, float f", {**MASK, "z": -1.0, "f": -1e9}
    model = text(f"{mask}\n s = Softmax (m)\n y = MatMul (s, v)", ATTENTION, "float[] y", weights, values)
    made = stages(model, None, LOG)
    (kernel,) = (call.kernel for call in made.program.calls if isinstance(call.kernel, PowerSoftmax))
    assert kernel.mask is not None
    for sample in made.extremes():
        made.run(sample)


def test_powers_of_two_that_others_read_too_are_steps_for_them(text: Any, stages: Any) -> None:
    """A Transpose between: it moves steps, and the product multiplies them."""
    model = text("s = Softmax (x)\n t = Transpose <perm = [0, 2, 1]> (s)\n y = MatMul (t, x)", ATTENTION)
    made = stages(model, None, LOG)
    kinds = [type(call.kernel) for call in made.program.calls]
    assert PowerSoftmax in kinds and MatMul in kinds and ShiftMatMul not in kinds
    for sample in made.extremes():
        made.run(sample)


def test_a_softmax_of_shares_that_another_reads_stays_int8(text: Any, stages: Any) -> None:
    model = text("s = Softmax (x)\n t = Softmax <axis = 1> (s)\n y = MatMul (t, v)", ATTENTION)
    made = stages(model, None, LOG)
    kinds = [type(call.kernel) for call in made.program.calls]
    assert kinds.count(PowerSoftmax) == 1 and {Softmax, WideSoftmax} & {*kinds}
    for sample in made.extremes():
        made.run(sample)
