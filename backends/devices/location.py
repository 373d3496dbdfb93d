"""Where a harness runs that was built here: on this machine, or on another one that is reached somehow."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from bevel.backends.process import processes

Completed = subprocess.CompletedProcess[str]


@dataclass(frozen=True)
class Execution:
    """A command, the files that it writes, `results`, how long it may take, and its environment beside what there is
    anyway."""

    command: Sequence[str]
    results: Sequence[str]
    limit_s: float
    environment: Mapping[str, str] = field(default_factory=dict)


class Location(Protocol):
    """A machine with a copy of a folder of this one."""

    def run(self, folder: Path, wanted: Execution) -> Completed:
        """What a command did in `folder`, where its results are then. A signal is a negative exit status."""
        ...

    def holds(self, folder: Path, name: str) -> bool:
        """Whether anything is in a folder of `folder`."""
        ...


@dataclass(frozen=True)
class Here:
    def run(self, folder: Path, wanted: Execution) -> Completed:
        return processes.run(wanted.command, folder, os.environ | dict(wanted.environment), wanted.limit_s)

    def holds(self, folder: Path, name: str) -> bool:
        return any((folder / name).iterdir())


HERE = Here()
