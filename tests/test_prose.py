"""Files and names of ours that comments and docstrings point at exist."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ADDED = ROOT / "tests" / "adding"
FOLDERS = ("calib", "backends", "passes", "models", "tools", "tests")
NAME = re.compile(r"`bevel((?:\.\w+)+)`")
SHORT = re.compile(r"`((?:calib|backends|passes)(?:\.\w+){2,})`")
PATH = re.compile(rf"`((?:{'|'.join(FOLDERS)})/[\w/]*\w(?:\.\w+)?)/?`")


def texts(folder: str) -> Iterator[tuple[Path, str]]:
    """All but what tests add to a copy of ours, where it then is."""
    for path in sorted((ROOT / folder).rglob("*")):
        if path.suffix in (".py", ".h", ".c", ".md") and ADDED not in path.parents:
            yield path, path.read_text(encoding="utf-8")


def exists(name: str) -> bool:
    """Whether `.package.module`, or `.package.module.name`, or what follows it, is one of ours."""
    parts = name.strip(".").split(".")
    for count in range(len(parts), 0, -1):
        place = ROOT.joinpath(*parts[:count])
        file = next((one for one in (place.with_suffix(".py"), place / "__init__.py") if one.is_file()), None)
        if file is None and not place.is_dir():
            continue
        rest = parts[count : count + 1]
        return not rest or (file is not None and re.search(rf"\b{rest[0]}\b", file.read_text()) is not None)
    return name == ".optimize"  # what the package itself holds


@pytest.mark.parametrize("folder", FOLDERS)
def test_what_is_named_exists(folder: str) -> None:
    missing = []
    for path, text in texts(folder):
        found = [name for name in NAME.findall(text) if not exists(name)]
        found += [place for place in PATH.findall(text) if not (ROOT / place).exists()]
        found += [f"{name} without `bevel.`" for name in SHORT.findall(text)]
        missing += [f"{path.relative_to(ROOT)}: {one}" for one in found]
    assert not missing, "\n".join(missing)


def test_a_name_that_is_not_there_is_found() -> None:
    assert exists(".calib.formats.coded.Coded") and exists(".backends.tir")
    assert not exists(".calib.formats.coded.Cod") and not exists(".backends.kernels.conv")
