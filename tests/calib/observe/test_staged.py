"""A model in stages makes what it makes at once, and later stages read what was set before them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx

from bevel.calib.observe.observe import run_model, session_with_outputs
from bevel.calib.observe.staged import StagedModel

MODEL = onnx.parser.parse_model("""
<ir_version: 10, opset_import: ["" : 21]>
g (float[2,3] x, bool[1] c) => (float[2,3] z) <float[3,3] w = {1,2,3,4,5,6,7,8,9}, float[3] b = {1,2,3}>
{
  one = MatMul (x, w)
  two = Relu (one)
  three = Add (two, b)
  four = Mul (three, x)
  z = If (c) <then_branch = t () => (float[2,3] p) { p = Neg (two) }, else_branch = e () => (float[2,3] q) { q = Add (two, four) }>
}
""")  # noqa: E501
NAMES = ["one", "two", "three", "four", "z"]


def samples(count: int) -> list[dict[str, np.ndarray]]:
    rng = np.random.default_rng(0)
    return [
        {"x": rng.standard_normal((2, 3)).astype(np.float32), "c": np.array([place % 2 == 0])} for place in range(count)
    ]


def test_each_stage_has_what_the_whole_model_computes(tmp_path: Path) -> None:
    runs = samples(5)
    session, outputs = session_with_outputs(MODEL, NAMES)
    whole = [run_model(session, outputs, one, run) for run, one in enumerate(runs)]
    staged = StagedModel(MODEL, runs, tmp_path)  # type: ignore[arg-type]
    for names in (["x"], ["one"], ["four", "one"], ["z"]):
        staged.advance(names)
        for run, one in enumerate(whole):
            for name in names:
                np.testing.assert_array_equal(staged.read(name, run), one[name])


def test_what_no_stage_to_come_reads_is_let_go(tmp_path: Path) -> None:
    staged = StagedModel(MODEL, samples(2), tmp_path)  # type: ignore[arg-type]
    staged.advance(["three"])
    assert set(staged.waiting) == {"x", "c", "two", "three"}
    staged.advance(["z"])
    assert set(staged.waiting) == {"z"}


def test_constants_of_stages_to_come_can_be_set(tmp_path: Path) -> None:
    runs = samples(2)
    staged = StagedModel(MODEL, runs, tmp_path)  # type: ignore[arg-type]
    staged.advance(["two"])
    before = staged.read("two", 1).copy()
    staged.set({"b": np.full(3, 7, np.float32)})
    staged.advance(["three"])
    np.testing.assert_array_equal(staged.read("three", 1), before + 7)
