"""Which points are on the front, and where budgets are put."""

from __future__ import annotations

from bevel.backends.program.resources import NOTHING, Resource, Resources
from bevel.tools.pareto.points import Point, budgets, front


def built(label: str, flash: int, sqnr: float | None) -> Point:
    return Point(label, "uniform", Resources({Resource.FLASH: flash}), NOTHING, 0, sqnr, None)


def test_a_point_that_a_smaller_one_beats_is_not_on_the_front() -> None:
    points = [built("int8", 800, 40.0), built("worse", 900, 39.0), built("int4", 400, 20.0), built("twin", 400, 19.0)]
    assert [one.label for one in front(points)] == ["int4", "int8"]


def test_outputs_without_error_beat_all_others() -> None:
    points = [built("exact", 500, None), built("int8", 800, 60.0)]
    assert [one.label for one in front(points)] == ["exact"]


def test_budgets_lie_strictly_between_the_uniform_builds_in_equal_ratios() -> None:
    points = [built("a", 1000, 1.0), built("b", 16000, 2.0), built("c", 3000, 1.5)]
    assert budgets(points, 3) == [2000, 4000, 8000]


def test_there_are_no_budgets_between_builds_of_one_size() -> None:
    assert budgets([built("a", 1000, 1.0), built("b", 1000, 2.0)], 4) == []
    assert budgets([built("a", 1000, 1.0)], 4) == []
