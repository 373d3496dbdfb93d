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
        return None if first_device() else f"no CUDA device here: {LIBRARY} finds none"

    def tool(self) -> str:
        return first_device() or "no CUDA device"

    def opened(self, artifact: Artifact) -> AbstractContextManager[Opened]:
        """The product as a function: {input port: array [N, *shape]} to the same of its outputs."""
        return harness(artifact, {})

    def measure(self, artifact: Artifact, vectors: Vectors) -> Measurement:
        return measured(self, artifact, vectors, {}, self.seconds)


def first_device() -> str | None:
    """Its name, as the driver knows it; None where there is no driver, or no device."""
    try:
        library = ctypes.CDLL(LIBRARY)
    except OSError:
        return None
    device, name = ctypes.c_int(), ctypes.create_string_buffer(NAME)
    if library.cuInit(0) or library.cuDeviceGet(ctypes.byref(device), 0):
        return None
    library.cuDeviceGetName(name, NAME, device)
    return name.value.decode(errors="replace")
