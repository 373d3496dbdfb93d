"""What surrounds a GPU's kernels, by every compiler here, without a warning."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from bevel.backends.binary.artifact import Artifact

STRICT = ("-Wall", "-Wextra", "-Werror", "-O2", "-fno-strict-aliasing")


def compile_strictly(artifact: Artifact, language: str, place: Path, *defines: str) -> None:
    """In `place`, which is made."""
    place.mkdir(exist_ok=True)
    model, plus = artifact.model, language == "c++17"
    names = [f"{model}{part}.c" for part in ("", "_device", "_tables", "_source", "_weights", "_profile")]
    for path in artifact.folder.glob(f"{model}*.[ch]"):
        shutil.copyfile(path, place / path.name)
    pairs = [("gcc", "g++"), ("clang", "clang++")]
    found = [pair[plus] for pair in pairs if shutil.which(pair[plus])]
    for command in found or [f"{sys.executable} -m ziglang {'c++' if plus else 'cc'}"]:
        words = [*command.split(), "-x", "c++" if plus else "c", f"-std={language}", *STRICT, *filter(None, defines)]
        words += ["-c", *names]
        done = subprocess.run(words, cwd=place, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[:2000]
