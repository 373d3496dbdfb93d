"""A library that is not integer.onnx is told from one whose roundings tipped."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bevel.tools import show
from bevel.tools.library import is_wrong
from bevel.tools.report import Library, Model, Node, Report, Size

RIGHT = Library(64, None, 30.0, None, 90.0, None)


@pytest.mark.parametrize(
    ("found", "wrong"),
    [
        (RIGHT, False),
        (replace(RIGHT, integer_db=None), False),
        (replace(RIGHT, integer_db=12.0), True),
        (replace(RIGHT, integer_db=None, same=0.99), False),
        (replace(RIGHT, integer_db=None, same=0.5), True),
    ],
)
def test_what_is_wrong(found: Library, wrong: bool) -> None:
    assert is_wrong(found) is wrong


@pytest.mark.parametrize(("library", "told"), [(RIGHT, False), (replace(RIGHT, integer_db=-2.0), True), (None, False)])
def test_float_nodes_excuse_last_bits_alone(library: Library | None, told: bool) -> None:
    report = Report(
        bevel="0",
        model=Model("m.onnx", ""),
        target="host",
        recipe="int8",
        accuracy=None,
        size=Size(0, 0, 0, 0, 0, 0),
        device=None,
        measurement=None,
        nodes=(Node("resize", "Resize", "float32", None, None, ()),),
        stages=(),
        files={},
        library=library,
    )
    assert show.wrong_library(report) is told
