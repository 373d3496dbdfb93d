"""What the library of a product with float kernels computes, measured beside both models.

integer.onnx says what integers do on every machine. Float kernels may differ from it in their last bits, so the library
itself is judged too. A float result that lies between two codes of the quantizer behind it may be rounded to the other:
one step of 8 bits is 48 dB below the range, and layers behind carry on a few of them. A run nearer to integer.onnx than
TIPPED_DB is that. Where a comparison or a choice behind it tips, a run may be far, but few runs are; a library that is
far on many computes another function.
"""

from __future__ import annotations

import time
from collections.abc import Container, Iterable, Iterator, Mapping
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bevel.backends.binary.artifact import Artifact
from bevel.backends.devices.base import Vectors
from bevel.backends.devices.host import Host
from bevel.backends.devices.qemu_user import QemuUser
from bevel.backends.program.program import Port
from bevel.calib.data.dataset import Dataset
from bevel.tools.accuracy.evaluate import Models, Sample, decode, encode
from bevel.tools.accuracy.outputs import Kind, plain
from bevel.tools.accuracy.quality import Totals
from bevel.tools.report.report import Library

Array = NDArray[Any]

TIPPED_DB = 24.0
TIPPED_IDS = 0.9  # share of class numbers of a run
TIPPED_RUNS = 0.1  # share of runs
SAMPLES = 512
AT_ONCE = 16
SECONDS = 20.0


def is_wrong(found: Library) -> bool:
    """Whether the library is not integer.onnx, tipped roundings aside: far from it on all runs, or on many."""
    return 0 < found.runs == found.far or found.far > max(TIPPED_RUNS * found.runs, 2)


def is_far(wanted: Mapping[str, Array], found: Mapping[str, Array], kinds: Mapping[str, Kind]) -> bool:
    """Whether one run of the library differs from integer.onnx by more than a few tipped roundings."""
    for name, exact in wanted.items():
        got = found[name]
        if kinds.get(name) == "ids":
            if np.mean(exact == got) < (TIPPED_IDS if exact.size > 1 else 1.0):
                return True
            continue
        totals = Totals()
        totals.add([{name: exact}, {name: got}], None)
        if totals.sqnr_db is not None and totals.sqnr_db < TIPPED_DB:
            return True
    return False


def measure(
    device: Host | QemuUser, artifact: Artifact, models: Models, samples: Dataset, labels: Array | None
) -> Library:
    """On up to SAMPLES samples, or as many as fit into SECONDS; steps of sequences all at once."""
    kinds: dict[str, Kind] = {name: "ids" if one.kind == "ids" else "numbers" for name, one in models.outputs.items()}
    to_float, to_integer = Totals(models.outputs), Totals({name: plain(name, kind) for name, kind in kinds.items()})
    exact, _, integer = models.steppers()
    kept = integer.states.keys()
    ports = {port.name: port for port in models.ports if port.scale is not None}
    end = time.monotonic() + SECONDS
    runs = far = 0
    at_once = SAMPLES if kept else AT_ONCE
    with device.opened(artifact) as run:
        for group in groups(islice(samples, SAMPLES), at_once):
            stacked = stack([encode(without(sample, kept), ports) for sample in group])
            begins = np.array([samples.begins(runs + place) for place in range(len(group))])
            for sample, codes in zip(group, apart(run(stacked, begins), len(group)), strict=True):
                found = {name: decode(value, ports.get(name)) for name, value in codes.items()}
                wanted = integer.run(sample, samples.begins(runs))
                to_float.add([exact.run(sample, samples.begins(runs)), found], labels)
                to_integer.add([wanted, found], None)
                runs, far = runs + 1, far + is_far(wanted, found, kinds)
            if time.monotonic() > end:
                break
    accuracy = to_float.accuracy()
    return Library(
        samples=accuracy.samples,
        top1=accuracy.top1_integer,
        sqnr_db=accuracy.sqnr_db,
        agreement=accuracy.agreement,
        integer_db=to_integer.sqnr_db,
        runs=runs,
        far=far,
    )


def tipped_only(device: Host | QemuUser, artifact: Artifact, tests: Vectors) -> bool:
    """Whether what differs from integer.onnx in `tests` are last bits and tipped roundings."""
    kinds: dict[str, Kind] = {slot.port.name: kind_of_port(slot.port) for slot in artifact.outputs}
    with device.opened(artifact) as run:
        found = run(tests.inputs, tests.begins)
    pairs = zip(apart(tests.expected, len(tests)), apart(found, len(tests)), strict=True)
    far = sum(is_far(wanted, got, kinds) for wanted, got in pairs)
    return not is_wrong(Library(len(tests), None, None, None, None, len(tests), far))


def kind_of_port(port: Port) -> Kind:
    """Integers without a scale are class numbers or indices."""
    return "ids" if port.scale is None and np.dtype(port.dtype).kind in "iub" else "numbers"


def groups(samples: Iterable[Sample], size: int) -> Iterator[list[Sample]]:
    walk = iter(samples)
    while group := list(islice(walk, size)):
        yield group


def without(sample: Sample, names: Container[str]) -> Sample:
    return {name: array for name, array in sample.items() if name not in names}


def stack(rows: list[dict[str, Array]]) -> dict[str, Array]:
    return {name: np.stack([row[name] for row in rows]) for name in rows[0]}


def apart(columns: Mapping[str, Array], count: int) -> list[dict[str, Array]]:
    return [{name: column[index] for name, column in columns.items()} for index in range(count)]
