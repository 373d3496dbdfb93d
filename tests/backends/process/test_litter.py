"""What a killed run leaves is removed by the next, and nothing else is."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from bevel.backends.process import litter
from bevel.calib.errors import UserError

MAKER = """
import os, signal, sys
from pathlib import Path
from bevel.backends.process import litter
with litter.temporary(Path(sys.argv[1]), ".out", litter.PARTIAL, lambda error: error) as folder:
    (folder / "half").write_text("written")
    print(folder.name, flush=True)
    sys.stdin.read()
    os.kill(os.getpid(), signal.SIGKILL)
"""


def refusal(error: OSError) -> UserError:
    return UserError(str(error))


def killed(base: Path) -> str:
    """The folder of a run that was killed."""
    done = subprocess.run([sys.executable, "-c", MAKER, base], input="", capture_output=True, text=True)
    assert done.returncode == -9, done.stderr
    return done.stdout.strip()


def names(base: Path) -> set[str]:
    return {path.name for path in base.iterdir()}


def test_the_next_run_removes_what_a_killed_one_left(tmp_path: Path) -> None:
    left = killed(tmp_path)
    assert names(tmp_path) == {left}
    with litter.temporary(tmp_path, ".other", litter.PARTIAL, refusal) as folder:
        assert names(tmp_path) == {folder.name}
    assert names(tmp_path) == set()


def test_the_folder_of_a_run_that_lives_stays(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", MAKER, tmp_path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as living:
        assert living.stdin is not None and living.stdout is not None
        name = living.stdout.readline().strip()
        litter.sweep(tmp_path)
        assert (tmp_path / name / "half").read_text() == "written"
        living.stdin.close()
    litter.sweep(tmp_path)
    assert names(tmp_path) == set()


@pytest.mark.parametrize("name", [".out.partial", ".out.abcdefgh.partial", "out.bevel.partial", "bevel-abcdefgh"])
def test_folders_of_others_stay(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    litter.sweep(tmp_path)
    assert names(tmp_path) == {name}


def test_a_link_or_a_file_of_that_name_stays(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / ".a.abcdefgh.bevel.partial").symlink_to(tmp_path / "mine")
    (tmp_path / ".b.abcdefgh.bevel.partial").write_text("mine")
    litter.sweep(tmp_path)
    assert len(names(tmp_path)) == 3


def test_a_name_as_long_as_file_systems_allow_is_cut(tmp_path: Path) -> None:
    with litter.temporary(tmp_path, "ü" * 127, litter.PARTIAL, refusal) as folder:
        assert folder.is_dir()
        litter.sweep(tmp_path)
        assert folder.is_dir()


def test_temporary_files_of_a_run_go_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with litter.scratch():
        place = Path(tempfile.mkdtemp())
        assert place.parent == Path(os.environ["TMPDIR"]) and place.parent.parent == tmp_path
        assert litter.in_scratch(place) and litter.outside_scratch() == tmp_path
    assert names(tmp_path) == set() and tempfile.gettempdir() == str(tmp_path)


def test_no_room_for_temporary_files_is_said_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr("bevel.backends.process.room.WANTED", 1 << 62)
    with pytest.raises(UserError, match="temporary files go there"), litter.scratch():
        pass


def test_no_place_for_temporary_files_is_said_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none() -> str:
        raise FileNotFoundError(2, "No usable temporary directory found")

    monkeypatch.setattr(tempfile, "gettempdir", none)
    with pytest.raises(UserError, match="set TMPDIR"), litter.scratch():
        pass
