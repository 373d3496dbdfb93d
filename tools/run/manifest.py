"""manifest.json: what a bundle holds (sha256 of every file but this one) and what made it. No times, no host names."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from bevel.calib.data.files import check_plain, kind_of
from bevel.calib.errors import UserError

NAME = "manifest.json"
SETTINGS = ("target", "flash", "ram", "name", "objective", "isa", "threads", "logic", "kernels", "chains")


@dataclass(frozen=True)
class Manifest:
    """`settings` (`SETTINGS`) are what a new build needs to be the same, `artifact` what a device must know to run this
    one, `arena` the memory plan as `bevel inspect` draws it."""

    bevel: str
    command: str
    tools: dict[str, str]
    files: dict[str, str]
    settings: dict[str, Any]
    artifact: dict[str, Any]
    arena: dict[str, Any]


def sha256(path: Path) -> str:
    """The kind of what is no plain file in place of its content: reading it might wait for ever."""
    try:
        if (kind := kind_of(path)) is not None:
            return kind
    except FileNotFoundError:
        return "a link to nothing"
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def hashes(folder: Path) -> dict[str, str]:
    """{path below `folder`, with slashes: sha256} of every file but the manifest itself, sorted."""
    paths = sorted(path for path in folder.rglob("*") if not path.is_dir())
    names = {path.relative_to(folder).as_posix(): path for path in paths}
    return {name: sha256(path) for name, path in names.items() if name != NAME}


def write(folder: Path, manifest: Manifest) -> None:
    (folder / NAME).write_text(json.dumps(vars(manifest), indent=2) + "\n")


def read(folder: Path) -> Manifest:
    """The manifest of a bundle; UserError where there is none."""
    if not folder.is_dir():
        raise UserError(f"{folder} is not a folder; give the folder that `optimize -o` wrote")
    try:
        check_plain(folder / NAME)
        fields = json.loads((folder / NAME).read_text())
        return Manifest(**fields)
    except FileNotFoundError:
        raise UserError(f"{folder} has no {NAME}; give the folder that `optimize -o` wrote") from None
    except (ValueError, TypeError):
        raise of_another_version(folder) from None


def of_another_version(folder: Path) -> UserError:
    return UserError(f"{folder / NAME} is not a manifest of this version of Bevel; run optimize again")


def check_settings(folder: Path, manifest: Manifest) -> None:
    """Raises UserError where a setting is missing that a new build needs: another version had fewer."""
    if missing := [name for name in SETTINGS if name not in manifest.settings]:
        lost = f"the setting{'s' if len(missing) > 1 else ''} {', '.join(missing)}"
        raise UserError(f"{folder / NAME} lacks {lost}: another version of Bevel wrote it; run optimize again")


@dataclass(frozen=True)
class Difference:
    """A file of a bundle that is not as its manifest says."""

    name: str
    kind: Literal["missing", "changed", "added"]

    def __str__(self) -> str:
        return f"{self.name} was not written by Bevel" if self.kind == "added" else f"{self.name} is {self.kind}"


def differences(folder: Path, manifest: Manifest) -> list[Difference]:
    found = hashes(folder)
    missing = [Difference(name, "missing") for name in manifest.files if name not in found]
    changed = [
        Difference(name, "changed") for name, digest in manifest.files.items() if found.get(name, digest) != digest
    ]
    added = [Difference(name, "added") for name in found if name not in manifest.files]
    return missing + changed + added


def foreign(folder: Path) -> str | None:
    """Why `folder` may not be replaced, or None when every file in it is as a run of ours left it."""
    try:
        kept = [difference for difference in differences(folder, read(folder)) if difference.kind != "missing"]
    except UserError:
        return f"holds no {NAME} of ours"
    return str(kept[0]) if kept else None
