"""The first CUDA device of this machine."""

from __future__ import annotations

import ctypes
from contextlib import AbstractContextManager
from dataclasses import dataclass

from bevel.backends.binary.artifact import Artifact
from bevel.backends.devices.base import DeviceKind, Measurement, Opened, Vectors
from bevel.backends.devices.gpu_product import harness, measured
from bevel.backends.target import Target

LIBRARY = "libcuda.so.1"
NAME = 128  # bytes
MAJOR, MINOR = 75, 76  # attributes: of the compute capability


@dataclass(frozen=True)
class CudaDevice:
    """`capability`: such as 90, for 9.0."""

    name: str
    capability: int

    def runs(self, arch: str) -> bool:
        """Machine code runs on what came later, too, of its own major number (CUDA C++ Programming Guide, "Binary
        Compatibility")."""
        wanted = int(arch.removeprefix("sm_"))
        return self.capability // 10 == wanted // 10 and self.capability >= wanted


@dataclass(frozen=True)
class Cuda:
    """`seconds`: how long runs are timed."""

    target: Target
    seconds: float = 0.5
    name: str = "cuda"
    kind: DeviceKind = "host"

    def missing(self) -> str | None:
        if self.target.gpu.get("language") != "cuda":
            return f"{self.name} runs CUDA; {self.target.name} does not"
        found = first_device()
        if found is None:
            return f"no CUDA device here: {LIBRARY} finds none"
        if not found.runs(self.target.gpu["arch"]):
            return f"{found.name} is sm_{found.capability}; {self.target.name} needs {self.target.gpu['arch']}"
        return None

    def tool(self) -> str:
        found = first_device()
        return found.name if found else "no CUDA device"

    def opened(self, artifact: Artifact) -> AbstractContextManager[Opened]:
        """The product as a function: {input port: array [N, *shape]} to the same of its outputs."""
        return harness(artifact, {})

    def measure(self, artifact: Artifact, vectors: Vectors) -> Measurement:
        return measured(self, artifact, vectors, {}, self.seconds)


def first_device() -> CudaDevice | None:
    """As the driver knows it; None where there is no driver, or no device."""
    try:
        library = ctypes.CDLL(LIBRARY)
    except OSError:
        return None
    device, name = ctypes.c_int(), ctypes.create_string_buffer(NAME)
    if library.cuInit(0) or library.cuDeviceGet(ctypes.byref(device), 0):
        return None
    library.cuDeviceGetName(name, NAME, device)
    major, minor = ctypes.c_int(), ctypes.c_int()
    for number, attribute in ((major, MAJOR), (minor, MINOR)):
        library.cuDeviceGetAttribute(ctypes.byref(number), attribute, device)
    return CudaDevice(name.value.decode(errors="replace"), 10 * major.value + minor.value)
