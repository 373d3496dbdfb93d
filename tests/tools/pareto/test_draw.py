"""The picture has a mark and a label for each uniform build. Skipped without matplotlib."""

from __future__ import annotations

from pathlib import Path

import pytest

from bevel.backends.program.resources import NOTHING, Resource, Resources
from bevel.tools.pareto.draw import PICTURES, draw
from bevel.tools.pareto.points import Point

pytest.importorskip("matplotlib", reason="pip install 'bevel[plot]'")


def of_flash(bytes: int) -> Resources:
    return Resources({Resource.FLASH: bytes})


def points() -> list[Point]:
    uniform = [
        Point(f"int{bits}", "uniform", of_flash(1000 * bits), NOTHING, 0, 5.0 * bits, 0.1 * bits) for bits in (2, 4, 8)
    ]
    return [*uniform, Point("at most 5,000 bytes", "searched", of_flash(5000), NOTHING, 0, 23.0, 0.5)]


def test_both_pictures_are_written_and_name_each_uniform_format(tmp_path: Path) -> None:
    draw("net on core", points(), tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(PICTURES)
    drawn = (tmp_path / "pareto.svg").read_text()
    assert all(f"<!-- {name} -->" in drawn for name in ("int2", "int4", "int8", "net on core"))


def test_the_same_points_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        draw("net on core", points(), tmp_path / name)
    assert (tmp_path / "one" / "pareto.svg").read_bytes() == (tmp_path / "two" / "pareto.svg").read_bytes()
