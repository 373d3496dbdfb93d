"""`--transform`: names are found and refused, `auto` keeps what helps by far and says what it tried."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_graphsurgeon as gs
import pytest

from bevel.backends import target as targets
from bevel.calib.data.dataset import open_dataset
from bevel.calib.errors import UserError
from bevel.calib.observe.observe import model_inputs, observe
from bevel.passes.base import Note, Work
from bevel.passes.canonicalize import canonicalize
from bevel.passes.recipes import read
from bevel.passes.recipes.build import Recipe, build
from bevel.tools.run.transform_trial import Left, rounder_of
from bevel.tools.run.transforms import (
    GROUPS,
    LEVELLED_FEW,
    Gain,
    is_narrow,
    parsed,
    possible,
    split,
    told,
    transform,
)

STREAM = targets.load("artix7-35")
RNG = np.random.default_rng(5)
GAIN = np.array([1, 1, 200, 1, 1, 1, 1, 1.0])
WEIGHTS = RNG.standard_normal((8, 5)) / GAIN[:, None]


def work_of(gain: np.ndarray, weights: np.ndarray) -> Work:
    body = "n = LayerNormalization (x, g)\n y = MatMul (n, w)"
    header = '<ir_version: 10, opset_import: ["" : 21]>'
    model = onnx.parser.parse_model(
        f"{header}\ng (float[1,6,8] x, float[8] g, float[8,5] w) => (float[1,6,5] y) {{{body}}}"
    )
    del model.graph.input[1:]
    for name, values in (("g", gain), ("w", weights)):
        model.graph.initializer.append(onnx.numpy_helper.from_array(values.astype(np.float32), name))
    graph, _ = canonicalize(model)
    samples = open_dataset({"x": RNG.standard_normal((48, 6, 8)).astype(np.float32)}, model_inputs(model))
    return Work(graph, data=samples)


@pytest.fixture
def recipe() -> Recipe:
    return build(read("int8"))


def quiet(done: int, total: int) -> None:
    assert done <= total


def test_names_are_listed_where_one_is_unknown() -> None:
    assert parsed("smooth, smooth-keys") == ("smooth", "smooth-keys")
    assert parsed("auto") == parsed("none") == ()
    with pytest.raises(UserError, match=r"no transform 'smoth'; known are auto, none, .*smooth"):
        parsed("smoth")
    with pytest.raises(UserError, match="no transform 'auto'"):
        parsed("auto,smooth")


def test_auto_keeps_what_helps_and_says_by_how_much(recipe: Recipe) -> None:
    found, _ = transform("auto", recipe, work_of(GAIN, WEIGHTS), False, quiet)
    assert [one.transform for one in found.transforms] == ["smooth"]
    (note,) = (note for note in found.notes if note.pass_ == "transform")
    assert note.kind == "chosen" and note.numbers["with_db"] > note.numbers["without_db"] + 3
    assert "24 held-out samples" in note.text


def test_auto_leaves_a_flat_network_and_none_and_random_data_try_nothing(recipe: Recipe) -> None:
    assert transform("auto", recipe, work_of(np.ones(8), WEIGHTS), False, quiet)[0].transforms == ()
    assert transform("none", recipe, work_of(GAIN, WEIGHTS), False, quiet)[0].notes == ()
    (note,) = transform("auto", recipe, work_of(GAIN, WEIGHTS), True, quiet)[0].notes
    assert "random" in note.text


def test_a_named_transform_is_taken_whether_it_helps_or_not(recipe: Recipe) -> None:
    found, seen = transform("smooth", recipe, work_of(GAIN, WEIGHTS), False, quiet)
    assert [one.transform for one in found.transforms] == ["smooth"] and seen is None


def test_what_a_search_observed_is_not_observed_again(recipe: Recipe) -> None:
    work, seen = transform("auto", recipe, work_of(GAIN, WEIGHTS), False, quiet)
    model, wants = gs.export_onnx(work.graph), recipe.wants(work.graph)
    assert seen is not None
    walked: list[tuple[int, int]] = []
    found = observe(model, work.samples, wants, lambda *done: walked.append(done), known=seen)
    assert found == observe(model, work.samples, wants)
    assert walked[-1] == (len(work.samples) - len(seen.runs),) * 2


def test_choosing_and_observing_share_no_sample_but_the_only_one() -> None:
    for total in (2, 3, 7, 64, 500):
        seen, held = split(list(range(total)))  # type: ignore[arg-type]
        assert not set(seen.places) & set(held.places)  # type: ignore[attr-defined]
        assert len(set(held.places)) == min(96, total // 2)  # type: ignore[attr-defined]
    one = [0]
    assert split(one) == (one, one)  # type: ignore[arg-type]


def narrow_work() -> Work:
    """Two products with a depthwise one between, whose channels reach unequally far."""
    body = "c = Conv (x, w)\n r = Relu (c)\n d = Conv <group = 6> (r, v)"
    body += "\n p = ReduceMean <keepdims = 0> (d, axes)\n y = Softmax (p)"
    inputs = "float[1,3,8,8] x, float[6,3,1,1] w, float[6,1,3,3] v, int64[2] axes"
    header = '<ir_version: 10, opset_import: ["" : 21]>'
    model = onnx.parser.parse_model(f"{header}\ng ({inputs}) => (float[1,6] y) {{{body}}}")
    del model.graph.input[1:]
    unlike = RNG.standard_normal((6, 3, 1, 1)) * np.geomspace(0.1, 10, 6).reshape(-1, 1, 1, 1)
    alike = RNG.standard_normal((6, 1, 3, 3)) / np.geomspace(0.1, 10, 6).reshape(-1, 1, 1, 1)
    for name, values in (("w", unlike), ("v", alike)):
        model.graph.initializer.append(onnx.numpy_helper.from_array(values.astype(np.float32), name))
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array([2, 3]), "axes"))
    graph, _ = canonicalize(model)
    samples = open_dataset({"x": RNG.standard_normal((64, 1, 3, 8, 8)).astype(np.float32)}, model_inputs(model))
    return Work(graph, data=samples)


def first_tried(recipe: Recipe, weights: str, products: str) -> tuple[list[str], Note]:
    """The transforms that a network of unlike channels is left with, and what is noted of the first that was tried."""
    asked = recipe.with_option("assign-schemes", "weights", weights, "a test")
    asked = asked.with_option("assign-schemes", "product_inputs", products, "a test")
    found, _ = transform("auto", asked, narrow_work(), False, quiet)
    return [one.transform for one in found.transforms], next(one for one in found.notes if one.pass_ == "transform")


@pytest.mark.parametrize(("weights", "products"), [("int8", "int8"), ("int8", "int4"), ("int4", "int4")])
def test_channels_are_levelled_first(recipe: Recipe, weights: str, products: str) -> None:
    taken, note = first_tried(recipe, weights, products)
    assert taken[0] == "level-channels" and "level-channels: kept" in note.text
    assert note.numbers["with_db"] > note.numbers["without_db"] + 0.5


def test_channels_are_smoothed_only_where_levelling_them_does_not_help(recipe: Recipe) -> None:
    taken, _ = first_tried(recipe, "int8", "int8")
    assert "smooth" not in taken


def test_weights_of_few_bits_are_not_levelled_for_what_reads_eight(recipe: Recipe) -> None:
    taken, note = first_tried(recipe, "int4", "int8")
    assert "level-channels" not in taken and "level-channels" not in note.text


def test_streams_are_not_rotated_online_and_nothing_else_is_left_out() -> None:
    every, streamed = ({step.names for group in some for step in group} for some in (GROUPS, possible(GROUPS, STREAM)))
    assert every - streamed == {names for names in every if "rotate-online" in names} != set()
    assert possible(GROUPS, targets.load("cortex-m7")) == possible(GROUPS, None) == GROUPS


def test_trials_at_few_bits_take_the_rounder_that_is_asked_for(recipe: Recipe) -> None:
    narrow = recipe.with_option("assign-schemes", "product_inputs", "int4", "a test")
    for asked, trial in (("auto", "refit"), ("refit", "refit"), ("gptq", "nearest")):
        assert rounder_of(narrow.with_option("round-weights", "rounding", asked, "a test"), True) == trial
    assert rounder_of(recipe, False) == "nearest"


def test_what_is_mostly_right_is_kept_unless_it_is_clearly_worse() -> None:
    before = Left(20.0, (20.0, 20.0, 20.0, 20.0))
    assert Left(19.7, (19.0, 21.0, 19.0, 20.0)).beats(before, -0.5)
    assert not Left(19.4, (21.0, 21.0, 21.0, 10.0)).beats(before, -0.5)
    assert not Left(20.7, (19.0, 25.0, 19.0, 20.0)).beats(before, 0.5)


def test_a_note_says_what_a_step_that_is_kept_or_not_may_take_or_must_bring() -> None:
    levels, before = LEVELLED_FEW, Left(20.0, (20.0,))
    worse, better, lost = (told(levels, Gain(before, Left(db, (db,)), levels.gain), 32) for db in (19.7, 20.3, 19.0))
    assert worse.kind == "chosen" and "19.70 dB of the results" in worse.text
    assert worse.text.endswith("20.00 dB without; it may take 0.5 dB")
    assert better.kind == "chosen" and better.text.endswith("20.00 dB without")
    assert lost.kind == "refused" and lost.text.endswith("20.00 dB without; it may take 0.5 dB")


@pytest.mark.parametrize(("crossed", "kind"), [(20.3, "chosen"), (20.1, "refused"), (19.9, "refused")])
def test_what_samples_say_in_each_others_part_counts_as_much(crossed: float, kind: str) -> None:
    """0.8 dB one way, and 0.5 dB asked for in the mean."""
    before, after, other = (Left(db, (db,)) for db in (20.0, 20.8, crossed))
    note = told(GROUPS[0][0], Gain(before, after, 0.5, (before, other)), 32)
    assert note.kind == kind and f"; {crossed:.2f} and 20.00 dB where those show the ranges" in note.text
    assert note.numbers["crossed_with_db"] == crossed


def test_a_step_that_is_kept_was_tried_both_ways(recipe: Recipe) -> None:
    found, _ = transform("auto", recipe, work_of(GAIN, WEIGHTS), False, quiet)
    (note,) = (note for note in found.notes if note.pass_ == "transform")
    assert note.numbers["crossed_with_db"] > note.numbers["crossed_without_db"] + 3


def test_networks_that_multiply_activations_are_not_levelled(recipe: Recipe) -> None:
    narrow = recipe.with_option("assign-schemes", "product_inputs", "int4", "a test")
    body = "a = MatMul (x, z)\n y = Relu (a)"
    header = '<ir_version: 10, opset_import: ["" : 21]>'
    model = onnx.parser.parse_model(f"{header}\ng (float[4,8] x, float[8,5] z) => (float[4,5] y) {{{body}}}")
    assert not is_narrow(narrow, canonicalize(model)[0])
    assert is_narrow(narrow, narrow_work().graph) and not is_narrow(recipe, narrow_work().graph)


@pytest.mark.parametrize("enough", [0.0, 400.0])
def test_what_costs_work_is_not_tried_where_results_are_good(
    recipe: Recipe, enough: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One loud channel behind SiLU, which nothing but a rotation on the device makes quieter."""
    monkeypatch.setattr("bevel.tools.run.transforms.ENOUGH", enough)
    body = "u = MatMul (x, w)\n s = Sigmoid (u)\n h = Mul (u, s)\n y = MatMul (h, d)"
    header = '<ir_version: 10, opset_import: ["" : 21]>'
    model = onnx.parser.parse_model(
        f"{header}\ng (float[6,8] x, float[8,64] w, float[64,64] d) => (float[6,64] y) {{{body}}}"
    )
    loud = np.where(np.arange(64) % 16 == 7, 12.0, 1.0)
    for name, values in (("w", RNG.standard_normal((8, 64)) * loud), ("d", RNG.standard_normal((64, 64)))):
        model.graph.initializer.append(onnx.numpy_helper.from_array(values.astype(np.float32), name))
    del model.graph.input[1:]
    samples = open_dataset({"x": RNG.standard_normal((32, 6, 8)).astype(np.float32)}, model_inputs(model))
    found, _ = transform("auto", recipe, Work(canonicalize(model)[0], data=samples), False, quiet)
    told = [note for note in found.notes if note.pass_ == "transform" and note.text.startswith("rotate-online")]
    assert told and [("not tried, the device would work more" in note.text) for note in told] == [enough == 0.0]
