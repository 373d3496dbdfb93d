"""Where a harness runs that was built here: on this machine, or on another one that is reached somehow."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from bevel.backends.process import processes

Environment = Mapping[str, str]  # beside what there is anyway
Completed = subprocess.CompletedProcess[str]


class Location(Protocol):
    """A machine with a copy of a folder of this one."""

    def run(
        self,
        folder: Path,
        command: Sequence[str],
        results: Sequence[str],
        environment: Environment,
        limit_s: float,
    ) -> Completed:
        """What a command did in `folder`, where the files that it writes, `results`, are then. A signal is a
        negative exit status."""
        ...

    def holds(self, folder: Path, name: str) -> bool:
        """Whether anything is in a folder of `folder`."""
        ...


@dataclass(frozen=True)
class Here:
    def run(
        self,
        folder: Path,
        command: Sequence[str],
        results: Sequence[str],
        environment: Environment,
        limit_s: float,
    ) -> Completed:
        return processes.run(command, folder, os.environ | dict(environment), limit_s)

    def holds(self, folder: Path, name: str) -> bool:
        return any((folder / name).iterdir())


HERE = Here()
