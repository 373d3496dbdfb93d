"""All of a picture's searched points come of one search."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bevel.backends.program.resources import Resource
from bevel.tools.assign import run as assign_run
from bevel.tools.pareto.points import Point
from bevel.tools.pareto.run import Wanted, run_all
from bevel.tools.run.options import Options
from bevel.tools.run.stages import Silent

MODELS = Path(__file__).parents[3] / "models"


@pytest.mark.long
def test_what_formats_lose_is_measured_once_for_all_budgets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened, open_search = [], assign_run.open_search

    def counted(*given: Any) -> Any:
        opened.append(given)
        return open_search(*given)

    monkeypatch.setattr(assign_run, "open_search", counted)
    data = {"calib": MODELS / "digits_calib.npz", "eval": MODELS / "digits_eval.npz"}
    few = {"calib_samples": 40, "eval_samples": 40, "device": "none", "transform": "none"}
    options = Options(MODELS / "mlp.onnx", target="cortex-m7", output=tmp_path / "out", **data, **few)
    found = run_all(options, Wanted(("int8", "int4"), 2, ("int8", "int4")), Silent())
    assert len(opened) == 1
    assert [type(one) for one in found] == [Point] * 4
    for one in found[2:]:
        assert isinstance(one, Point) and one.kind == "searched"
        budget = int(one.label.removeprefix("at most ").removesuffix(" bytes").replace(",", ""))
        assert one.product[Resource.FLASH] <= budget
