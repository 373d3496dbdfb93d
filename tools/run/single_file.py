"""One file as output: it appears whole or not at all, and where it cannot is said before the work and not after."""

from __future__ import annotations

import os
from pathlib import Path

from bevel.backends.process import litter
from bevel.backends.process.room import full_disk_named
from bevel.calib.data.files import kind_of
from bevel.calib.errors import UserError


def check_file(output: Path) -> None:
    """Raises UserError where `output` can become no plain file. Raises OSError for a name that cannot be one."""
    folder = output.absolute().parent
    if not folder.is_dir():
        raise UserError(f"{output}: there is no folder {folder}")
    if not os.access(folder, os.W_OK):
        raise UserError(f"{output}: cannot write in {folder}")
    if output.exists() and (kind := kind_of(output)) is not None:
        raise UserError(f"{output} is {kind}; name a file")


def write_file(output: Path, content: bytes) -> None:
    """Write beside `output`, and move there in one step. Raises UserError as `check_file` does."""
    check_file(output)
    output = output.absolute()

    def refusal(error: OSError) -> UserError:
        return UserError(f"cannot write in {output.parent}: {error.strerror}")

    beside = litter.temporary(output.parent, f".{output.name}", litter.PARTIAL, refusal)
    with full_disk_named(output.parent), beside as folder:
        (folder / "whole").write_bytes(content)
        os.replace(folder / "whole", output)
