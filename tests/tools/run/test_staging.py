"""The output folder appears whole or not at all, and nothing of the user's is ever replaced."""

from __future__ import annotations

from pathlib import Path

import pytest

from bevel.calib.errors import UserError
from bevel.tools.run import manifest
from bevel.tools.run.staging import staged


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def bundle(output: Path, text: str) -> None:
    with staged(output, ()) as folder:
        (folder / "model.h").write_text(text)
        manifest.write(folder, manifest.Manifest("1", "optimize", {}, manifest.hashes(folder), {}, {}, {}))


def test_a_body_that_ends_well_becomes_the_output(tmp_path: Path) -> None:
    bundle(tmp_path / "out", "new")
    assert set(tree(tmp_path)) == {"out/model.h", "out/manifest.json"}


def test_missing_parents_are_made_only_at_the_end(tmp_path: Path) -> None:
    with staged(tmp_path / "a" / "b" / "out", ()) as folder:
        assert not (tmp_path / "a").exists()
        (folder / "x").touch()
    assert (tmp_path / "a" / "b" / "out" / "x").exists()


@pytest.mark.parametrize("error", [UserError("no"), KeyboardInterrupt(), ValueError()])
def test_an_error_leaves_nothing_behind(tmp_path: Path, error: BaseException) -> None:
    with pytest.raises(type(error)), staged(tmp_path / "deep" / "out", ()) as folder:
        (folder / "half").write_text("written")
        raise error
    assert list(tmp_path.iterdir()) == []


def test_an_earlier_bundle_is_replaced_as_a_whole(tmp_path: Path) -> None:
    bundle(tmp_path / "out", "old")
    bundle(tmp_path / "out", "new")
    assert (tmp_path / "out" / "model.h").read_text() == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_an_earlier_bundle_stays_when_the_new_one_fails(tmp_path: Path) -> None:
    bundle(tmp_path / "out", "old")
    before = tree(tmp_path)
    with pytest.raises(ValueError), staged(tmp_path / "out", ()):
        raise ValueError
    assert tree(tmp_path) == before


@pytest.mark.parametrize("change", ["add", "edit"])
def test_a_bundle_that_the_user_touched_is_not_replaced(tmp_path: Path, change: str) -> None:
    bundle(tmp_path / "out", "old")
    (tmp_path / "out" / ("notes.txt" if change == "add" else "model.h")).write_text("mine")
    before = tree(tmp_path)
    with pytest.raises(UserError, match=r"notes\.txt was not written" if change == "add" else r"model\.h is changed"):
        bundle(tmp_path / "out", "new")
    assert tree(tmp_path) == before


def test_what_the_user_writes_into_the_output_during_a_run_stays(tmp_path: Path) -> None:
    bundle(tmp_path / "out", "old")
    with pytest.raises(UserError, match=r"notes\.txt was not written"), staged(tmp_path / "out", ()):
        (tmp_path / "out" / "notes.txt").write_text("mine")
    assert (tmp_path / "out" / "notes.txt").read_text() == "mine"


def test_of_two_runs_to_one_output_the_later_one_stays(tmp_path: Path) -> None:
    with staged(tmp_path / "out", ()) as folder:
        bundle(tmp_path / "out", "first")
        (folder / "model.h").write_text("second")
    assert (tmp_path / "out" / "model.h").read_text() == "second"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("exchange", [True, False])
def test_file_systems_that_cannot_exchange_folders_do_it_in_two_steps(
    tmp_path: Path, exchange: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not exchange:
        monkeypatch.setattr("bevel.tools.run.staging._exchanged", lambda one, other: False)
    bundle(tmp_path / "out", "old")
    bundle(tmp_path / "out", "new")
    assert set(tree(tmp_path)) == {"out/model.h", "out/manifest.json"}
    assert (tmp_path / "out" / "model.h").read_text() == "new"


def test_a_folder_that_is_no_bundle_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").write_text("mine")
    with pytest.raises(UserError, match="not empty"):
        bundle(tmp_path, "new")


def test_an_empty_folder_is_taken(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    bundle(tmp_path / "out", "new")
    assert (tmp_path / "out" / "model.h").exists()


def test_the_folder_of_an_input_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").touch()
    with pytest.raises(UserError, match="holds the input"), staged(tmp_path, (tmp_path / "model.onnx",)):
        pass


@pytest.mark.parametrize("name", ["file", "file/out", "link"])
def test_a_file_or_a_link_is_never_the_output(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UserError, match="not a folder"):
        bundle(tmp_path / name, "new")
    assert (tmp_path / "file").read_text() == "mine"
