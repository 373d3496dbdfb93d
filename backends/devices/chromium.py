"""WebAssembly in Chromium without a window: the module and its ES module in a page, outputs compared, then timed."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path
from typing import Any

from bevel.backends.binary.artifact import Artifact, Slot
from bevel.backends.devices import browser
from bevel.backends.devices.base import DeviceKind, Measurement, Opened, Vectors, compared
from bevel.backends.devices.native import typed, unpack
from bevel.backends.program.op import Array
from bevel.backends.program.resources import Resource, Resources
from bevel.backends.target import Target

SCRIPT, COMMON = "measure.mjs", "arrays.mjs"
LIMIT_S = 600


@dataclass(frozen=True)
class Chromium:
    """Runs the module of a target for WebAssembly, `seconds` long where it is timed."""

    target: Target
    seconds: float = 0.5
    name: str = "chromium"
    kind: DeviceKind = "host"

    def missing(self) -> str | None:
        if browser.command() is None:
            return "chromium is not installed (apt install chromium): it would run WebAssembly as a page does"
        return None

    def tool(self) -> str:
        return f"{browser.version()} without a window, one thread"

    @contextmanager
    def opened(self, artifact: Artifact) -> Iterator[Opened]:
        """The module as a function: {input port: array [N, *shape]} to the same of its outputs."""
        yield lambda inputs, begins=None: run(artifact, Vectors(inputs, {}, begins), 0.0)[0]

    def measure(self, artifact: Artifact, vectors: Vectors) -> Measurement:
        """Compare every output element, then time. Raises BrowserError where the page fails."""
        got, seconds = run(artifact, vectors, self.seconds)
        result = compared(self, got, vectors)
        return result if result.mismatches else replace(result, spent=Resources({Resource.LATENCY: seconds}))


def run(artifact: Artifact, vectors: Vectors, seconds: float) -> tuple[dict[str, Array], float]:
    """{port name: array [N, *shape]}, and the median time of a run where that is asked for."""
    posted = browser.visited(
        {**site(artifact, vectors), "job.json": json.dumps({**job(artifact, vectors), "seconds": seconds}).encode()},
        SCRIPT,
        LIMIT_S + 2 * seconds,
    )
    answer = json.loads(posted[browser.ANSWER])
    return unpack(posted["outputs"], artifact.outputs, len(vectors)), answer["seconds"]


def site(artifact: Artifact, vectors: Vectors) -> dict[str, browser.Content]:
    """The files of a product, its inputs, and our scripts."""
    library = str(artifact.library)
    columns = [typed(vectors.inputs[slot.port.name], slot) for slot in artifact.inputs]
    packed = b"".join(column[index].tobytes() for index in range(len(vectors)) for column in columns)
    return {
        "model.wasm": artifact.folder / library,
        "model.mjs": (artifact.folder / library).with_suffix(".mjs"),
        "inputs.bin": packed,
        SCRIPT: script(SCRIPT),
        COMMON: script(COMMON),
    }


def script(name: str) -> Path:
    return Path(str(files("bevel.backends.devices").joinpath(name)))


def job(artifact: Artifact, vectors: Vectors) -> Mapping[str, Any]:
    """What a page must know."""
    starts = [bool(one) for one in vectors.starts] if artifact.reset is not None else []
    return {
        "count": len(vectors),
        "starts": starts,
        "inputs": ports(artifact.inputs),
        "outputs": ports(artifact.outputs),
    }


def ports(slots: Sequence[Slot]) -> list[dict[str, Any]]:
    return [{"name": slot.port.name, "type": slot.port.dtype, "shape": list(slot.port.shape)} for slot in slots]
