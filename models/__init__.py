"""Reference networks: small ONNX files trained by the scripts beside them, with their calibration and test arrays.

`python -m bevel.models.<name>` writes `<name>.onnx`, `python -m bevel.models.digits` the arrays they share, and
`python -m bevel.models` prints the table of README.md.
"""

from __future__ import annotations

from pathlib import Path

from bevel.calib.errors import UserError

FOLDER = Path(__file__).parent


def names() -> tuple[str, ...]:
    """Every network whose file is in this folder, in alphabetical order."""
    return tuple(sorted(file.stem for file in FOLDER.glob("*.onnx")))


def path(name: str) -> Path:
    """The ONNX file of the network `name`. Raises UserError for a name that is not in `names()`."""
    if name not in names():
        raise UserError(f"no model '{name}'; known models: {', '.join(names())}")
    return FOLDER / f"{name}.onnx"


def splits() -> tuple[str, ...]:
    """The data splits in this folder: calib, eval."""
    return tuple(sorted(file.stem.removeprefix("digits_") for file in FOLDER.glob("digits_*.npz")))


def data(split: str) -> Path:
    """The arrays every network reads: `image` float32 [N, 1, 8, 8] and the class `y` int64 [N].

    Raises UserError for a name that is not in `splits()`.
    """
    if split not in splits():
        raise UserError(f"no data '{split}'; known data: {', '.join(splits())}")
    return FOLDER / f"digits_{split}.npz"
