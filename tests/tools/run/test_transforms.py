"""`--transform`: names are found and refused, `auto` keeps what helps by far and says what it tried."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from bevel.calib.data.dataset import open_dataset
from bevel.calib.errors import UserError
from bevel.calib.observe.observe import model_inputs
from bevel.passes.base import Work
from bevel.passes.canonicalize import canonicalize
from bevel.passes.recipes import read
from bevel.passes.recipes.build import Recipe, build
from bevel.tools.run.transforms import parsed, split, transform

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
    found = transform("auto", recipe, work_of(GAIN, WEIGHTS), False, quiet)
    assert [one.transform for one in found.transforms] == ["smooth"]
    (note,) = (note for note in found.notes if note.pass_ == "transform")
    assert note.kind == "chosen" and note.numbers["with_db"] > note.numbers["without_db"] + 3
    assert "24 held-out samples" in note.text


def test_auto_leaves_a_flat_network_and_none_and_random_data_try_nothing(recipe: Recipe) -> None:
    assert transform("auto", recipe, work_of(np.ones(8), WEIGHTS), False, quiet).transforms == ()
    assert transform("none", recipe, work_of(GAIN, WEIGHTS), False, quiet).notes == ()
    (note,) = transform("auto", recipe, work_of(GAIN, WEIGHTS), True, quiet).notes
    assert "random" in note.text


def test_a_named_transform_is_taken_whether_it_helps_or_not(recipe: Recipe) -> None:
    assert [one.transform for one in transform("smooth", recipe, work_of(GAIN, WEIGHTS), False, quiet).transforms] == [
        "smooth"
    ]


def test_choosing_and_observing_share_no_sample_but_the_only_one() -> None:
    for total in (2, 3, 7, 64, 500):
        seen, held = split(list(range(total)))  # type: ignore[arg-type]
        assert not set(seen.places) & set(held.places)  # type: ignore[attr-defined]
        assert len(set(held.places)) == min(32, total // 2)  # type: ignore[attr-defined]
    one = [0]
    assert split(one) == (one, one)  # type: ignore[arg-type]
