"""ONNX's own node tests through `optimize --target host`: built and right, or refused in one line with the reason.

    pytest -m node_tests tests/fuzz

runs all of them and prints how many were built and refused; the suite takes one for each listed operator.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from bevel.passes.listed_operators import listed_operators
from bevel.tools import vectors
from fuzz.attempt import Outcome, attempt
from fuzz.node_tests import NodeTest, node_tests

LISTED = sorted({name for one in listed_operators() for name in one.ops})
OTHERS = "others"
FAR = 0.1  # of the expected output's range: int8 of one sample's own range is far nearer, steep functions included
TIPPED = 0.5  # of an output: codes beside each other compare otherwise than floats, and halves round otherwise
TOLD_DB = 10.0  # an output that int8 loses is no silent fault: the report's headline says so


@pytest.fixture(scope="session")
def cases() -> dict[str, list[NodeTest]]:
    """Node tests of float tensors by the listed operator they are for; what models expanded from functions test is the
    expansion."""
    found: dict[str, list[NodeTest]] = {name: [] for name in (*LISTED, OTHERS)}
    for test in node_tests():
        floats = any(array.dtype == np.float32 for array in test.inputs.values())
        if floats and "expanded" not in test.name:
            listed = sorted(test.operators & set(LISTED))
            found[listed[0] if listed else OTHERS].append(test)
    return found


@pytest.mark.parametrize("operator", LISTED)
def test_a_node_test_of_each_listed_operator_is_built_right_or_refused(
    operator: str, cases: dict[str, list[NodeTest]], tmp_path: Path
) -> None:
    if not cases[operator]:
        pytest.skip(f"ONNX ships no test of {operator} on float tensors alone")
    assert not [fault for fault, _ in outcomes(cases[operator][-1:], tmp_path) if fault]


@pytest.mark.node_tests
@pytest.mark.parametrize("operator", [*LISTED, OTHERS])
def test_every_node_test_is_built_right_or_refused(
    operator: str, cases: dict[str, list[NodeTest]], tmp_path: Path, record_property: Any
) -> None:
    found = outcomes(cases[operator], tmp_path)
    for verdict in ("built", "refused"):
        record_property(verdict, sum(outcome.verdict == verdict for _, outcome in found))
    faults = [fault for fault, _ in found if fault]
    assert not faults, "\n\n".join(faults)


def outcomes(tests: Iterable[NodeTest], folder: Path) -> list[tuple[str | None, Outcome]]:
    """What became of each test, and what is wrong with that."""
    found: list[tuple[str | None, Outcome]] = []
    for place, test in enumerate(tests):
        path = folder / str(place)
        path.mkdir()
        onnx.save(test.model, path / "model.onnx")
        given = {name: array[None] for name, array in test.inputs.items()}
        np.savez(path / "calib.npz", allow_pickle=False, **given)
        outcome = attempt(path / "model.onnx", path / "calib.npz", "host", {})
        fault = outcome.text if outcome.is_fault else None
        if outcome.verdict == "built":
            fault = None if is_told(outcome) else distance(test, answers(path / "out"))
        found.append((None if fault is None else f"{test.name}: {outcome.verdict}: {fault}", outcome))
    return found


def is_told(outcome: Outcome) -> bool:
    """Whether the report says that an output is lost."""
    accuracy = outcome.report.accuracy if outcome.report is not None else None
    return accuracy is not None and accuracy.sqnr_db is not None and accuracy.sqnr_db < TOLD_DB


def answers(bundle: Path) -> dict[str, NDArray[Any]]:
    """What the library computes for the test's inputs: of integers the same as integer.onnx."""
    return {name: array[0] for name, array in vectors.load(bundle).expected.items()}


def distance(test: NodeTest, found: dict[str, NDArray[Any]]) -> str | None:
    """How answers are wrong beside what ONNX expects, if they are."""
    for name, expected in test.outputs.items():
        answer = found[name]
        if answer.shape != expected.shape:
            return f"{name} is {answer.shape}, not {expected.shape}"
        wrong = answer != expected
        if expected.dtype.kind == "f":
            finite = np.isfinite(expected)
            reach = max(np.abs(expected[finite]).max(initial=0), 1e-6)
            wrong = np.abs(answer.astype(np.float64) - expected)[finite] > FAR * reach
        if np.mean(wrong) > TIPPED:
            return f"{np.mean(wrong):.0%} of {name} is wrong"
    return None
