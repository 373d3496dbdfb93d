"""Which formats a recipe and the command line ask for: the model's inputs keep eight bits unless told otherwise."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bevel.calib.errors import UserError
from bevel.calib.observe.observe import observe
from bevel.passes.assign.assign_schemes import AssignSchemes
from bevel.passes.base import Work
from bevel.passes.canonicalize import canonicalize
from bevel.passes.exchange.export import export
from bevel.passes.quantize.plan_scales import PlanScales

BODY = "a = MatMul (x, w)\n y = MatMul (a, v)"
WEIGHTS = "float[8,8] w, float[8,3] v"


def planned(text: Any, body: str = BODY, **options: str) -> Work:
    runs = [{"x": np.random.default_rng(0).standard_normal((6, 8)).astype(np.float32)}]
    graph, _ = canonicalize(text(body, "float[6,8] x", "float[6,3] y", WEIGHTS), runs)
    plan = PlanScales()
    work = Work(graph, data=runs, observations=observe(export(graph), runs, plan.wants(graph)))
    return plan(AssignSchemes(**options)(work).work).work  # type: ignore[arg-type]


def format_of(work: Work, point: str) -> str:
    scales = work.plan.scales
    return (scales.blocks.get(point) or scales.quants[point].scheme.format).name


@pytest.mark.parametrize("activations", ["int4", "int7", "e2m1", "e4m3", "ternary", "mxfp4", "mxint8"])
def test_inputs_keep_eight_bits_where_activations_are_coarser(text: Any, activations: str) -> None:
    work = planned(text, activations=activations)
    assert format_of(work, "x") == "int8" and format_of(work, "a") == activations
    (note,) = (one for one in work.notes if one.pass_ == "assign-schemes")
    assert note.node == "x" and f"inputs of the model are not {activations}" in note.text


@pytest.mark.parametrize("activations", ["int8", "int12", "int16"])
def test_inputs_have_the_format_of_activations_that_are_no_coarser(text: Any, activations: str) -> None:
    work = planned(text, activations=activations)
    assert format_of(work, "x") == activations and not work.schemes.nodes


@pytest.mark.parametrize(("activations", "inputs"), [("int4", "int4"), ("int4", "int6"), ("int8", "int16")])
def test_inputs_have_the_format_that_is_asked_for(text: Any, activations: str, inputs: str) -> None:
    work = planned(text, activations=activations, input_format=inputs)
    assert format_of(work, "x") == inputs and format_of(work, "a") == activations


def test_a_file_that_names_an_input_is_obeyed(text: Any, tmp_path: Path) -> None:
    path = tmp_path / "formats.toml"
    path.write_text('[[node]]\nmatch = "x"\nactivations = "int5"\n')
    assert format_of(planned(text, activations="int4", file=str(path)), "x") == "int5"


def test_what_is_computed_from_an_input_has_the_format_of_activations(text: Any) -> None:
    work = planned(text, body="d = Tanh (x)\n a = MatMul (d, w)\n y = MatMul (a, v)", activations="int4")
    assert (format_of(work, "x"), format_of(work, "d")) == ("int8", "int4")


def test_states_are_results_of_the_run_before_and_no_inputs(text: Any) -> None:
    runs = [{"x": np.ones((6, 8), np.float32), "h": np.ones((6, 8), np.float32)}]
    body = "s = Add (x, h)\n k = MatMul (s, w)\n y = MatMul (k, v)"
    graph, _ = canonicalize(text(body, "float[6,8] x, float[6,8] h", "float[6,3] y, float[6,8] k", WEIGHTS), runs)
    work = AssignSchemes(activations="int4")(Work(graph, data=runs, states={"h": "k"})).work
    assert set(work.schemes.nodes) == {"x"}


def test_a_format_that_no_kernel_holds_is_refused() -> None:
    with pytest.raises(UserError, match="format e5m2"):
        AssignSchemes(input_format="e5m2")
