"""Which networks a benchmark runs: those of a folder, or the reference networks that come with Bevel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bevel import models
from bevel.calib.errors import UserError

MODEL, CALIB, EVAL = "model.onnx", "calib.npz", "eval.npz"


@dataclass(frozen=True)
class Subject:
    """A network and its samples; without `evaluation` its accuracy is not measured."""

    name: str
    model: Path
    calib: Path
    evaluation: Path | None


def subjects(folder: Path | None, only: Sequence[str] = ()) -> list[Subject]:
    """The subjects in `folder` (None: the reference networks), in alphabetical order, or those named in `only`.

    Raises UserError for a folder without any, and for a name in `only` that is not there.
    """
    found = reference_networks() if folder is None else in_folder(folder)
    known = {subject.name: subject for subject in found}
    for name in only:
        if name not in known:
            raise UserError(f"no network '{name}'; there are: {', '.join(known)}")
    return [known[name] for name in only] or found


def reference_networks() -> list[Subject]:
    return [Subject(name, models.path(name), models.data("calib"), models.data("eval")) for name in models.names()]


def in_folder(folder: Path) -> list[Subject]:
    places = sorted(path.parent for path in folder.glob(f"*/{MODEL}") if (path.parent / CALIB).is_file())
    if not places:
        raise UserError(f"{folder} holds no network: a folder with {MODEL}, {CALIB} and perhaps {EVAL} for each")
    return [
        Subject(place.name, place / MODEL, place / CALIB, place / EVAL if (place / EVAL).is_file() else None)
        for place in places
    ]
