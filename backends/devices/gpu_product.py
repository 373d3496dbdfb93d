"""Products for GPUs in a process of their own: their C is compiled for this machine around a harness, and what every
call wrote for the first vectors is held to what its reference says, beside the outputs of all.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from bevel.backends import target as targets
from bevel.backends.binary.artifact import Artifact
from bevel.backends.binary.objects import compiled
from bevel.backends.binary.toolchain import Toolchain, for_target
from bevel.backends.devices.base import Device, Measurement, Vectors, compared
from bevel.backends.devices.native import COMPARE_LIMIT_S, HarnessError, pack, seconds_of, unpack
from bevel.backends.gpu import trace
from bevel.backends.process import processes
from bevel.backends.program.op import Array
from bevel.backends.program.resources import Resource, Resources

HARNESS = "harness"
KEPT = "kept_binaries"  # what the driver makes of the kernels' source
Environment = Mapping[str, str]  # beside this process's


def measured(
    device: Device, artifact: Artifact, vectors: Vectors, environment: Environment, seconds: float
) -> Measurement:
    """Compare every element of the outputs, and every call where the build left a trace of these vectors, with kernels
    from their source and, where the driver's binary was kept, from that; then time runs for some seconds, unless the
    device is a simulator. Raises HarnessError when the process does not end well."""
    known = trace.load(artifact.folder)
    if known is not None and known.given != trace.inputs_digest(vectors):
        known = None
    with harness(artifact) as folder:
        result = checked(device, artifact, vectors, folder, environment, known)
        if not result.mismatches and any((folder / KEPT).iterdir()):
            result = checked(device, artifact, vectors, folder, environment, known)
            if result.mismatches:
                return replace(result, first_mismatch=f"with kernels from {KEPT}: {result.first_mismatch}")
        if result.mismatches or device.kind == "simulator":
            return result
        return replace(result, spent=Resources({Resource.LATENCY: latency(folder, environment, seconds)}))


def checked(
    device: Device,
    artifact: Artifact,
    vectors: Vectors,
    folder: Path,
    environment: Environment,
    known: trace.CallDigests | None,
) -> Measurement:
    """Outputs and calls of one process."""
    traced = 0 if known is None else len(known.digests)
    result = compared(device, outputs(artifact, vectors, folder, environment, traced), vectors)
    if result.mismatches or known is None or not (different := trace.wrong(known, calls(artifact, folder, traced))):
        return result
    return replace(result, mismatches=len(different), first_mismatch=different[0])


@contextmanager
def harness(artifact: Artifact) -> Iterator[Path]:
    """A folder where the product and the harness around it are compiled for this machine."""
    with TemporaryDirectory(prefix="bevel-") as name:
        folder = Path(name)
        build_harness(artifact, for_target(targets.load("host")), folder)
        (folder / KEPT).mkdir()
        yield folder


def build_harness(artifact: Artifact, toolchain: Toolchain, folder: Path) -> None:
    """folder/harness, of the product's sources."""
    model = artifact.model
    for path in (*artifact.folder.glob(f"{model}*.[ch]"), *artifact.folder.glob("bevel_*.h")):
        (folder / path.name).write_bytes(path.read_bytes())
    text = files("bevel.backends.gpu").joinpath("c/harness.c").read_text(encoding="utf-8")
    (folder / "harness.c").write_text(text.replace("MODEL", model), encoding="utf-8")
    reset = (f"-DRESET={artifact.reset}",) if artifact.reset else ()
    defines = (f"-DRUN={artifact.entry}", f"-DARENA_BYTES={model.upper()}_ARENA_BYTES", *reset)
    objects = [compiled(toolchain, "harness.c", folder, defines)]
    objects += [compiled(toolchain, path.name, folder) for path in sorted(folder.glob(f"{model}*.c"))]
    toolchain.link(objects, HARNESS, folder, ("-ldl", "-lm"))


def outputs(
    artifact: Artifact, vectors: Vectors, folder: Path, environment: Environment, traced: int = 0
) -> dict[str, Array]:
    """What the harness in `folder` computes for every vector; of the first `traced` also what each call does."""
    (folder / "vectors.bin").write_bytes(pack(artifact, vectors))
    run_harness(folder, environment, "outputs.bin", *(("calls.bin", str(traced)) if traced else ()))
    return unpack((folder / "outputs.bin").read_bytes(), artifact.outputs, len(vectors))


def calls(artifact: Artifact, folder: Path, count: int) -> list[list[str]]:
    """The digest of what each call wrote for each vector, behind `outputs`."""
    data = np.fromfile(folder / "calls.bin", np.uint8)
    rows = data.reshape(count, -1)
    sizes = call_sizes(artifact, folder)
    ends = np.cumsum(sizes)
    return [[trace.digest([row[end - size : end]]) for size, end in zip(sizes, ends, strict=True)] for row in rows]


def call_sizes(artifact: Artifact, folder: Path) -> list[int]:
    """The bytes that each call writes, as the product's table has them."""
    lines = (folder / f"{artifact.model}_profile.c").read_text(encoding="utf-8").splitlines()
    start = next(place for place, line in enumerate(lines) if f"{artifact.model}_written[][3]" in line) + 1
    sizes = [0] * len(artifact.calls)
    for line in lines[start : lines.index("};", start)]:
        call, _, size = (int(number) for number in line.strip(" {},").split(", "))
        sizes[call] += size
    return sizes


def latency(folder: Path, environment: Environment, seconds: float) -> float:
    """The median of runs, behind `outputs`."""
    run_harness(folder, environment, "times.bin", str(seconds))
    return seconds_of(np.median(np.fromfile(folder / "times.bin", np.uint64)))


def run_harness(folder: Path, environment: Environment, results: str, *words: str) -> None:
    command = (f"./{HARNESS}", "vectors.bin", results, KEPT, *words)
    done = processes.run(command, folder, os.environ | dict(environment), timeout=COMPARE_LIMIT_S)
    if done.returncode:
        raise HarnessError(f"{' '.join(command)} exited with {done.returncode}: {done.stderr.strip() or 'no message'}")
