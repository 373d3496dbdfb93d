"""This machine: the shared library, in a process of its own, one thread."""

from __future__ import annotations

import platform
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from bevel.backends.binary.artifact import Artifact
from bevel.backends.binary.toolchain import for_target
from bevel.backends.cpu.levels import at_hand
from bevel.backends.devices.base import DeviceKind, Measurement, Opened, Vectors
from bevel.backends.devices.native import build_harness, measured, outputs
from bevel.backends.target import Target


@dataclass(frozen=True)
class Host:
    """Runs CPU targets of this machine's architecture, `seconds` long for whole and again for profiled runs."""

    target: Target
    seconds: float = 0.5
    name: str = "host"
    kind: DeviceKind = "host"

    def missing(self) -> str | None:
        if not sys.platform.startswith("linux"):
            return f"the host device needs Linux; this is {sys.platform}"
        if self.target.bare or self.target.triple.split("-")[0] != platform.machine():
            return f"this machine is {platform.machine()}; {self.target.name} needs {self.target.triple}"
        return None

    def tool(self) -> str:
        sets = "".join(f", {level.name}" for level in at_hand(self.target))
        return f"{processor()}{sets}, one thread"

    @contextmanager
    def opened(self, artifact: Artifact) -> Iterator[Opened]:
        """The library as a function: {input port: array [N, *shape]} to the same of its outputs."""
        with TemporaryDirectory(prefix="bevel-") as name:
            folder = Path(name)
            build_harness(artifact, for_target(self.target), folder, static=False)
            yield lambda inputs, begins=None: outputs(artifact, Vectors(inputs, {}, begins), folder)

    def measure(self, artifact: Artifact, vectors: Vectors) -> Measurement:
        """Compare every output element, then time. Raises HarnessError when the model's process crashes."""
        return measured(self, artifact, vectors, for_target(self.target), self.seconds)


@cache
def processor() -> str:
    """The processor's name, as Linux knows it."""
    information = Path("/proc/cpuinfo")
    lines = information.read_text(encoding="utf-8").splitlines() if information.exists() else []
    named = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.machine())
