"""The report of a run, put together from what its stages found."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import onnx

from bevel.backends.binary.artifact import Artifact
from bevel.backends.devices.base import Measurement
from bevel.backends.program.program import Program
from bevel.backends.program.resources import NOTHING, Resource, Resources
from bevel.passes.base import Note
from bevel.passes.transform.record import TransformRecord
from bevel.tools.assign.kept import with_budgets
from bevel.tools.report import report
from bevel.tools.report.nodes import describe_nodes
from bevel.tools.report.step import Step
from bevel.tools.run import bundle, manifest
from bevel.tools.run.data import GUESS
from bevel.tools.run.options import Options


@dataclass(frozen=True)
class Findings:
    """`model` as loaded and `canonical` are float; `errors` are in dB by node."""

    model: onnx.ModelProto
    canonical: onnx.ModelProto
    integer: onnx.ModelProto
    program: Program
    artifact: Artifact
    measurement: Measurement | None
    accuracy: report.Accuracy | None
    errors: Mapping[str, float | None]
    notes: tuple[Note, ...]
    formats: Mapping[str, str]  # of the nodes that we quantized
    rounders: Mapping[str, str]  # of those with weights
    assignment: report.Assignment | None = None  # what a search chose
    widths: tuple[report.Width, ...] = ()  # at which the product was measured besides the full one
    outputs: tuple[report.OutputFigures, ...] = ()
    library: report.Library | None = None
    transforms: tuple[TransformRecord, ...] = ()
    step: Step | None = None


def summarize(options: Options, folder: Path, found: Findings) -> report.Report:
    """All of the report but its stages, which are not over yet."""
    notes = [*found.notes, *islands(found.program), *(guesses(found.integer) if options.calib == "random" else ())]
    graphs = (found.model, found.canonical)
    told = report.Report(
        bevel=bundle.version(),
        model=report.Model(options.model.name, manifest.sha256(options.model)),
        target=options.target,
        recipe=Path(options.recipe).name.removesuffix(".toml"),
        accuracy=found.accuracy,
        size=sizes(options.model, folder, found.artifact),
        device=None if found.measurement is None else device(found.measurement),
        measurement=None if found.measurement is None else measurement(found.measurement, found.artifact),
        nodes=describe_nodes(
            graphs, found.integer, found.artifact.calls, found.errors, notes, found.formats, found.rounders
        ),
        stages=(),
        files=manifest.hashes(folder),
        assignment=found.assignment,
        outputs=found.outputs,
        library=found.library,
        widths=found.widths,
        converted=tuple(port.name for port in found.program.converted),
        transforms=found.transforms,
        step=found.step,
        resources=found.artifact.synthesized,
    )
    return with_budgets(options.budgets, told)


def islands(program: Program) -> list[Note]:
    """What float kernels mean for the promise."""
    weighed = any(call.kernel.exact and not call.kernel.stock for call in program.calls)
    differs = "they may differ from onnxruntime's" if weighed else "outputs that differ for it get no cost"
    text = f"float kernel: its last bits depend on the machine, and {differs}"
    ours = "float product: the same bits on every machine; onnxruntime sums in another order"
    calls = ((call, ours if call.kernel.exact else text) for call in program.calls if not call.kernel.stock)
    return [Note("partition", call.node, "warned", text) for call, text in calls]


def guesses(integer: onnx.ModelProto) -> list[Note]:
    return [Note("observe", node.name, "warned", GUESS) for node in integer.graph.node]


def sizes(model: Path, folder: Path, artifact: Artifact) -> report.Size:
    return report.Size(
        float_bytes=model.stat().st_size,
        quantized_bytes=(folder / bundle.QUANTIZED).stat().st_size,
        product=artifact.takes,
    )


def device(measured: Measurement) -> report.Device:
    return report.Device(measured.device, measured.kind, measured.tool)


def measurement(measured: Measurement, artifact: Artifact) -> report.Measurement:
    kernels = tuple(
        report.KernelCost(call.node, call.kernel, Resources({Resource.MACS: call.macs}) | cost.spent)
        for cost in measured.per_call
        for call in [artifact.calls[cost.call]]
    )
    guess = measured.estimate
    return report.Measurement(
        measured.inputs,
        measured.mismatches,
        measured.spent,
        tuple(summed(kernels)),
        None if guess is None else report.Estimate(guess.cycles, guess.clock_hz, guess.latency_s, guess.model),
        measured.cycles,
        measured.rounded,
    )


def summed(kernels: Iterable[report.KernelCost]) -> Iterator[report.KernelCost]:
    """A node's calls of one kernel as one, where it runs in bands of rows; in the order of their first calls."""
    together: dict[tuple[str, str], list[report.KernelCost]] = {}
    for one in kernels:
        together.setdefault((one.node, one.kernel), []).append(one)
    for (node, kernel), bands in together.items():
        yield report.KernelCost(node, kernel, sum((band.spent for band in bands), NOTHING))
