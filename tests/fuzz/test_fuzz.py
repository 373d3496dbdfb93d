"""Random graphs and mutated files through `optimize`: built and right, or refused in one line; never anything else.

A test is named after its seed, which makes the same input again:

    pytest tests/fuzz --first-seed 1234 --graphs 1 --files 0
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx

from fuzz.attempt import attempt
from fuzz.graphs import random_case
from fuzz.mutants import mutant


def test_a_random_graph_is_built_right_or_refused_in_one_line(graphs_seed: int, tmp_path: Path) -> None:
    case = random_case(graphs_seed)
    onnx.save(case.model, tmp_path / "model.onnx")
    np.savez(tmp_path / "calib.npz", allow_pickle=False, **case.data)
    outcome = attempt(tmp_path / "model.onnx", tmp_path / "calib.npz", case.target, case.options)
    graph = onnx.printer.to_text(case.model)
    assert not outcome.is_fault, f"{outcome.verdict}: {case.target} {case.options}\n{graph}\n{outcome.text}"


def test_a_mutated_file_is_built_right_or_refused_in_one_line(files_seed: int, tmp_path: Path) -> None:
    made = mutant(files_seed)
    (tmp_path / "model.onnx").write_bytes(made.model)
    (tmp_path / "calib.npz").write_bytes(made.data)
    outcome = attempt(tmp_path / "model.onnx", tmp_path / "calib.npz", made.target, {})
    assert not outcome.is_fault, f"{outcome.verdict}: {made.what}, for {made.target}\n{outcome.text}"
