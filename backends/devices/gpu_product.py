"""Products for GPUs in a process of their own: their C is compiled for this machine around a harness, and what every
call wrote for the first vectors is held to what its reference says, beside the outputs of all.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from bevel.backends import target as targets
from bevel.backends.binary.artifact import Artifact
from bevel.backends.binary.objects import compiled
from bevel.backends.binary.toolchain import Toolchain, for_target
from bevel.backends.devices.base import CallCost, Device, Measurement, Vectors, compared
from bevel.backends.devices.boards import Boards
from bevel.backends.devices.location import HERE, Execution, Location
from bevel.backends.devices.native import (
    COMPARE_LIMIT_S,
    HARNESS,
    SHARED,
    Times,
    pack,
    run_harness,
    seconds_of,
    unpack,
)
from bevel.backends.gpu import statics, trace
from bevel.backends.program.op import Array
from bevel.backends.program.resources import Resource, Resources

KEPT = "kept_binaries"  # what the driver makes of the kernels' source
SECONDS = 0.5  # that runs on a board are timed
CPU = "cpu"  # what the harness prints of a device that is one


@dataclass(frozen=True)
class Harness:
    """The product and the harness around it in `folder`, and where they run: a function (Opened). `recorded`: whether
    launches are recorded and then put into the queue together."""

    artifact: Artifact
    folder: Path
    environment: Mapping[str, str]
    place: Location = HERE
    recorded: bool = False

    def __call__(self, inputs: dict[str, Array], begins: Array | None = None) -> dict[str, Array]:
        return self.outputs(Vectors(inputs, {}, begins))

    def outputs(self, vectors: Vectors, traced: int = 0) -> dict[str, Array]:
        """What it computes for every vector; of the first `traced` also what each call does."""
        (self.folder / "vectors.bin").write_bytes(pack(self.artifact, vectors))
        self.run("outputs.bin", *(("calls.bin", str(traced)) if traced else ()))
        return unpack((self.folder / "outputs.bin").read_bytes(), self.artifact.outputs, len(vectors))

    def calls(self, known: trace.CallDigests) -> list[list[str]]:
        """The digest of what each call wrote for each vector that is `known`, behind `outputs`."""
        rows = np.fromfile(self.folder / "calls.bin", np.uint8).reshape(len(known.digests), -1)
        ends = np.cumsum(known.sizes)
        places = [slice(end - size, end) for size, end in zip(known.sizes, ends, strict=True)]
        return [[trace.digest([row[place]]) for place in places] for row in rows]

    def times(self, seconds: float) -> Times | None:
        """Medians of runs, and of calls by the device's own clock, behind `outputs`; None where it is a CPU."""
        said = self.run("times.bin", str(seconds)).splitlines()
        if said[-1] == CPU:
            return None
        run = seconds_of(np.median(np.fromfile(self.folder / "times.bin", np.uint64)))
        return Times(run, self.call_times(seconds))

    def call_times(self, seconds: float) -> tuple[CallCost, ...]:
        """Of each call that the device runs, the median of what all its launches take."""
        self.run("times.bin", "launches", str(seconds))
        counts = [call.launches for call in statics.load(self.artifact.folder, self.artifact.model)]
        if not any(counts):
            return ()
        each = np.fromfile(self.folder / "times.bin", np.uint64).reshape(-1, sum(counts))
        places = [slice(end - count, end) for count, end in zip(counts, np.cumsum(counts), strict=True)]
        medians = [np.median(each[:, place].sum(axis=1)) for place in places]
        found = [CallCost(call, Resources({Resource.LATENCY: seconds_of(one)})) for call, one in enumerate(medians)]
        return tuple(one for one, count in zip(found, counts, strict=True) if count)

    def run(self, *words: str) -> str:
        """What it printed. `words`: the results, and what else there is to say."""
        told = ("recorded",) if self.recorded else ()
        command = (f"./{HARNESS}", "vectors.bin", words[0], KEPT, *words[1:], *told)
        results = [word for word in words if word.endswith(".bin")]
        return run_harness(self.folder, Execution(command, results, COMPARE_LIMIT_S, self.environment), self.place)

    def keeps(self) -> bool:
        """Whether the driver's binary was kept."""
        return self.place.holds(self.folder, KEPT)


def measured(
    device: Device,
    artifact: Artifact,
    vectors: Vectors,
    environment: Mapping[str, str],
    seconds: float,
    toolchain: Toolchain | None = None,
    place: Location = HERE,
) -> Measurement:
    """Compare every element of the outputs, and every call where the build left a trace of these vectors, with kernels
    from their source and, where the driver's binary was kept, from that; then time runs, and launches by the device's
    own clock, for some seconds each, unless it is a CPU, or a simulator. `toolchain`: that of the place, where it is
    not this machine. Raises HarnessError when the process does not end well."""
    known = trace.load(artifact.folder)
    if known is not None and known.given != trace.inputs_digest(vectors):
        known = None
    with harness(artifact, environment, toolchain, place) as built:
        result = checked(device, built, vectors, known)
        if not result.mismatches and built.keeps():
            result = checked(device, built, vectors, known)
            if result.mismatches:
                return replace(result, first_mismatch=f"with kernels from {KEPT}: {result.first_mismatch}")
        if result.mismatches or device.kind == "simulator":
            return result
        found = built.times(seconds)
        if found is None:
            return replace(result, kind="simulator", tool=f"{result.tool}: OpenCL on its CPU, whose time means nothing")
        return replace(result, spent=Resources({Resource.LATENCY: found.run}), per_call=found.calls)


def on_board(device: Boards, artifact: Artifact, vectors: Vectors, place: Location) -> Measurement:
    """`measured` on another machine, by its first device."""
    return measured(device, artifact, vectors, {}, SECONDS, for_target(device.target), place)


def checked(device: Device, built: Harness, vectors: Vectors, known: trace.CallDigests | None) -> Measurement:
    """Outputs and calls of one process."""
    traced = 0 if known is None else len(known.digests)
    result = compared(device, built.outputs(vectors, traced), vectors)
    if result.mismatches or known is None or not (different := trace.wrong(known, built.calls(known))):
        return result
    return replace(result, mismatches=len(different), first_mismatch=different[0])


@contextmanager
def harness(
    artifact: Artifact, environment: Mapping[str, str], toolchain: Toolchain | None = None, place: Location = HERE
) -> Iterator[Harness]:
    """The product and the harness around it, compiled for this machine unless another toolchain is given."""
    with TemporaryDirectory(prefix="bevel-") as name:
        folder = Path(name)
        build_harness(artifact, toolchain or for_target(targets.load("host")), folder)
        (folder / KEPT).mkdir()
        yield Harness(artifact, folder, environment, place)


def build_harness(artifact: Artifact, toolchain: Toolchain, folder: Path) -> None:
    """folder/harness, of the product's sources."""
    model = artifact.model
    for path in (*artifact.folder.glob(f"{model}*.[ch]"), *artifact.folder.glob("bevel_*.h")):
        (folder / path.name).write_bytes(path.read_bytes())
    text = files("bevel.backends.gpu").joinpath("c/harness.c").read_text(encoding="utf-8")
    (folder / SHARED).write_bytes(files("bevel.backends.devices").joinpath(SHARED).read_bytes())
    (folder / "harness.c").write_text(text.replace("MODEL", model), encoding="utf-8")
    reset = (f"-DRESET={artifact.reset}",) if artifact.reset else ()
    defines = (f"-DRUN={artifact.entry}", f"-DARENA_BYTES={model.upper()}_ARENA_BYTES", *reset)
    objects = [compiled(toolchain, "harness.c", folder, defines)]
    timed = (f"-D{model}_TIMED",)
    objects += [compiled(toolchain, path.name, folder, timed) for path in sorted(folder.glob(f"{model}*.c"))]
    toolchain.link(objects, HARNESS, folder, ("-ldl", "-lm"))
