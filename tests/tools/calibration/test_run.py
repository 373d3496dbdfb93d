"""The table of `bevel calibration` sums up what each draw came to, and the verdict follows from the table."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bevel import models
from bevel.calib.errors import UserError
from bevel.tools.calibration.run import AskedDraws, Draw, Sensitivity, spread, together, verdict
from bevel.tools.command.cli import group
from bevel.tools.command.entry import run


def test_each_size_is_drawn_as_often_as_asked_and_all_of_it_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "found.json"
    data = ["--calib", str(models.data("calib")), "--eval", str(models.data("eval")), "--eval-samples", "40"]
    quick = ["--transform", "none", "--rounding", "nearest", "--seeds", "2"]
    asked = ["--sizes", "4,16", "--rules", "random,entropy", "-o", str(output)]
    assert run(group, ["calibration", str(models.path("mlp")), *data, *quick, *asked]) == 0
    found = json.loads(output.read_text())
    counts = [(one["rule"], one["samples"], one["draws"]) for one in found["sensitivity"]]
    assert counts == [("random", 4, 2), ("random", 16, 2), ("entropy", 4, 1), ("entropy", 16, 1)]
    first, second = found["draws"][:2]
    assert first["sqnr_db"] != second["sqnr_db"]
    assert found["sensitivity"][0]["lowest_db"] == min(first["sqnr_db"], second["sqnr_db"])
    rows = capsys.readouterr().out.splitlines()
    assert len(rows) == 7 and "samples are" in rows[-1]


def drawn(sqnr_db: float | None, high: float) -> Draw:
    return Draw("random", 8, 0, sqnr_db, 0.5, {"a": (0.0, high), "b": (-1.0, 1.0), "dead": (0.0, 0.0)})


def test_the_tensor_whose_range_moves_most_is_named() -> None:
    found = together([drawn(30.0, 4.0), drawn(32.0, 6.0)])
    assert (found.sqnr_db, found.deviation_db, found.lowest_db) == (31.0, 1.0, 30.0)
    assert (found.tensor, found.spread, found.agreement) == ("a", 1.5, 0.5)
    assert spread([(0.0, 0.0), (0.0, 1.0)]) == 1.0


def of(samples: int, sqnr_db: float, deviation_db: float) -> Sensitivity:
    return Sensitivity("random", samples, 5, sqnr_db, deviation_db, sqnr_db, None, None, 1.0)


def test_the_fewest_that_lose_little_and_do_not_come_and_go_are_enough() -> None:
    most = of(256, 30.0, 0.0)
    assert verdict([of(8, 29.9, 0.5), of(16, 29.85, 0.1), most]).startswith("16 samples are enough")
    assert verdict([of(8, 29.9, 0.5), of(16, 29.7, 0.1), most]).startswith("256 samples are not shown")


@pytest.mark.parametrize(("rules", "sizes"), [("best", "8"), ("random", "8,x"), ("random", "0")])
def test_what_is_no_rule_or_no_number_is_refused(rules: str, sizes: str) -> None:
    with pytest.raises(UserError, match=r"--rules|--sizes"):
        AskedDraws.of(rules, sizes, 1)
