"""The last net: an exception that nobody expected becomes one line, and its traceback a file that the line names."""

from __future__ import annotations

import os
import platform
import sys
import tempfile
import traceback
from importlib import metadata
from pathlib import Path

LONGEST = 300  # characters of the message: the file has all of it
PREFIX, SUFFIX = "bevel-bug-", ".txt"


def bug_line(error: BaseException, command: str) -> str:
    """What to print of `error`, a bug of ours. Whatever else goes wrong, this does not."""
    name = type(error).__name__
    try:
        said = " ".join(str(error).split())
        said = said if len(said) <= LONGEST else f"{said[:LONGEST]} ..."
    except Exception:  # an exception whose text cannot be made
        said = ""
    written = write_traceback(error, command)
    where = f"its traceback is in {written}" if written else "its traceback could not be written anywhere"
    return f"this is a bug of Bevel: {name}{f': {said}' if said else ''} ({where}; please report it with the model)"


def write_traceback(error: BaseException, command: str) -> Path | None:
    """The file, in the folder for temporary files or else in the user's home; None where neither can be written."""
    try:
        text = "\n".join([describe(command), "".join(traceback.format_exception(error))])
    except Exception:  # a recursion or an exception that cannot be printed
        text = f"{command}\n{type(error)!r}\n"
    for folder in (None, Path.home):
        try:
            place = None if folder is None else str(folder())
            handle, name = tempfile.mkstemp(prefix=PREFIX, suffix=SUFFIX, dir=place)
            with os.fdopen(handle, "w", encoding="utf-8", errors="backslashreplace") as stream:
                stream.write(text)
            return Path(name)
        except (OSError, RuntimeError):  # RuntimeError: there is no home
            continue
    return None


def describe(command: str) -> str:
    """The versions that a report of a bug needs."""
    versions = []
    for name in ("bevel", "apache-tvm", "numpy", "onnx", "onnxruntime"):
        try:
            versions.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            versions.append(f"{name} not installed")
    return f"{command}\n{platform.platform()}, Python {sys.version}\n{', '.join(versions)}\n"
