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

from bevel.passes.partition.listed_operators import listed_operators
from bevel.tools.run import vectors
from fuzz.attempt import Outcome, attempt
from fuzz.explained import far
from fuzz.node_tests import NodeTest, node_tests

LISTED = sorted({name for one in listed_operators() for name in one.ops})
OFTEN_ELSEWHERE = sorted({*LISTED} - {*LISTED[::3]})  # as all are, in tests/passes/operators
OTHERS, LEFT_OUT = "others", "left out"
# Ranges that clip nothing and biases that mend nothing: what quantization may do is then known beforehand.
OPTIONS = {"range": "minmax", "bias_correction": False, "vectors": 1}


@pytest.fixture(scope="session")
def cases() -> dict[str, list[NodeTest]]:
    """Node tests of float tensors by the listed operator they are for; what models expanded from functions test is the
    expansion. Those without are by the name LEFT_OUT."""
    found: dict[str, list[NodeTest]] = {name: [] for name in (*LISTED, OTHERS, LEFT_OUT)}
    for test in node_tests():
        floats = any(array.dtype == np.float32 for array in test.inputs.values())
        listed = sorted(test.operators & set(LISTED))
        fits = floats and "expanded" not in test.name
        found[LEFT_OUT if not fits else listed[0] if listed else OTHERS].append(test)
    return found


@pytest.mark.parametrize(
    "operator", [*LISTED[::3], *(pytest.param(one, marks=pytest.mark.long) for one in OFTEN_ELSEWHERE)]
)
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
        record_property(verdict, sum(outcome.verdict == verdict and not fault for fault, outcome in found))
    if operator == OTHERS:
        record_property("left out", len(cases[LEFT_OUT]))
    faults = [fault for fault, _ in found if fault]
    assert not faults, "\n\n".join(faults)


def outcomes(tests: Iterable[NodeTest], folder: Path) -> list[tuple[str | None, Outcome]]:
    """What became of each test, and what is wrong with that."""
    found: list[tuple[str | None, Outcome]] = []
    for place, test in enumerate(tests):
        path = folder / str(place)
        path.mkdir()
        outcome = built(test, path)
        fault = outcome.text if outcome.is_fault else None
        if outcome.verdict == "built":
            fault = far(test, path / "out", answers(path / "out"))
        found.append((None if fault is None else f"{test.name}: {outcome.verdict}: {fault}", outcome))
    return found


def built(test: NodeTest, folder: Path) -> Outcome:
    onnx.save(test.model, folder / "model.onnx")
    given = {name: array[None] for name, array in test.inputs.items()}
    np.savez(folder / "calib.npz", allow_pickle=False, **given)
    return attempt(folder / "model.onnx", folder / "calib.npz", "host", OPTIONS)


def answers(bundle: Path) -> dict[str, NDArray[Any]]:
    """What the library computes for the test's inputs: of integers the same as integer.onnx."""
    return {name: array[0] for name, array in vectors.load(bundle).expected.items()}


@pytest.mark.parametrize("operator", ["Relu", "Conv", "ArgMax"])
def test_one_element_that_is_wrong_by_three_steps_is_found(
    operator: str, cases: dict[str, list[NodeTest]], tmp_path: Path
) -> None:
    test = cases[operator][-1]
    assert built(test, tmp_path).verdict == "built"
    found = answers(tmp_path / "out")
    assert far(test, tmp_path / "out", found) is None
    (output,) = found
    step = np.ptp(found[output]) / 255 if found[output].dtype.kind == "f" else 1
    found[output].flat[found[output].size // 2] += 3 * step
    assert far(test, tmp_path / "out", found) is not None
