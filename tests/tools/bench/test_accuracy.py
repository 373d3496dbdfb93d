"""A cell of the table says what `optimize` says of the same network, samples and formats."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest

import bevel
from bevel import models
from bevel.calib.errors import UserError
from bevel.passes.assign.assign_schemes import AssignSchemes
from bevel.passes.recipes import read as read_recipe
from bevel.passes.recipes.build import build
from bevel.tools.bench.accuracy import Formats, formats_of, main, plain, settings_of, softmax_input
from bevel.tools.command.entry import run

SAMPLES = 64
Table = Callable[..., tuple[int, str]]


@pytest.fixture
def table(capsys: pytest.CaptureFixture[str]) -> Table:
    def made(*arguments: str) -> tuple[int, str]:
        code = run(main, [*arguments, "--calib-samples", str(SAMPLES), "--eval-samples", str(SAMPLES)])
        told = capsys.readouterr()
        return code, told.out + told.err

    return made


def test_a_cell_is_what_optimize_reports(tmp_path: Path, table: Table) -> None:
    output = tmp_path / "cells.json"
    code, printed = table("--only", "mlp", "--widths", "W4A8", "-o", str(output))
    (cell,) = json.loads(output.read_text())
    report = bevel.optimize(
        models.path("mlp"),
        target="host",
        device="none",
        weights="int4",
        calib=models.data("calib"),
        eval=models.data("eval"),
        calib_samples=SAMPLES,
        eval_samples=SAMPLES,
        output=tmp_path / "out",
    )
    assert code == 0 and report.accuracy is not None
    assert cell["accuracy"]["sqnr_db"] == report.accuracy.sqnr_db
    assert cell["accuracy"]["top1_integer"] == report.accuracy.top1_integer
    row = printed.splitlines()[-1]
    assert row.startswith(f"| mlp | int4 | int8 | {report.accuracy.sqnr_db:.2f} |")
    assert set(cell["seconds"]) == {
        "load",
        "canonicalize",
        "recall",
        "transform",
        "observe",
        "quantize",
        "integerize",
        "partition",
    }


def test_what_is_refused_is_a_row_of_its_own(table: Table) -> None:
    code, printed = table("--only", "mlp", "--widths", "int8/e5m2,W8A8", "--set", "transform=none")
    refused, made = printed.splitlines()[-2:]
    assert code == 0 and "refused: " in refused and "e5m2" in refused and "refused" not in made


@pytest.mark.parametrize("arguments", [["--widths", "4,8"], ["--only", "nothing"], ["--set", "rounding"]])
def test_a_mistake_is_one_line(arguments: list[str], table: Table) -> None:
    code, printed = table(*arguments)
    assert code == 2 and printed.splitlines()[-1].startswith("error: ")


def test_figures_without_end_are_told() -> None:
    assert (plain(None), plain(0.25)) == ("inf", "0.25")


def test_widths_are_integers_or_formats_by_their_names() -> None:
    assert formats_of("W3A8") == Formats("int3", "int8") and formats_of("W4A16") == Formats("int4", "int16")
    assert formats_of("e2m1/int8") == Formats("e2m1", "int8")
    assert formats_of("e2m1/int8/e2m3") == Formats("e2m1", "int8", "e2m3")
    for wrong in ("W4", "e2m1", "e2m1/", "e2m1/int8/int8/int8"):
        with pytest.raises(UserError, match="write W4A8"):
            formats_of(wrong)


def test_narrow_widths_are_those_of_what_products_read() -> None:
    assert formats_of("W4A4") == Formats("int4", "int8", "int4") and formats_of("int4/int4") == Formats("int4", "int4")
    (narrow,) = (one for one in build(read_recipe("int4x4")).passes if isinstance(one, AssignSchemes))
    assert Formats(narrow.weights, narrow.activations, narrow.product_inputs) == formats_of("W4A4")


def test_settings_are_options_by_their_names() -> None:
    assert settings_of(("row-scales=off", "calib=random")) == {"row_scales": "off", "calib": "random"}


CASES = {
    "y = Softmax (h)": "h",
    "y = Identity (h)": None,
    "s = Softmax (h) q = QuantizeLinear (s, one) y = DequantizeLinear (q, one)": "h",
    "s = Softmax (h) y = Relu (s)": None,
}


@pytest.mark.parametrize("tail", CASES)
def test_logits_are_what_the_last_softmax_reads(tail: str) -> None:
    text = f"""<ir_version: 8, opset_import: ["" : 17]>
    last (float[1,4] x) => (float[1,4] y) {{ one = Constant <value = float {{1}}> () h = Relu (x) {tail} }}"""
    model = onnx.parser.parse_model(text)
    assert softmax_input(model) == CASES[tail]
