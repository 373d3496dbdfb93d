"""Running a library in a process of its own through a small C harness (harness.c), so that a crash stays there.

The harness holds the vectors, so that no call into Python falls into what is timed.
"""

from __future__ import annotations

import shutil
import signal
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from bevel.backends.binary.artifact import Artifact, Slot
from bevel.backends.binary.objects import compiled
from bevel.backends.binary.toolchain import Toolchain, for_target
from bevel.backends.devices.base import CallCost, Device, Measurement, Vectors, compared
from bevel.backends.devices.boards import Boards
from bevel.backends.devices.location import HERE, Execution, Location
from bevel.backends.program.op import Array
from bevel.backends.program.resources import Resource, Resources
from bevel.calib.errors import UserError

HARNESS, SHARED = "harness", "harness.h"
COMPARE_LIMIT_S = 600
SECONDS = 0.5  # that runs on a board are timed, and again profiled


class HarnessError(RuntimeError):
    """The model's process did not end well: our bug."""


@dataclass(frozen=True)
class Times:
    """Seconds: the median of one inference, and of each call in profiled runs."""

    run: float
    calls: tuple[CallCost, ...]


def build_harness(artifact: Artifact, toolchain: Toolchain, folder: Path, static: bool) -> None:
    """folder/harness, linked with the artifact's static or shared library, which is copied beside it."""
    shared = artifact.library is not None and not static
    model = artifact.model
    # Kernels, which profiled runs call by name, are in the archive; what is compared and timed is the shared library.
    products = [artifact.library, artifact.archive] if shared and artifact.library else [artifact.archive]
    for name in (*products, artifact.header, f"{model}_kernels.h", f"{model}_weights.h", f"{model}_profile.c"):
        shutil.copyfile(artifact.folder / name, folder / name)
    for name in ("harness.c", SHARED):
        (folder / name).write_bytes(files(__package__).joinpath(name).read_bytes())
    defines = (
        f'-DMODEL_HEADER="{artifact.header}"',
        f"-DRUN={artifact.entry}",
        f"-DRUN_PROFILED={model}_run_profiled",
        f"-DARENA_BYTES={model.upper()}_ARENA_BYTES",
        f"-DCALLS={len(artifact.calls)}",
        *((f"-DRESET={artifact.reset}",) if artifact.reset else ()),
    )
    objects = [compiled(toolchain, "harness.c", folder, defines), compiled(toolchain, f"{model}_profile.c", folder)]
    extra = ("-static", "-lm") if static else ("-Wl,-rpath,$ORIGIN", "-lm")
    toolchain.link([*objects, *products], HARNESS, folder, extra)


def measured(
    device: Device, artifact: Artifact, vectors: Vectors, toolchain: Toolchain, seconds: float, place: Location = HERE
) -> Measurement:
    """Compare every output element, then time whole and again profiled runs for some seconds each. Raises HarnessError
    when the model's process crashes."""
    with TemporaryDirectory(prefix="bevel-") as name:
        folder = Path(name)
        build_harness(artifact, toolchain, folder, static=False)
        result = compared(device, outputs(artifact, vectors, folder, place=place), vectors)
        if result.mismatches:
            return result
        found = times(folder, seconds, place)
        return replace(result, spent=Resources({Resource.LATENCY: found.run}), per_call=found.calls)


def on_board(device: Boards, artifact: Artifact, vectors: Vectors, place: Location) -> Measurement:
    """`measured` on another machine."""
    return measured(device, artifact, vectors, for_target(device.target), SECONDS, place)


def outputs(
    artifact: Artifact,
    vectors: Vectors,
    folder: Path,
    prefix: Sequence[str] = (),
    marked: bool = False,
    place: Location = HERE,
) -> dict[str, Array]:
    """What the harness in `folder` computes for every vector: {port name: array [N, *shape]}. marked: it then runs
    again, between marks (`marks.py`)."""
    (folder / "vectors.bin").write_bytes(pack(artifact, vectors))
    command = (*prefix, f"./{HARNESS}", "vectors.bin", "outputs.bin", *(("marked",) if marked else ()))
    run_harness(folder, Execution(command, ("outputs.bin",), COMPARE_LIMIT_S), place)
    return unpack((folder / "outputs.bin").read_bytes(), artifact.outputs, len(vectors))


def times(folder: Path, seconds: float, place: Location = HERE) -> Times:
    """Medians over as many runs as fit into `seconds`, twice: whole runs, then profiled ones. After `outputs`."""
    command = (f"./{HARNESS}", "vectors.bin", "times.bin", str(seconds))
    run_harness(folder, Execution(command, ("times.bin",), COMPARE_LIMIT_S + 2 * seconds), place)
    numbers = np.fromfile(folder / "times.bin", np.uint64)
    runs, profiles, calls = (int(number) for number in numbers[:3])
    whole = numbers[3 : 3 + runs]
    profiled = numbers[3 + runs :].reshape(profiles, calls)
    per_call = np.median(profiled, axis=0)
    return Times(
        seconds_of(np.median(whole)),
        tuple(
            CallCost(index, Resources({Resource.LATENCY: seconds_of(latency)}))
            for index, latency in enumerate(per_call)
        ),
    )


def seconds_of(nanoseconds: np.floating[Any]) -> float:
    """Rounded to a tenth of a nanosecond: more digits would be noise of the multiplication."""
    return round(float(nanoseconds) * 1e-9, 10)


def run_harness(folder: Path, wanted: Execution, place: Location = HERE) -> str:
    """What it printed. Raises HarnessError where it does not end well, UserError where it does not end in time."""
    try:
        done = place.run(folder, wanted)
    except subprocess.TimeoutExpired as late:
        raise UserError(
            f"the product did not end within {wanted.limit_s:g} s and was stopped: this machine is too slow for it, or "
            "busy; --device none builds without running it"
        ) from late
    if done.returncode == 0:
        return done.stdout
    if done.returncode == -signal.SIGILL:
        raise UserError("this machine lacks instructions that the target asks for: take a target that it can run")
    how = f"exited with {done.returncode}"
    if done.returncode < 0:
        how = f"was ended by {signal.Signals(-done.returncode).name}"
    raise HarnessError(f"{' '.join(wanted.command)} {how}: {done.stderr.strip() or 'no message'}")


def pack(artifact: Artifact, vectors: Vectors) -> bytes:
    """The file that harness.h reads."""
    slots = (*artifact.inputs, *artifact.outputs)
    places = [number for slot in slots for number in (slot.offset, slot_bytes(slot))]
    head = np.array([len(vectors), len(artifact.inputs), len(artifact.outputs), *places], np.uint64)
    columns = [typed(vectors.inputs[slot.port.name], slot) for slot in artifact.inputs]
    if artifact.reset is not None:
        columns.insert(0, vectors.starts.astype(np.uint64))
    rows = [column[index].tobytes() for index in range(len(vectors)) for column in columns]
    return head.tobytes() + b"".join(rows)


def typed(array: Array, slot: Slot) -> Array:
    """`array` made contiguous. Raises ValueError where it is not what the port says."""
    if array.dtype != np.dtype(slot.port.dtype) or array.shape[1:] != slot.port.shape:
        raise ValueError(f"{array.dtype} {array.shape} given to {slot.port}")
    return np.ascontiguousarray(array)


def slot_bytes(slot: Slot) -> int:
    return int(np.prod(slot.port.shape, dtype=np.int64)) * np.dtype(slot.port.dtype).itemsize


def unpack(data: bytes, slots: Sequence[Slot], count: int) -> dict[str, Array]:
    sizes = [slot_bytes(slot) for slot in slots]
    rows = np.frombuffer(data, np.uint8).reshape(count, sum(sizes))
    columns = np.split(rows, np.cumsum(sizes)[:-1], axis=1)
    return {
        slot.port.name: np.ascontiguousarray(column).view(slot.port.dtype).reshape(count, *slot.port.shape)
        for slot, column in zip(slots, columns, strict=True)
    }
