from __future__ import annotations

import json

from bevel.tools.report import arena_map
from bevel.tools.report.arena_map import ArenaMap, MapPiece

MAP = ArenaMap(
    96,
    80,
    ("conv", "relu", "fc"),
    (MapPiece("image", 0, 32, -1, 0), MapPiece("hidden", 32, 64, 0, 2), MapPiece("y", 0, 16, 2, 3)),
)


def test_each_buffer_is_drawn_over_the_calls_it_lives_through() -> None:
    lines = arena_map.draw(MAP)
    assert [line.split()[-1] for line in lines[2:]] == ["█··", "███", "··█"]
    assert lines[3].split()[:3] == ["32", "64", "hidden"]


def test_the_distance_to_the_lower_bound_is_said() -> None:
    assert "80, 16 less" in arena_map.draw(MAP)[0]


def test_many_calls_share_columns() -> None:
    calls = tuple(f"n{index}" for index in range(200))
    lines = arena_map.draw(ArenaMap(16, 16, calls, (MapPiece("x", 0, 16, 0, 2), MapPiece("y", 0, 16, 199, 200))))
    assert "3 to a column" in lines[1]
    assert lines[2].split()[-1].count(arena_map.LIVE) == 1 and lines[3].endswith(arena_map.LIVE)


def test_a_map_survives_json() -> None:
    assert arena_map.from_json(json.loads(json.dumps(arena_map.to_json(MAP)))) == MAP
