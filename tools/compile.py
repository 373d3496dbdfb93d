"""The data flow of `optimize`: from a float ONNX file to a measured bundle, one named stage after the other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import onnx
import onnx_graphsurgeon as gs

from bevel.backends import target as targets
from bevel.backends.binary.artifact import Artifact
from bevel.backends.binary.toolchain import for_target
from bevel.backends.build import BuildOptions, build
from bevel.backends.devices.base import Device, Measurement, Vectors
from bevel.backends.devices.host import Host
from bevel.backends.devices.qemu_user import QemuUser
from bevel.backends.program.conversions import split_conversions
from bevel.backends.program.fit import Fit
from bevel.backends.program.island import has_islands
from bevel.backends.program.program import Program
from bevel.backends.select.objective import OBJECTIVES
from bevel.backends.select.tune import Selections
from bevel.backends.target import Target
from bevel.backends.tir import islands as importer
from bevel.calib.errors import UserError
from bevel.calib.observe.observe import observe
from bevel.calib.observe.statistics import Statistics
from bevel.passes.assign.patterns import apply_patterns, read_patterns
from bevel.passes.base import Note, Work
from bevel.passes.canonicalize import canonicalize
from bevel.passes.exchange.load import fix_batch, load
from bevel.passes.integerize.carry_quantizers import CarryQuantizers
from bevel.passes.integerize.integerize import integerize
from bevel.passes.integerize.quantize_results import QuantizeResults
from bevel.passes.partition.check_islands import check_islands
from bevel.passes.partition.partition import partition
from bevel.passes.partition.refuse_early import refuse_early
from bevel.passes.pipeline import Pipeline
from bevel.passes.quantize import QuantizeOptions, export_quantized, quantize
from bevel.passes.quantize.clamp_masks import clamp_masks
from bevel.passes.quantize.formats import activation_format, weight_format
from bevel.passes.quantize.widen_activations import widen_activations
from bevel.tools.accuracy import evaluate
from bevel.tools.accuracy.broken import Trials, explained
from bevel.tools.accuracy.library import measure as measure_library
from bevel.tools.accuracy.outputs import describe_outputs
from bevel.tools.assign.kept import check_kept
from bevel.tools.command import devices
from bevel.tools.report.report import Accuracy, Library, OutputFigures, Report, Width
from bevel.tools.report.summary import Findings, summarize
from bevel.tools.run import bundle, vectors, widths
from bevel.tools.run.data import Data, open_data
from bevel.tools.run.dimensions import dimensions
from bevel.tools.run.names import model_name
from bevel.tools.run.options import Options, edge
from bevel.tools.run.pixels import with_pixels
from bevel.tools.run.ram import build_within, describe, fit_ram
from bevel.tools.run.stages import Stages
from bevel.tools.run.staging import staged
from bevel.tools.run.tuning import choose_kernels

if TYPE_CHECKING:
    from bevel.tools.assign.explain import Assigned

EQUIVALENCE_SAMPLES = 2
DEFAULT_FORMATS = (Options.weights, Options.activations)


@dataclass(frozen=True)
class Job:
    """What was asked for. `name`: the model's, in C; `wanted`: how to quantize; `device`: what measures, if any."""

    options: Options
    stages: Stages
    target: Target
    device: Device | None
    name: str
    wanted: QuantizeOptions

    @property
    def on_cpu(self) -> bool:
        return not self.target.bare


@dataclass(frozen=True)
class Read:
    """The float model as it came, its samples, and the graph it was brought to."""

    model: onnx.ModelProto
    data: Data
    graph: gs.Graph
    notes: tuple[Note, ...]


@dataclass(frozen=True)
class Quantized:
    """`canonical`: the float graph that was quantized. `statistics` are None of a model that came quantized; `wanted`:
    how it was quantized in the end; `formats`, `rounders`: of the nodes that we quantized."""

    graph: gs.Graph
    canonical: onnx.ModelProto
    notes: tuple[Note, ...]
    statistics: Mapping[str, Statistics] | None = None
    wanted: QuantizeOptions | None = None
    formats: Mapping[str, str] = field(default_factory=dict)
    rounders: Mapping[str, str] = field(default_factory=dict)
    assigned: Assigned | None = None


@dataclass(frozen=True)
class Lowered:
    """Both models that are written, and the program that computes the integer one; at narrower widths too."""

    quantized: onnx.ModelProto
    integer: onnx.ModelProto
    program: Program
    narrower: widths.Models
    notes: tuple[Note, ...]


@dataclass(frozen=True)
class Made:
    """The product, and how it was built."""

    artifact: Artifact
    fitted: Fit
    tests: Vectors
    settings: BuildOptions
    selections: Selections
    notes: tuple[Note, ...]


@dataclass(frozen=True)
class Judged:
    """What the product and both models compute."""

    measurement: Measurement | None
    errors: Mapping[str, float | None]
    accuracy: Accuracy | None
    outputs: tuple[OutputFigures, ...]
    library: Library | None


def compile_model(options: Options, stages: Stages) -> Report:
    """Do all of `optimize` and leave its bundle at `options.output`.

    Raises UserError for what the user can put right; `options.output` is then as it was before.
    """
    job = prepare(options, stages)
    with staged(options.output, options.sources) as folder:
        read = read_model(job)
        quantized = quantize_calibrated(job, read) if read.data.calib is not None else keep_quantized(read)
        lowered = lower(job, read, quantized, folder)
        made = build_product(job, read.data, lowered, folder)
        judged = judge(job, read, quantized, lowered, made)
        at_widths = measure_widths(job, read, quantized, lowered, made)
        with stages("report"):
            notes = (*read.notes, *quantized.notes, *lowered.notes, *made.notes)
            findings = Findings(
                read.model,
                quantized.canonical,
                lowered.integer,
                lowered.program,
                made.artifact,
                judged.measurement,
                judged.accuracy,
                judged.errors,
                notes,
                quantized.formats,
                quantized.rounders,
                None if quantized.assigned is None else quantized.assigned.told,
                at_widths,
                judged.outputs,
                judged.library,
            )
            report = summarize(options, folder, findings)
            check_kept(report)
        report = replace(report, stages=stages.listed())
        bundle.finish(folder, options, made.artifact, report, made.selections, made.fitted.chains)
    return report


def prepare(options: Options, stages: Stages) -> Job:
    """Everything that can be refused before the model is read."""
    wanted = quantize_options(options)
    target = targets.load(options.target).with_memory(options.memory)
    device = devices.choose(target, options.device)
    return Job(options, stages, target, device, model_name(options.name, options.model), wanted)


def read_model(job: Job) -> Read:
    """The model with static shapes, its data, and its canonical graph, held against the model on the first samples."""
    options = job.options
    with job.stages("load"):
        loaded = load(options.model, options.outputs_at)
        sizes, decided = dimensions(options, loaded.model)
        model = with_pixels(options, fix_batch(loaded.model, options.batch, sizes))
        data = open_data(options, model)
        if data.calib is None and asks_for_formats(options):
            raise UserError(f"{options.model} came quantized: its formats are kept; leave out the options for them")
    with job.stages("canonicalize"):
        graph, notes = canonicalize(model, islice(data.vectors, EQUIVALENCE_SAMPLES))
    return Read(model, data, graph, (*loaded.notes, *decided, *notes))


def keep_quantized(read: Read) -> Quantized:
    """A model that came quantized keeps its scales; results that have none get them."""
    canonical = gs.export_onnx(read.graph)
    kept = Pipeline([CarryQuantizers(), QuantizeResults()])(Work(read.graph)).work
    return Quantized(kept.graph, canonical, kept.notes)


def quantize_calibrated(job: Job, read: Read) -> Quantized:
    """Observe the float model, choose formats, insert quantizers."""
    options, wanted, calib, graph = job.options, job.wanted, read.data.calib, read.graph
    assert calib is not None
    if not job.on_cpu:
        refuse_early(graph, importer)
    with job.stages("observe") as advance:
        notes = clamp_masks(graph, calib)
        canonical = gs.export_onnx(graph)
        statistics = observe(canonical, calib, wanted.wants(graph), advance)
    if options.format_file is not None:
        wanted = replace(wanted, nodes=apply_patterns(read_patterns(options.format_file), canonical))
    if not options.switchable:
        with job.stages("quantize"):
            widened = widen_activations(graph, statistics, wanted.chosen.method, wanted.chosen, calib)
        wanted, notes = replace(wanted, nodes={**wanted.nodes, **widened.nodes}), [*notes, *widened.notes]
    assigned = None
    if options.budgets.given:
        # imported here: scipy's solver takes half a second, and only a search needs it
        from bevel.tools.assign.run import assign
        from bevel.tools.assign.trial import Maker

        maker = Maker(options, canonical, statistics, wanted, read.data, job.name, job.target, job.device)
        assigned = assign(maker, read.model, options.budgets, job.stages)
        wanted, notes = replace(wanted, nodes=maker.nodes(assigned.formats)), [*notes, *assigned.notes]
    with job.stages("quantize"):
        result = quantize(graph, statistics, wanted, calib)
    notes = [*notes, *result.notes]
    return Quantized(
        result.graph, canonical, tuple(notes), statistics, wanted, result.formats, result.rounders, assigned
    )


def lower(job: Job, read: Read, found: Quantized, folder: Path) -> Lowered:
    """Write quantized.onnx and integer.onnx into `folder`, and make the program that computes the latter."""
    options, graph, data = job.options, found.graph, read.data
    earlier = (*read.notes, *found.notes)
    quantized = export_quantized(graph)
    bundle.save_model(folder, bundle.QUANTIZED, quantized)
    with job.stages("integerize"):
        integer, notes = integerize(graph, edge(options.inputs), options.outputs, job.target)
        digest = bundle.save_model(folder, bundle.INTEGER, integer)
    with job.stages("partition"):
        program, more = partition(integer, job.name, job.on_cpu, importer, [*earlier, *notes])
        program, narrower = widths.switched(options, program, integer, folder, data, job.on_cpu)
        program = replace(split_conversions(program, job.target), sha256=digest)
    return Lowered(quantized, integer, program, narrower, (*notes, *more))


def build_product(job: Job, data: Data, lowered: Lowered, folder: Path) -> Made:
    """The product in `folder`, with test vectors that integer.onnx answered."""
    options, target, program = job.options, job.target, lowered.program
    objective = OBJECTIVES[options.objective]
    with job.stages("build"):
        tests = vectors.make_vectors(lowered.integer, program, data.vectors, options.vectors)
        check_islands(lowered.integer, vectors.samples(tests), importer)
        vectors.save(folder, tests)
        fitted = widths.unbanded(fit_ram(program, target, options.max_ram, objective))
    selections, notes = choose_kernels(options, fitted.program, target, job.device, tests, job.stages)
    with job.stages("build") as advance:
        if line := for_target(target).first_use():
            job.stages.display.say(line)
        settings = BuildOptions(selections=selections, objective=objective, tell=advance)
        make = partial(build, target=target, folder=folder, vectors=tests, options=settings)
        fitted, artifact = build_within(program, fitted, target, options.max_ram, folder, objective, make)
        widths.unbanded(fitted)
    return Made(artifact, fitted, tests, settings, selections, (*notes, *describe(program, fitted)))


def judge(job: Job, read: Read, found: Quantized, lowered: Lowered, made: Made) -> Judged:
    """Run the product on its device, and both models on the samples."""
    data, measurement = read.data, None
    if job.device is not None:
        with job.stages("measure"):
            measurement = job.device.measure(made.artifact, made.tests)
    with job.stages("evaluate") as advance:
        models = models_of(read, found, lowered)
        errors = evaluate.node_errors(found.canonical, lowered.quantized, data.vectors, advance)
        totals = evaluate.measured(models, data, advance)
        outputs = explained(totals.outputs(), models.outputs, found.canonical, errors, trials_of(read, found, models))
        library = None
        if isinstance(job.device, Host | QemuUser) and has_islands(lowered.program):
            library = measure_library(job.device, made.artifact, models, data.vectors, evaluate.labels_of(data))
    return Judged(measurement, errors, totals.accuracy() if data.evaluation else None, outputs, library)


def models_of(read: Read, found: Quantized, lowered: Lowered) -> evaluate.Models:
    ports = (*lowered.program.inputs, *lowered.program.outputs)
    described = describe_outputs(found.canonical)
    return evaluate.Models(read.model, lowered.quantized, lowered.integer, ports, described)


def trials_of(read: Read, found: Quantized, models: evaluate.Models) -> Trials | None:
    """What may be tried for an output that came out badly; nothing for a model that came quantized."""
    calib = read.data.calib
    if found.statistics is None or found.wanted is None or calib is None:
        return None
    names = frozenset(name for node in read.model.graph.node for name in (node.name, *node.output))
    labels = evaluate.labels_of(read.data)
    return Trials(
        found.canonical, found.statistics, found.wanted, calib, read.data.vectors, models.outputs, names, labels
    )


def measure_widths(job: Job, read: Read, found: Quantized, lowered: Lowered, made: Made) -> tuple[Width, ...]:
    if not lowered.narrower:
        return ()
    with job.stages("widths"):
        product = widths.SwitchableProduct(made.fitted.program, job.target, job.device, made.settings)
        models = models_of(read, found, lowered)
        return widths.measured(product, lowered.narrower, models, read.data, job.options.vectors)


def asks_for_formats(options: Options) -> bool:
    chosen = (options.weights, options.activations) != DEFAULT_FORMATS
    return chosen or options.budgets.given or options.format_file is not None


def quantize_options(options: Options) -> QuantizeOptions:
    """Raises UserError for formats that there are no kernels for, and for one format where a search is to choose."""
    if options.switchable and asks_for_formats(replace(options, activations=Options.activations)):
        raise UserError("--switchable rounds int8 weights: leave out --weights, formats and budgets")
    if options.budgets.given and options.weights != Options.weights:
        raise UserError(f"--weights {options.weights} is one format for all; budgets choose from --formats LIST")
    weights, activations = weight_format(options.weights), activation_format(options.activations)
    return QuantizeOptions(options.range, options.rounding, options.bias_correction, weights, activations)
