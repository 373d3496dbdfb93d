"""The first OpenCL device of this machine.

PoCL runs OpenCL on a CPU. That checks results, and its times say nothing of a GPU: such a device is a simulator,
without times. The drivers' library is the system's, or what came with `pip install 'bevel[opencl]'`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from bevel.backends.binary.artifact import Artifact
from bevel.backends.devices.base import DeviceKind, Measurement, Opened, Vectors
from bevel.backends.devices.gpu_product import harness, measured
from bevel.backends.process import processes
from bevel.backends.process.cache import cache_folder
from bevel.backends.target import Target
from bevel.calib.extras import to_install

SYSTEM = "libOpenCL.so.1"
CPU = 2  # of CL_DEVICE_TYPE
LIBRARY = "BEVEL_OPENCL_LIBRARY"  # tells the product which library to load
SEARCHED = "LD_LIBRARY_PATH"
PROBE = "bevel.backends.devices.opencl_probe"


@dataclass(frozen=True)
class FirstDevice:
    """The device that products take, as its driver names it."""

    name: str
    kind: int
    version: str
    environment: Mapping[str, str]


@dataclass(frozen=True)
class OpenCl:
    """`seconds`: how long runs are timed, where times mean something."""

    target: Target
    seconds: float = 0.5
    name: str = "opencl"

    @property
    def kind(self) -> DeviceKind:
        found = first_device()
        return "simulator" if found is None or found.kind & CPU else "host"

    def missing(self) -> str | None:
        if self.target.gpu.get("language") != "opencl":
            return f"{self.name} runs OpenCL; {self.target.name} does not"
        if first_device() is None:
            pip = f"{to_install('opencl')} on x86-64 Linux"
            return f"no OpenCL device here; one that runs on the CPU (PoCL) comes with {pip}, or with the system's PoCL"
        return None

    def tool(self) -> str:
        found = first_device()
        if found is None:
            return "no OpenCL device"
        told = f"{found.name}, {found.version}"
        return f"{told}: on a CPU, its time means nothing" if self.kind == "simulator" else told

    def opened(self, artifact: Artifact) -> AbstractContextManager[Opened]:
        """The product as a function: {input port: array [N, *shape]} to the same of its outputs."""
        return harness(artifact, environment())

    def measure(self, artifact: Artifact, vectors: Vectors) -> Measurement:
        return measured(self, artifact, vectors, environment(), self.seconds)


def environment() -> dict[str, str]:
    """What a process needs that runs a product."""
    found = first_device()
    return dict(found.environment if found is not None else {}) | {"POCL_CACHE_DIR": str(pocl_cache())}


def pocl_cache() -> Path:
    """Where PoCL keeps what it compiled."""
    return cache_folder() / "pocl"


@cache
def first_device() -> FirstDevice | None:
    """The first GPU, or else the first device, of the system's library or of pip's."""
    system, pip = device_of({}), from_pip()
    return system if system is not None or pip is None else device_of(pip)


def device_of(environment: Mapping[str, str]) -> FirstDevice | None:
    """The same of the library that an environment names. Asked in a process of its own: drivers bring compilers."""
    given = os.environ | dict(environment) | {"POCL_CACHE_DIR": str(pocl_cache())}
    done = processes.run((sys.executable, "-m", PROBE, environment.get(LIBRARY, SYSTEM)), environment=given)
    lines = done.stdout.splitlines() if done.returncode == 0 else []
    return FirstDevice(lines[0], int(lines[1]), lines[2], environment) if len(lines) == 3 else None


def from_pip() -> dict[str, str] | None:
    """What the environment must say for the library that comes with pyopencl, and for PoCL's driver, which its package
    puts beside it and names without a folder."""
    spec = find_spec("pyopencl")
    if spec is None or spec.origin is None:
        return None
    home = Path(spec.origin).parent
    libraries = sorted(home.glob(".libs/libOpenCL*.so*"))
    if not libraries:
        return None
    searched = os.pathsep.join(filter(None, (str(libraries[0].parent), os.environ.get(SEARCHED))))
    return {LIBRARY: str(libraries[0]), "PYOPENCL_HOME": str(home), SEARCHED: searched}
