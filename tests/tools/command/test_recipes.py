"""`bevel recipes`: each with its passes, its source and what it showed."""

from __future__ import annotations

import pytest

from bevel.passes.recipes import shipped
from bevel.tools.command import cli


def test_every_recipe_is_listed_with_its_passes_and_its_gain(capfd: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["recipes"]) == 0
    printed = capfd.readouterr().out
    for one in shipped():
        assert f"{one.name} ({one.family}): {one.summary}" in printed
        assert one.source in printed and one.gain in printed
    assert "round-weights (rounding=nearest, corrected=False), insert-qdq" in printed


def test_an_unknown_recipe_is_one_line_and_exit_code_2(capfd: pytest.CaptureFixture[str]) -> None:
    arguments = ["optimize", "m.onnx", "--target", "cortex-m7", "-o", "out", "--recipe", "int9"]
    assert cli.main(arguments) == 2
    (line,) = capfd.readouterr().err.splitlines()
    assert "no recipe 'int9'; known recipes: " in line and "int8" in line
