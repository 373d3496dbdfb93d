"""A row says what `optimize` leaves of each network with outliers, by each choice of transforms."""

from __future__ import annotations

import pytest

from bevel.tools.bench.transforms import main
from bevel.tools.command.entry import run


@pytest.mark.long
def test_outliers_are_lost_without_transforms_and_smoothing_recovers_them(capsys: pytest.CaptureFixture[str]) -> None:
    given = ["--only", "vit", "--recipes", "int4x4", "--outliers", "hidden", "--samples", "24"]
    assert run(main, [*given, "--transforms", "none;smoothing"]) == 0
    head, _, *rows = capsys.readouterr().out.splitlines()
    assert head == "| network | transforms | `int4x4`, hidden |"
    plain, smooth = (float(row.split(" dB")[0].rsplit("|", 1)[-1]) for row in rows)
    assert plain < 3 and smooth > plain + 8


@pytest.mark.parametrize(
    ("option", "given", "told"),
    [
        ("--outliers", "loud", "known are none, hidden, stream, both"),
        ("--transforms", "rotate-stream", "known are none; smoothing; rotation"),
    ],
)
def test_a_mistake_is_one_line(option: str, given: str, told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(main, ["--only", "vit", "--samples", "4", option, given]) == 2
    assert told in capsys.readouterr().err
