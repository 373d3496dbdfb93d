"""`bevel bench web`: our networks in a browser beside onnxruntime-web, which no test fetches."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from bevel.backends.binary.artifact import Artifact
from bevel.backends.build import build
from bevel.backends.devices.base import Vectors
from bevel.backends.devices.chromium import Chromium
from bevel.backends.program.ops.clip import Clip
from bevel.backends.program.program import Buffer, Call, Port, Program
from bevel.backends.target import load
from bevel.tools.bench import web
from bevel.tools.bench.peers import LeftOut
from bevel.tools.bench.web import SAME, WebRow
from bevel.tools.command import cli

# Stands in for onnxruntime-web: the module's own results, each of them off by one.
STAND_IN = b"""
export const env = { wasm: {} };
export class Tensor { constructor(type, data, dims) { Object.assign(this, { type, data, dims }); } }
export const InferenceSession = {
  async create(model) {
    if (model.length < 5) throw new Error("no such model\\nsecond line");
    return { inputNames: ["x"], outputNames: ["y"], run: async ({ x }) => ({ y: { data: [x.data[0] + 1] } }) };
  },
};
"""


def test_the_best_peer_and_the_same_model_are_told_apart() -> None:
    row = WebRow("m", 50.0, {SAME: 200.0, "u8s8": 100.0}, {SAME: 0.1, "u8s8": 0.2}, 0)
    assert (row.best_peer, row.ratio_same, row.ratio_best) == ("u8s8", 0.25, 0.5)
    alone = WebRow("m", 50.0, {}, {}, 0)
    assert (alone.best_peer, alone.ratio_same, alone.ratio_best) == (None, None, None)


@pytest.mark.parametrize("missing", ["node", "npm", "chromium"])
def test_what_is_missing_is_one_line_that_names_it(
    missing: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    for name in {"node", "npm", "chromium"} - {missing}:
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert cli.main(["bench", "web", "--only", "mlp"]) == 2
    told = capsys.readouterr().err
    assert told.startswith(f"error: {missing} is not installed") and told.count("\n") == 1


def test_rows_are_written_and_a_wrong_module_ends_in_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = {"mlp": 0}
    monkeypatch.setattr(web, "check_tools", lambda: None)
    monkeypatch.setattr(web, "fetched", lambda place: {})
    row = lambda one, *_: [WebRow(one.name, 5.0, {SAME: 9.0}, {SAME: 0.0}, wrong[one.name])]  # noqa: E731
    monkeypatch.setattr(web, "rows_of", row)
    written = tmp_path / "rows.json"
    assert cli.main(["bench", "web", "--only", "mlp", "-o", str(written)]) == 0
    assert json.loads(written.read_text())[0]["ratio_same"] == pytest.approx(5 / 9)
    assert "geometric mean" in capsys.readouterr().out
    wrong["mlp"] = 3
    assert cli.main(["bench", "web", "--only", "mlp"]) == web.WRONG_OUTPUTS


def clipped(folder: Path) -> tuple[Artifact, Vectors]:
    """A product that gives back its one input."""
    ports = [Port(name, name, (1,), "int8") for name in ("x", "y")]
    call = Call("node", Clip(1, -100, 100), ("x",), (), "y")
    program = Program("small", (ports[0],), (ports[1],), {name: Buffer(name, (1,), "int8") for name in "xy"}, (call,))
    values = np.array([[5], [-7]], np.int8)
    tests = Vectors({"x": values}, {"y": values})
    return build(program, load("wasm32"), folder, tests), tests


def test_a_page_times_all_candidates_and_tells_how_far_they_are_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a program that is small, beside a stand-in for onnxruntime-web."""
    if why := Chromium(load("wasm32")).missing():
        pytest.skip(why)
    artifact, tests = clipped(tmp_path)
    (tmp_path / "good.onnx").write_bytes(b"a model")
    (tmp_path / "bad.onnx").write_bytes(b"none")
    files = {SAME: tmp_path / "good.onnx", "u8s8": tmp_path / "bad.onnx"}
    (tmp_path / "ort.mjs").write_bytes(STAND_IN)
    monkeypatch.setattr(web, "ROUNDS", 2)
    monkeypatch.setattr(web, "WARM_MS", 10)
    refused = LeftOut()
    row = web.timed("small", artifact, tests, files, {"ort.wasm.min.mjs": tmp_path / "ort.mjs"}, refused)
    assert (row.mismatches, set(row.peers), row.farthest) == (0, {SAME}, {SAME: 1.0})
    assert row.bevel_us > 0 and row.peers[SAME] > 0
    assert refused.reasons == {"onnxruntime-web, u8s8": "Error: no such model"}
