"""README.md's tables of figures are what the command that makes them would write."""

from __future__ import annotations

from pathlib import Path

import pytest

from bevel.calib.errors import UserError
from bevel.tools.bench.readme import FiguresTable, replaced, run, tables
from bevel.tools.bench.subjects import reference_networks

README = (Path(__file__).parents[3] / "README.md").read_text()
OF_COMPILERS = ("flash, bytes", "RAM, bytes", "instructions")  # others than zig may be installed


def written(table: FiguresTable) -> dict[str, dict[str, str]]:
    """{row: {column: cell}} as README.md has them."""
    lines = README.splitlines()
    first = lines.index(table.head)
    rows = [line.strip("| ").split(" | ") for line in lines[first + 2 : first + 2 + len(table.rows)]]
    assert not lines[first + 2 + len(table.rows)].startswith("|"), "no more rows than are made"
    return {name.strip("`"): dict(zip(table.columns, cells, strict=True)) for name, *cells in rows}


@pytest.mark.parametrize("table", tables(), ids=lambda table: table.key)
def test_the_readme_has_each_row_that_is_made(table: FiguresTable) -> None:
    assert list(written(table)) == list(table.rows)


def test_both_tables_say_the_same_of_the_network_that_both_have() -> None:
    networks, formats = map(written, tables())
    one, other = networks["resnet8"], formats["int8"]
    assert other["quantized.onnx, bytes"] == one["quantized, bytes"]
    assert all(other[column] == one[column] for column in one.keys() & other.keys())


def test_a_row_is_what_a_run_gives_today() -> None:
    """But for what depends on the compiler that is installed."""
    table = tables()[0]
    (subject,) = (one for one in reference_networks() if one.name == "mlp")
    report = run(subject, compiler="")
    for name, column in table.columns.items():
        if name not in OF_COMPILERS:
            assert column(report) == written(table)["mlp"][name], name


def test_a_run_with_another_compiler_is_refused() -> None:
    (subject,) = (one for one in reference_networks() if one.name == "mlp")
    with pytest.raises(UserError, match="is found first"):
        run(subject, compiler="no such compiler")


def test_a_table_is_put_in_place_of_the_one_with_its_columns() -> None:
    table = FiguresTable("k", {"a": lambda report: "1"}, {})
    text = "before\n\n| k | a |\n|---|---|\n| `x` | 0 |\n\nafter\n"
    made = ["| k | a |", "|---|---|", "| `x` | 1 |", "| `y` | 1 |"]
    assert replaced(text, table.head, made) == text.replace("| `x` | 0 |", "| `x` | 1 |\n| `y` | 1 |")
    with pytest.raises(UserError, match="stand 0 times"):
        replaced("", table.head, made)
