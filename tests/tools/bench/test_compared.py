"""The table beside another system: made of what the benchmark writes, and what README.md has is whole."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from math import prod
from pathlib import Path

import pytest

from bench_cells import OURS
from bevel.backends.program.resources import Resources
from bevel.calib.errors import UserError
from bevel.tools.bench.cells import Cell
from bevel.tools.bench.compared import AVX2_HEAD, COLUMNS, CPU_HEAD, HEAD, cpu_lines, lines
from bevel.tools.bench.cpu import CpuRow
from bevel.tools.bench.mcu import to_json
from bevel.tools.bench.reference import Network
from bevel.tools.bench.tables import MEAN

README = (Path(__file__).parents[3] / "README.md").read_text().splitlines()
THEIRS = Network("net", 1000, {"cortex-m4": Resources({"instructions": 2000, "flash": 600})})


def found(cell: Cell, theirs: Network = THEIRS) -> dict[str, object]:
    """As the benchmark's file is read again."""
    read: dict[str, object] = json.loads(json.dumps(to_json([cell], [theirs])))
    return read


def test_a_row_has_what_was_counted_and_the_share_of_each() -> None:
    made = list(lines(found(OURS)))
    assert made[0] == HEAD and made[1].count("---") == HEAD.count("|") - 1
    assert made[2] == "| net | cortex-m4 | 500 | 0.25x | 300 | 0.50x | 50 |  |"
    assert made[3] == "| geometric mean | cortex-m4 |  | 0.25x |  | 0.50x |  |  |"


def test_what_differs_or_has_no_counterpart_makes_no_table() -> None:
    wrong = replace(OURS, mismatches=1, spent=Resources({}))
    for cell in (wrong, replace(OURS, core="cortex-m7"), replace(OURS, model="other", network_macs=7)):
        with pytest.raises(UserError, match="differs from integer"):
            list(lines(found(cell)))


def test_the_means_of_the_readme_are_those_of_its_rows() -> None:
    first = README.index(HEAD) + 2
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in README[first:] if line.startswith("|")]
    rows = rows[: next(place for place, line in enumerate(README[first:]) if not line.startswith("|"))]
    measured = [row for row in rows if row[0] != MEAN]
    means = {row[1]: row for row in rows if row[0] == MEAN}
    assert len(measured) == 15 and set(means) == {row[1] for row in measured}
    for core, mean in means.items():
        of_core = [row for row in measured if row[1] == core]
        for place in range(3, 3 + 2 * len(COLUMNS), 2):
            shares = [float(row[place].removesuffix("x")) for row in of_core]
            found = prod(shares) ** (1 / len(shares))
            assert float(mean[place].removesuffix("x")) == pytest.approx(found, abs=0.01)  # of what was rounded


def cpu_row(**changes: object) -> dict[str, object]:
    row = CpuRow("net", 1, 20.0, {"onnxruntime-float": 100.0, "litert": 40.0}, 0)
    return {**json.loads(json.dumps(asdict(row))), **changes}


def test_a_row_of_a_cpu_has_the_best_peer_and_both_shares() -> None:
    rows = [cpu_row(), cpu_row(ratio_best=0.125, ratio_float=0.05), cpu_row(threads=2, ratio_best=0.75)]
    made = list(cpu_lines(rows))
    assert made[0] == CPU_HEAD and made[1].count("---") == CPU_HEAD.count("|") - 1
    assert made[2] == "| net | 1 | 20.0 | litert | 40.0 | 0.50x | 0.20x |"
    assert made[5:] == [
        "| geometric mean | 1 |  |  |  | 0.25x | 0.10x |",
        "| geometric mean | 2 |  |  |  | 0.75x | 0.20x |",
    ]


@pytest.mark.parametrize("changes", [{"mismatches": 1}, {"best_peer": None}])
def test_a_cpu_that_differs_or_has_no_peer_makes_no_table(changes: dict[str, object]) -> None:
    with pytest.raises(UserError, match="net differs from integer"):
        list(cpu_lines([cpu_row(**changes)]))


@pytest.mark.parametrize(("head", "count"), [(CPU_HEAD, 18), (AVX2_HEAD, 7)])
def test_the_means_of_a_cpu_in_the_readme_are_those_of_its_rows(head: str, count: int) -> None:
    first = README.index(head) + 2
    end = next(place for place, line in enumerate(README[first:]) if not line.startswith("|"))
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in README[first : first + end]]
    measured = [row for row in rows if row[0] != MEAN]
    means = {row[1]: row for row in rows if row[0] == MEAN}
    assert len(measured) == count and set(means) == {row[1] for row in measured}
    for threads, mean in means.items():
        for place in (5, 6):
            shares = [float(row[place].removesuffix("x")) for row in measured if row[1] == threads]
            found = prod(shares) ** (1 / len(shares))
            assert float(mean[place].removesuffix("x")) == pytest.approx(found, abs=0.01)  # of what was rounded
