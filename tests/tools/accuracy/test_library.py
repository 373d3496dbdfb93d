"""A library that is not integer.onnx is told from one whose roundings tipped."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from bevel.backends.program.resources import NOTHING
from bevel.tools.accuracy.library import is_far, is_wrong
from bevel.tools.accuracy.outputs import Kind
from bevel.tools.report import red_lines
from bevel.tools.report.report import Library, Model, Node, Report, Size

RIGHT = Library(64, None, 30.0, None, 90.0, 64, 0)


@pytest.mark.parametrize(
    ("runs", "far", "wrong"), [(64, 0, False), (64, 6, False), (64, 7, True), (8, 2, False), (8, 8, True), (1, 1, True)]
)
def test_what_is_far_on_many_runs_is_wrong(runs: int, far: int, wrong: bool) -> None:
    assert is_wrong(replace(RIGHT, runs=runs, far=far)) is wrong


@pytest.mark.parametrize(
    ("wanted", "found", "kind", "far"),
    [
        ([1.0, -2.0, 3.0], [1.0, -2.0, 3.02], "numbers", False),
        ([1.0, -2.0, 3.0], [1.0, -2.0, 4.0], "numbers", True),
        ([1.0, -2.0, 3.0], [1.0, np.nan, 3.0], "numbers", True),
        ([7], [7], "ids", False),
        ([7], [8], "ids", True),
        ([1] * 20, [1] * 19 + [0], "ids", False),
    ],
)
def test_how_far_one_run_is(wanted: list[float], found: list[float], kind: Kind, far: bool) -> None:
    assert is_far({"y": np.array(wanted)}, {"y": np.array(found)}, {"y": kind}) is far


@pytest.mark.parametrize(("library", "told"), [(RIGHT, False), (replace(RIGHT, far=64), True), (None, False)])
def test_float_nodes_excuse_last_bits_alone(library: Library | None, told: bool) -> None:
    report = Report(
        bevel="0",
        model=Model("m.onnx", ""),
        target="host",
        recipe="int8",
        accuracy=None,
        size=Size(0, 0, NOTHING),
        device=None,
        measurement=None,
        nodes=(Node("resize", "Resize", "float32", None, None, ()),),
        stages=(),
        files={},
        library=library,
    )
    assert red_lines.wrong_library(report) is told
