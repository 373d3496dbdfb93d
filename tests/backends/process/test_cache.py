"""What was made once is found again, and only where everything it was made from is the same."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from bevel.backends.process import cache


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setattr(cache, "entries", lambda: tmp_path)
    yield tmp_path


def never() -> bytes:
    raise AssertionError("made again")


def test_an_equal_request_is_answered_from_the_cache() -> None:
    assert cache.remembered("kind", ["a", b"b"], lambda: b"made") == b"made"
    assert cache.remembered("kind", ["a", b"b"], never) == b"made"


@pytest.mark.parametrize(("kind", "parts"), [("other", ["ab", "c"]), ("kind", ["a", "bc"]), ("kind", ["ab", "c", ""])])
def test_another_request_is_made(kind: str, parts: list[str]) -> None:
    cache.remembered("kind", ["ab", "c"], lambda: b"first")
    assert cache.remembered(kind, parts, lambda: b"second") == b"second"


def test_an_edited_source_is_another_request(monkeypatch: pytest.MonkeyPatch) -> None:
    cache.remembered("kind", ["a"], lambda: b"first")
    monkeypatch.setattr(cache, "sources_digest", lambda: "edited")
    assert cache.remembered("kind", ["a"], lambda: b"second") == b"second"


def test_the_hash_of_the_sources_follows_a_file_of_the_kernels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = tmp_path / "backends" / "kernels" / "c" / "bevel_dsp.h"
    kernel.parent.mkdir(parents=True)
    monkeypatch.setattr(cache, "ROOT", tmp_path)
    found = set()
    for text in ("one", "two"):
        kernel.write_text(text)
        found.add(cache.sources_digest.__wrapped__())
    assert len(found) == 2


def test_a_damaged_entry_is_made_again(folder: Path) -> None:
    cache.remembered("kind", ["a"], lambda: b"made")
    (entry,) = (folder / "kind").iterdir()
    entry.write_bytes(entry.read_bytes()[:-1])
    assert cache.remembered("kind", ["a"], lambda: b"again") == b"again"
    assert cache.remembered("kind", ["a"], never) == b"again"


def test_nothing_is_kept_of_what_failed(folder: Path) -> None:
    with pytest.raises(AssertionError):
        cache.remembered("kind", ["a"], never)
    assert not list(folder.rglob("*"))


def test_a_folder_that_cannot_be_written_is_no_error(folder: Path) -> None:
    (folder / "kind").write_text("a file in the way")
    assert cache.remembered("kind", ["a"], lambda: b"made") == b"made"


def test_entries_that_were_not_used_for_longest_go_first(folder: Path) -> None:
    for name in "abc":
        cache.remembered("kind", [name], lambda: bytes(100))
    first, *_ = paths = sorted((folder / "kind").iterdir())
    for age, path in enumerate(paths):
        os.utime(path, (1000 - age, 1000 - age))
    cache.tidy(folder, limit=1000, kept=300)
    assert len(list((folder / "kind").iterdir())) == 3
    cache.tidy(folder, limit=300, kept=150)
    assert list((folder / "kind").iterdir()) == [first]


def test_a_cache_that_cannot_be_written_gives_way_to_a_folder_of_this_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    folder = cache.cache_folder.__wrapped__()
    assert folder.is_dir() and tmp_path not in folder.parents


def test_zig_gets_a_cache_that_can_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setattr(cache, "cache_folder", lambda: tmp_path / "ours")
    monkeypatch.delenv("ZIG_GLOBAL_CACHE_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "users"))
    assert cache.zig_cache.__wrapped__() == tmp_path / "users" / "zig"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert cache.zig_cache.__wrapped__() == tmp_path / "ours" / "zig"
    monkeypatch.setenv("ZIG_GLOBAL_CACHE_DIR", str(tmp_path / "file"))
    assert cache.zig_cache.__wrapped__() == tmp_path / "ours" / "zig"
