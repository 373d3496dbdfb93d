"""Step forms of quantized graphs: both are made integers on their own, and give the same bits."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import onnx
import onnx_graphsurgeon as gs
import pytest
from hypothesis import HealthCheck, event, given, reject, settings
from hypothesis import strategies as st
from step_forms import layers, model

from bevel.calib.data.dataset import open_dataset
from bevel.calib.errors import UserError
from bevel.calib.observe.observe import model_inputs, observe
from bevel.passes.base import Work
from bevel.passes.canonicalize import canonicalize
from bevel.passes.exchange.export import export
from bevel.passes.exchange.unpack_weights import unpack_weights
from bevel.passes.recipes import read
from bevel.passes.recipes.build import Recipe, build
from bevel.passes.states.pairs import states_of
from bevel.passes.step.derive import step_form
from bevel.passes.step.prove import EXACTLY, prove

WINDOWS = 4


def quantized(recipe: Recipe, full: onnx.ModelProto) -> Work:
    """The graph with quantizers."""
    (name, one), *_ = model_inputs(full).items()
    samples = np.random.default_rng(1).standard_normal((WINDOWS, *one.shape)).astype(np.float32)
    data = open_dataset({name: samples}, model_inputs(full))
    graph, _ = canonicalize(full)
    canonical = gs.export_onnx(graph)
    seen = observe(canonical, data, recipe.wants(graph))
    return recipe.run("quantize", recipe.run("assign", Work(graph, data=data, observations=seen)))


def copied(graph: gs.Graph) -> gs.Graph:
    copy = gs.import_onnx(export(graph))
    unpack_weights(copy)
    return copy


def integers(recipe: Recipe, work: Work) -> onnx.ModelProto:
    made = recipe.run("integerize", replace(work, graph=copied(work.graph)))
    return export(made.graph, made.ports, made.states)


def check(full: onnx.ModelProto, axis: int, **formats: str) -> None:
    recipe = build(read("int8"))
    for option, value in formats.items():
        recipe = recipe.with_option("assign-schemes", option, value, "here")
    work = quantized(recipe, full)
    form = step_form(copied(work.graph), "x", axis)
    whole = integers(recipe, work)
    step = integers(recipe, replace(work, graph=form.graph, states=form.states))
    shape = [dim.dim_value for dim in full.graph.input[0].type.tensor_type.shape.dim]
    windows = np.random.default_rng(2).standard_normal((WINDOWS, *shape)).astype(np.float32)
    proven = replace(form, states=states_of(step))
    assert prove(proven, whole, step, [{"x": one} for one in windows], EXACTLY) == WINDOWS


@pytest.mark.long
@settings(max_examples=25, suppress_health_check=[HealthCheck.too_slow])
@given(layers(), st.integers(24, 31), st.sampled_from(["int8", "int16", "int5"]))
def test_any_stack_of_layers_gives_the_same_integers(
    drawn: tuple[str, dict[str, Any]], length: int, activations: str
) -> None:
    body, weights = drawn
    full = model(f"float[1,2,{length}] x", "float[] y", body, **weights)
    try:
        canonicalize(full)
    except UserError:  # a layer has nothing left to read
        reject()
    try:
        check(full, 2, activations=activations)
    except UserError as error:
        event("refused")
        assert str(error).startswith("--step: ")


@pytest.mark.parametrize("activations", ["int8", "int16", "e2m1", "e4m3"])
def test_formats_of_every_kind_are_kept(activations: str) -> None:
    body = "a = Conv (x, v)\n b = Relu (a)\n c = Conv (b, w)\n y = ReduceMean <axes = [2]> (c)"
    check(model("float[1,3,14] x", "float[] y", body, v=(4, 3, 3), w=(4, 4, 3)), 2, activations=activations)


def test_columns_that_a_mean_gates_are_the_same_integers() -> None:
    body = "a = Conv <pads = [1, 1]> (x, v)\n g = ReduceMean <axes = [2]> (a)\n s = Sigmoid (g)\n y = Mul (a, s)"
    check(model("float[1,3,14] x", "float[] y", body, v=(4, 3, 3)), 2)


def test_blocks_have_no_step_form_yet() -> None:
    body = "a = Conv (x, v)\n b = Relu (a)\n y = Conv (b, w)"
    with pytest.raises(UserError, match="--step: b/round: RoundMx has no step form"):
        check(model("float[1,3,14] x", "float[] y", body, v=(4, 3, 3), w=(4, 4, 3)), 2, activations="mxint8")
