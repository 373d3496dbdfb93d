"""Reference networks: small ONNX files trained by the scripts beside them, with their calibration and test arrays.

`python -m bevel.models.<name>` writes `<name>.onnx`, `python -m bevel.models.digits` the arrays they share, and
`python -m bevel.models` prints the table of README.md.
"""

from __future__ import annotations

from pathlib import Path

from bevel.calib.errors import UserError

FOLDER = Path(__file__).parent


DIGITS = "digits"
READS = {"decoder": "topics"}  # networks of other data


def names(reads: str = DIGITS) -> tuple[str, ...]:
    """Every network in this folder that reads those data, in alphabetical order."""
    return tuple(name for name in every_name() if READS.get(name, DIGITS) == reads)


def every_name() -> tuple[str, ...]:
    return tuple(sorted(file.stem for file in FOLDER.glob("*.onnx")))


def path(name: str) -> Path:
    """The ONNX file of the network `name`. Raises UserError for a name that is none."""
    if name not in every_name():
        raise UserError(f"no model '{name}'; known models: {', '.join(every_name())}")
    return FOLDER / f"{name}.onnx"


def splits(of: str = DIGITS) -> tuple[str, ...]:
    """The data splits in this folder: calib, eval."""
    return tuple(sorted(file.stem.removeprefix(f"{of}_") for file in FOLDER.glob(f"{of}_*.npz")))


def data(split: str, of: str = DIGITS) -> Path:
    """The arrays that networks of digits read, `image` float32 [N, 1, 8, 8] and the class `y` int64 [N]; of `topics`,
    `ids` int64 [N, 64].

    Raises UserError for a name that is not in `splits()`.
    """
    if split not in splits(of):
        raise UserError(f"no data '{split}'; known data: {', '.join(splits(of))}")
    return FOLDER / f"{of}_{split}.npz"
