"""What a model is called in C."""

from __future__ import annotations

import re
from pathlib import Path

from bevel.backends.binary.c.names import identifier
from bevel.calib.errors import UserError

_IDENTIFIER = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,99}")  # file names are made of it


def model_name(wanted: str | None, model: Path) -> str:
    """`wanted` if it is an identifier of C (UserError if not), or one made of the model's file name."""
    if wanted is None:
        return identifier(model.stem)
    if not _IDENTIFIER.fullmatch(wanted):
        raise UserError(f"--name {wanted}: write a C identifier of up to 100 letters, digits and _, a letter first")
    return wanted
