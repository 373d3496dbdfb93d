"""`bevel bench web`: every network as WebAssembly in Chromium, beside onnxruntime-web in the same page.

The module's outputs are compared with integer.onnx first, and onnxruntime-web's with the module's. Then all candidates
run in rounds, each round in an order of its own. A run is filling in the inputs, computing, and copying the outputs,
which is what a call of onnxruntime-web is. That runs on one thread, with vectors, from the files

    qdq          our quantized.onnx
    u8s8, s8s8   as onnxruntime's own tool quantizes the network (`peers.py`)
    float        model.onnx

It comes from npm, in one version.
"""

from __future__ import annotations

import json
import shutil
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import click
import numpy as np
import onnx
from rich.console import Console
from rich.markup import escape

from bevel.backends.binary.artifact import Artifact
from bevel.backends.devices import browser, chromium
from bevel.backends.devices.base import Vectors
from bevel.backends.devices.host import processor
from bevel.backends.devices.native import unpack
from bevel.backends.devices.outputs import compare
from bevel.backends.process import processes
from bevel.backends.process.litter import scratch
from bevel.backends.program.op import Array
from bevel.calib.data.dataset import open_dataset
from bevel.calib.errors import UserError
from bevel.calib.observe.observe import model_inputs
from bevel.tools.bench import peers, tables
from bevel.tools.bench.cells import Refusal, Setup, run_cell
from bevel.tools.bench.peers import LeftOut, line
from bevel.tools.bench.reference import geometric_mean
from bevel.tools.bench.subjects import Subject, subjects
from bevel.tools.command.quiet import quiet_libraries
from bevel.tools.run import manifest, product, vectors
from bevel.tools.run.bundle import QUANTIZED
from bevel.tools.run.single_file import check_file, write_file
from bevel.tools.run.stages import Stages

TARGET, OURS, SAME = "wasm32", "bevel", "qdq"
PEER = "onnxruntime-web"
VERSION = "1.30.0"
TAKEN = ("ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm")
SCRIPT = "web.mjs"
ROUNDS, WARM_MS = 60, 5000  # and of runs before the first round
FETCH_LIMIT_S, PAGE_LIMIT_S = 600, 900
WRONG_OUTPUTS = 1


@dataclass(frozen=True)
class WebRow:
    """Medians in microseconds. farthest: by how much outputs of each peer differ from ours at most. ratio_same,
    ratio_best: ours as a fraction of onnxruntime-web's with the same quantized model, and of its fastest form."""

    model: str
    bevel_us: float
    peers: Mapping[str, float]
    farthest: Mapping[str, float]
    mismatches: int
    best_peer: str | None = field(init=False)
    ratio_same: float | None = field(init=False)
    ratio_best: float | None = field(init=False)

    def __post_init__(self) -> None:
        best = min(self.peers, key=lambda name: self.peers[name], default=None)
        same = self.peers.get(SAME)
        object.__setattr__(self, "best_peer", best)
        object.__setattr__(self, "ratio_same", None if same is None else self.bevel_us / same)
        object.__setattr__(self, "ratio_best", None if best is None else self.bevel_us / self.peers[best])


def show_bench(folder: Path | None, only: Sequence[str], output: Path | None) -> None:
    """Run and print. Exits with 1 where a module computed something else than integer.onnx: a bug of ours."""
    quiet_libraries()
    check_tools()
    if output is not None:
        check_file(output)
    console, rows = tables.console(), []
    known = f"{PEER} {VERSION}"
    with scratch(), TemporaryDirectory(prefix="bevel-bench-") as place:
        library = fetched(Path(place))
        console.print(f"One page, outputs compared first; {browser.version()}, {processor()}; {known}", highlight=False)
        for index, subject in enumerate(subjects(folder, only)):
            rows += rows_of(subject, Path(place) / f"{index}", library, console)
    show(console, rows)
    if output:
        write_file(output, (json.dumps([asdict(one) for one in rows], indent=2, allow_nan=False) + "\n").encode())
    if any(one.mismatches for one in rows):
        raise click.exceptions.Exit(WRONG_OUTPUTS)


def check_tools() -> None:
    """Raises UserError that names the first tool that is missing."""
    for name, use in (("node", "runs npm"), ("npm", f"fetches {PEER}")):
        if shutil.which(name) is None:
            raise UserError(f"{name} is not installed (apt install nodejs npm): it {use}")
    if browser.command() is None:
        raise UserError("chromium is not installed (apt install chromium): it runs the page")


def fetched(place: Path) -> dict[str, Path]:
    """The files of onnxruntime-web that a page needs, from npm, in `place`. Raises UserError where npm fails."""
    done = processes.run(("npm", "pack", "--silent", f"{PEER}@{VERSION}"), place, timeout=FETCH_LIMIT_S)
    archives = sorted(place.glob("*.tgz"))
    if done.returncode or not archives:
        raise UserError(f"npm could not fetch {PEER} {VERSION}: {line(RuntimeError(done.stderr))}")
    with tarfile.open(archives[0]) as archive:
        for name in TAKEN:
            archive.extract(f"package/dist/{name}", place, filter="data")
    return {name: place / "package" / "dist" / name for name in TAKEN}


def rows_of(subject: Subject, folder: Path, library: Mapping[str, Path], console: Console) -> list[WebRow]:
    bundle = folder / "first"
    cell = run_cell(subject, TARGET, bundle, Setup(inputs="float", outputs="float"), Stages())
    if isinstance(cell, Refusal):
        tables.show_refusals(console, [cell])
        return []
    artifact, refused = product.artifact_of(bundle, manifest.read(bundle)), LeftOut()
    with TemporaryDirectory(prefix="bevel-peers-") as place:
        data = open_dataset(subject.calib, model_inputs(onnx.load(bundle / QUANTIZED)))
        files = {SAME: bundle / QUANTIZED, **peers.models(subject, iter(data), Path(place), refused)}
        row = timed(subject.name, artifact, vectors.load(bundle), files, library, refused)
    for name, why in refused.reasons.items():
        console.print(escape(f"{subject.name}: {name} is left out: {why}"), highlight=False)
    return [row]


def timed(
    model: str,
    artifact: Artifact,
    tests: Vectors,
    files: Mapping[str, Path],
    library: Mapping[str, Path],
    refused: LeftOut,
) -> WebRow:
    job = {**chromium.job(artifact, tests), "rounds": ROUNDS, "warm_ms": WARM_MS, "peers": list(files)}
    posted = browser.visited(
        {
            **chromium.site(artifact, tests),
            **library,
            **{f"{name}.onnx": path for name, path in files.items()},
            SCRIPT: Path(__file__).with_name(SCRIPT),
            "job.json": json.dumps(job).encode(),
        },
        SCRIPT,
        PAGE_LIMIT_S,
    )
    answer = json.loads(posted[browser.ANSWER])
    refused.reasons.update({f"{PEER}, {name}": why for name, why in answer["refused"].items()})
    found = {name: unpack(posted[f"outputs/{name}"], artifact.outputs, len(tests)) for name in answer["microseconds"]}
    times, ours = answer["microseconds"], found.pop(OURS)
    wrong = compare(ours, tests.expected).mismatches
    return WebRow(model, times.pop(OURS), times, {name: farthest(one, ours) for name, one in found.items()}, wrong)


def farthest(found: Mapping[str, Array], ours: Mapping[str, Array]) -> float:
    return max(float(np.abs(found[name].astype(np.float64) - one).max()) for name, one in ours.items())


def show(console: Console, rows: Sequence[WebRow]) -> None:
    table = tables.numbers(
        "network",
        right=("bevel", PEER, "of it", "its best form", "its time", "of it", "elements that differ"),
    )
    for one in rows:
        same, best = one.peers.get(SAME), one.best_peer
        numbers = (f"{one.bevel_us:,.0f}", "" if same is None else f"{same:,.0f}", tables.times(one.ratio_same))
        others = (best or "", "" if best is None else f"{one.peers[best]:,.0f}", tables.times(one.ratio_best))
        table.add_row(escape(one.model), *numbers, *others, f"{one.mismatches}")
    table.add_section()
    means = (geometric_mean(one.ratio_same for one in rows), geometric_mean(one.ratio_best for one in rows))
    table.add_row(tables.MEAN, "", "", tables.times(means[0]), "", "", tables.times(means[1]), "")
    tables.show(console, "Microseconds of one inference in the page, medians", table)
