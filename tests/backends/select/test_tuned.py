"""The tuning database: what is written comes back, and what ships is taken for the nearest compiler."""

from __future__ import annotations

from pathlib import Path

import pytest
import shipped_kernels

from bevel.backends import target
from bevel.backends.search import WORTH
from bevel.backends.select import tune, tuned
from bevel.backends.select.specialize import specialize
from bevel.backends.select.tune import Selection
from bevel.backends.select.tuned import Found
from bevel.calib.errors import UserError

FOUND = Found(Selection("K(tile=2)", ("-O2",)), 70, 100, 6)


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    database = tuned.merged({}, "cortex-m4", "gcc 12", {"K(tile=1)": FOUND})
    tuned.write(tmp_path / "tuned.json", database)
    assert tuned.read(tmp_path / "tuned.json") == database
    assert [path.name for path in tmp_path.iterdir()] == ["tuned.json"]


def test_the_same_findings_are_the_same_bytes_in_whatever_order(tmp_path: Path) -> None:
    tables = [{"a": FOUND, "b": FOUND}, {"b": FOUND, "a": FOUND}]
    for index, table in enumerate(tables):
        tuned.write(tmp_path / f"{index}", tuned.merged({}, "cortex-m4", "gcc 12", table))
    assert (tmp_path / "0").read_bytes() == (tmp_path / "1").read_bytes()


def test_new_findings_join_the_old_ones() -> None:
    old = tuned.merged({}, "cortex-m4", "gcc 12", {"a": FOUND, "b": FOUND})
    new = Found(Selection("b"), 60, 100, 8)
    both = tuned.merged(tuned.merged(old, "cortex-m4", "gcc 12", {"b": new}), "cortex-m7", "gcc 12", {"c": FOUND})
    assert tuned.lookup(both, "cortex-m4", "gcc 12") == {"a": FOUND, "b": new}
    assert tuned.lookup(both, "cortex-m7", "gcc 13") == {}


def test_a_file_that_is_not_there_is_an_empty_database(tmp_path: Path) -> None:
    assert tuned.read(tmp_path / "none.json") == {}


@pytest.mark.parametrize("text", ["", "[]", '{"m4": {"gcc": {"K()": {}}}}'])
def test_a_file_that_is_something_else_is_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "tuned.json"
    path.write_text(text)
    with pytest.raises(UserError, match="not a tuning database"):
        tuned.read(path)


def test_what_ships_for_another_version_of_a_compiler_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    tables = {"gcc 12.1": {"a": FOUND}, "gcc 12.2": {"b": FOUND}, "zig 0.15": {"c": FOUND}}
    monkeypatch.setattr(tuned, "shipped_database", lambda: {"cortex-m4": tables})
    assert list(tuned.shipped("cortex-m4", "gcc 12.1")) == ["a"]
    assert list(tuned.shipped("cortex-m4", "gcc 9.0")) == ["b"]
    assert tuned.shipped("cortex-m4", "clang 20") == tuned.shipped("cortex-m7", "gcc 12.1") == {}


def test_what_ships_is_for_cores_that_there_are_and_flags_that_are_tried() -> None:
    cores = {target.load(name).cpu for name in target.names()}
    for core, compilers in tuned.shipped_database().items():
        assert core in cores
        for compiler, table in compilers.items():
            tried = tune.FLAGS["zig" if compiler.startswith("zig") else "gcc"]
            assert {found.selection.flags for found in table.values()} <= set(tried)


ENTRIES = [
    pytest.param(core, name, found, id=f"{core}-{compiler.split()[0]}-{index}")
    for core, compilers in tuned.shipped_database().items()
    for compiler, table in compilers.items()
    for index, (name, found) in enumerate(sorted(table.items()))
]


@pytest.mark.parametrize(("core", "name", "found"), ENTRIES)
def test_what_ships_is_about_kernels_that_the_rules_choose_and_changes_them(core: str, name: str, found: Found) -> None:
    kernel = shipped_kernels.kernel(name)
    (call,) = specialize(shipped_kernels.program(shipped_kernels.plain(kernel)), target.load(core)).calls
    assert tune.key(call.kernel) == name
    variants = {tune.key(one): one for one in (call.kernel, *tune.variants(call.kernel))}
    assert found.selection.variant in variants, "a variant that is no longer offered"
    assert found.selection != Selection(name), "it says what is so anyway"
    assert found.spent <= found.before * (1 - WORTH)


def test_only_what_changes_something_is_worth_shipping() -> None:
    keeps = Found(Selection("a"), 100, 100, 8)
    flags = Found(Selection("b", ("-O2",)), 90, 100, 8)
    variant = Found(Selection("d"), 90, 100, 8)
    assert tuned.changing({"a": keeps, "b": flags, "c": variant}) == {"b": flags, "c": variant}
