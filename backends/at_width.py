"""A product whose weights can change their width, measured as it is at one of them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from bevel.backends.build import BuildOptions, build
from bevel.backends.devices.base import Device, Measurement, Vectors
from bevel.backends.program.program import Program
from bevel.backends.target import Target


@dataclass(frozen=True)
class SwitchableProduct:
    """What is built and measured at every width. `program` begins at the full one."""

    program: Program
    target: Target
    device: Device | None
    settings: BuildOptions

    def measured(self, bits: int, tests: Vectors) -> Measurement | None:
        """The product as it was built, but that it begins at `bits` bits."""
        if self.device is None:
            return None
        with TemporaryDirectory(prefix="bevel-") as folder:
            artifact = build(replace(self.program, width=bits), self.target, Path(folder), tests, self.settings)
            return self.device.measure(artifact, tests)
