"""The data flow of `optimize`: from a float ONNX file to a measured bundle, one named stage after the other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import onnx
import onnx_graphsurgeon as gs
from numpy.typing import NDArray

from bevel.backends import target as targets
from bevel.backends.at_width import SwitchableProduct
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
from bevel.backends.ram import build_within, fit_ram
from bevel.backends.select.objective import OBJECTIVES
from bevel.backends.select.tune import Selections
from bevel.backends.target import Target
from bevel.backends.tir import importer
from bevel.calib.data.dataset import Dataset
from bevel.calib.errors import UserError
from bevel.calib.observe.observe import observe
from bevel.passes.base import Note, Work
from bevel.passes.canonicalize import canonicalize
from bevel.passes.exchange.export import export, export_quantized
from bevel.passes.exchange.load import fix_batch, load
from bevel.passes.integerize.carry_quantizers import CarryQuantizers
from bevel.passes.integerize.quantize_results import QuantizeResults
from bevel.passes.partition.check_islands import check_islands
from bevel.passes.partition.partition import partition
from bevel.passes.partition.refuse_early import RefuseEarly
from bevel.passes.pipeline import Pipeline
from bevel.passes.recipes.build import Recipe
from bevel.passes.states.pairs import states_of
from bevel.tools.accuracy import evaluate
from bevel.tools.accuracy.broken import Trials, explained
from bevel.tools.accuracy.library import measure as measure_library
from bevel.tools.accuracy.metrics.meters import Judging, judging, with_metric
from bevel.tools.accuracy.outputs import describe_outputs
from bevel.tools.assign.kept import check_kept
from bevel.tools.command import devices
from bevel.tools.report.bands import describe
from bevel.tools.report.report import Accuracy, Library, OutputFigures, Report, Width
from bevel.tools.report.step import Step
from bevel.tools.report.summary import Findings, summarize
from bevel.tools.run import bundle, transforms, vectors, widths
from bevel.tools.run.beside_floats import refuse_integer_target
from bevel.tools.run.by_reference import measured
from bevel.tools.run.data import Data, open_data
from bevel.tools.run.dimensions import dimensions
from bevel.tools.run.earlier import NEVER, Earlier
from bevel.tools.run.full_form import FullForm, full_form, told_of
from bevel.tools.run.longer import with_longer_windows
from bevel.tools.run.names import model_name
from bevel.tools.run.options import Options
from bevel.tools.run.pixels import with_pixels
from bevel.tools.run.recipe import asks_for_formats, recipe_of
from bevel.tools.run.select import with_selected
from bevel.tools.run.stages import Stages
from bevel.tools.run.staging import staged
from bevel.tools.run.states import with_states
from bevel.tools.run.stepping import Stepping, stepping
from bevel.tools.run.tuning import choose_kernels

if TYPE_CHECKING:
    from bevel.tools.assign.explain import Assigned
    from bevel.tools.assign.run import Searches

EQUIVALENCE_SAMPLES = 2
QUANTIZED_BEFORE = "quantized as a run before did, with the same model, samples and options (kept in Bevel's cache)"
MODELS = 3  # float, quantized, integer


@dataclass(frozen=True)
class Job:
    """What was asked for. `name`: the model's, in C; `recipe`: how to quantize; `device`: what measures, if any;
    `judging`: what accuracy is; `searches`: what other runs know of formats."""

    options: Options
    stages: Stages
    target: Target
    device: Device | None
    name: str
    recipe: Recipe
    judging: Judging
    searches: Searches | None = None

    @property
    def on_cpu(self) -> bool:
        return not self.target.bare


@dataclass(frozen=True)
class FloatModel:
    """The float model as it came, its samples, and the canonical graph that it was brought to."""

    model: onnx.ModelProto
    data: Data
    work: Work


@dataclass(frozen=True)
class QdqModel:
    """`work`: the graph with quantizers; `canonical`: the float one; `observed`: how that was to be quantized in the
    end, None of a model that came quantized; `assigned`: what a search chose."""

    work: Work
    canonical: onnx.ModelProto
    observed: Work | None = None
    assigned: Assigned | None = None


@dataclass(frozen=True)
class Lowered:
    """Both models that are written, and the program that computes the integer one; at narrower widths too. full: of
    step forms, the full ones."""

    quantized: onnx.ModelProto
    integer: onnx.ModelProto
    program: Program
    narrower: widths.Models
    notes: tuple[Note, ...]
    full: FullForm | None = None


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
    step: Step | None = None


def compile_model(options: Options, stages: Stages, searches: Searches | None = None) -> Report:
    """Do all of `optimize` and leave its bundle at `options.output`. searches: of runs with other flash budgets.

    Raises UserError for what the user can put right; `options.output` is then as it was before.
    """
    job = replace(prepare(options, stages), searches=searches)
    with staged(options.output, options.sources) as folder:
        read = read_model(job)
        with stages("canonicalize"):
            steps = stepping(options, job.recipe, read.work, read.data.vectors)
        if steps is not None:
            read = replace(read, work=replace(read.work, schemes=steps.cached(options, read.work.schemes)))
        quantized = quantize_calibrated(job, read) if read.data.calib is not None else keep_quantized(read)
        lowered = lower(job, read, quantized, folder, steps)
        made = build_product(job, read.data, lowered, folder, steps)
        judged = judge(job, read, quantized, lowered, made, steps)
        at_widths = measure_widths(job, read, quantized, lowered, made)
        with stages("report"):
            findings = Findings(
                read.model,
                quantized.canonical,
                lowered.integer,
                lowered.program,
                made.artifact,
                judged.measurement,
                judged.accuracy,
                judged.errors,
                (*lowered.notes, *made.notes),
                quantized.work.formats,
                quantized.work.rounders,
                None if quantized.assigned is None else quantized.assigned.told,
                at_widths,
                judged.outputs,
                judged.library,
                quantized.work.transforms,
                judged.step,
            )
            report = summarize(options, folder, findings)
            check_kept(report)
        report = replace(report, stages=stages.listed())
        bundle.finish(folder, options, made.artifact, report, made.selections, made.fitted.chains)
    return report


def prepare(options: Options, stages: Stages) -> Job:
    """Everything that can be refused before the model is read."""
    recipe, judged_by = recipe_of(options), judging(options)
    target = targets.load(options.target).asked(options.memory, options.isa, options.threads).with_logic(options.logic)
    refuse_integer_target(recipe, target)
    device = devices.choose(target, options.device)
    return Job(options, stages, target, device, model_name(options.name, options.model), recipe, judged_by)


def read_model(job: Job) -> FloatModel:
    """The model with static shapes, its data, and its canonical graph, held against the model on the first samples."""
    options = job.options
    with job.stages("load"):
        loaded = load(options.model, options.outputs_at, dict(options.constant))
        sizes, decided = dimensions(options, loaded.model)
        model, found = with_states(options, with_pixels(options, fix_batch(loaded.model, options.batch, sizes)))
        data = open_data(options, model)
        if data.calib is None and asks_for_formats(options, job.recipe):
            raise UserError(f"{options.model} came quantized: its formats are kept; leave out the options for them")
        model, data, read = with_longer_windows(options, model, data)
    with job.stages("canonicalize"):
        graph, notes = canonicalize(model, islice(data.vectors, EQUIVALENCE_SAMPLES))
        data, chosen = with_selected(options, graph, data)
    told = (*loaded.notes, *decided, *found, *read, *notes, *chosen)
    return FloatModel(model, data, Work(graph, job.target, data.calib, states=states_of(model), notes=told))


def keep_quantized(read: FloatModel) -> QdqModel:
    """A model that came quantized keeps its scales; results that have none get them."""
    canonical = gs.export_onnx(read.work.graph)
    return QdqModel(Pipeline([CarryQuantizers(), QuantizeResults()])(read.work).work, canonical)


def quantize_calibrated(job: Job, read: FloatModel) -> QdqModel:
    """Observe the float model, choose formats, insert quantizers."""
    recipe, work = job.recipe, RefuseEarly(importer)(read.work).work
    with job.stages("recall"):
        drawn = job.options.calib == "random"
        earlier = NEVER if job.options.budgets.given else Earlier.of(work, (recipe, job.options.transform, drawn))
        known: QdqModel | None = earlier.read()
    if known is not None:
        job.stages.display.say(QUANTIZED_BEFORE)
        return known
    with job.stages("transform") as advance:
        work, seen = transforms.transformed(job.options.transform, recipe, work, drawn, advance)
    with job.stages("observe") as advance:
        canonical = gs.export_onnx(work.graph)
        found = observe(canonical, work.samples, recipe.wants(work.graph), advance, known=seen)
        work = replace(work, observations=found)
    with job.stages("quantize"):
        work = recipe.run("assign", work)
    assigned = None
    if job.options.budgets.given:
        work, assigned = search_formats(job, read, canonical, work)
    with job.stages("quantize"):
        quantized = QdqModel(recipe.run("quantize", work), canonical, work, assigned)
        earlier.keep(quantized)
    return quantized


def search_formats(job: Job, read: FloatModel, canonical: onnx.ModelProto, work: Work) -> tuple[Work, Assigned]:
    """`work` with the formats that keep the budgets."""
    from bevel.tools.assign.run import Searches, assign
    from bevel.tools.assign.trial import Maker

    maker = Maker(job.options, job.recipe, canonical, work, read.data, job.name, job.target, job.device)
    searches = job.searches or Searches()
    found = assign(maker, read.model, job.options.budgets, job.judging, job.stages, searches)
    schemes = replace(work.schemes, nodes=maker.nodes(found.formats))
    return replace(work, schemes=schemes, notes=(*work.notes, *found.notes)), found


def lower(job: Job, read: FloatModel, found: QdqModel, folder: Path, steps: Stepping | None) -> Lowered:
    """Write quantized.onnx and integer.onnx into `folder`, and make the program that computes the latter."""
    data, work, full = read.data, found.work, None
    if steps is not None:
        with job.stages("integerize"):
            full, work = full_form(job.recipe, work, folder), steps.derived(work)
    quantized = export_quantized(work.graph, work.states)
    bundle.save_model(folder, bundle.QUANTIZED, quantized)
    with job.stages("integerize"):
        work = job.recipe.run("integerize", work)
        integer = export(work.graph, work.ports, work.states)
        digest = bundle.save_model(folder, bundle.INTEGER, integer)
    with job.stages("partition"):
        program, notes = partition(integer, job.name, job.on_cpu, importer, work.notes)
        if steps is not None and full is not None:
            notes = [*notes, *steps.notes, steps.prove(full.integer, integer, program.inputs, data.vectors)]
        program = widths.switched(program, work.narrower, folder, job.on_cpu)
        program = replace(split_conversions(program, job.target), sha256=digest)
    return Lowered(quantized, integer, program, work.narrower, (*work.notes, *notes), full)


def build_product(job: Job, data: Data, lowered: Lowered, folder: Path, steps: Stepping | None) -> Made:
    """The product in `folder`, with test vectors that integer.onnx answered."""
    options, target, program = job.options, job.target, lowered.program
    objective = OBJECTIVES[options.objective]
    with job.stages("build"):
        samples, count = data.vectors, options.vectors
        if steps is not None:
            samples, count = steps.steps(samples), steps.vectors(count)
        tests = vectors.make_vectors(lowered.integer, program, samples, count)
        check_islands(lowered.integer, vectors.samples(tests, lowered.integer), importer)
        vectors.save(folder, tests)
        fitted = widths.unbanded(fit_ram(program, target, options.max_ram, objective))
    selections, notes = choose_kernels(options, fitted.program, target, job.device, tests, job.stages)
    with job.stages("build") as advance:
        if target.compilers and (line := for_target(target).first_use()):
            job.stages.display.say(line)
        settings = BuildOptions(
            selections=selections,
            objective=objective,
            tell=advance,
            folding=options.folding,
            synthesize=options.synthesize,
            mode=options.logic_mode,
        )
        make = partial(build, target=target, folder=folder, vectors=tests, options=settings)
        fitted, artifact = build_within(program, fitted, target, options.max_ram, folder, objective, make)
        widths.unbanded(fitted)
    return Made(artifact, fitted, tests, settings, selections, (*notes, *describe(program, fitted)))


def judge(job: Job, read: FloatModel, found: QdqModel, lowered: Lowered, made: Made, steps: Stepping | None) -> Judged:
    """Run the product on its device, and both models on the samples: of step forms the full ones, as they are equal."""
    data, measurement, step = read.data, None, None
    if job.device is not None:
        with job.stages("measure"):
            measurement = measured(job.device, made.artifact, lowered.program, made.tests)
    if steps is not None and lowered.full is not None:
        with job.stages("measure"):
            step = told_of(steps, lowered.full.spent(job.name, made.settings, job.target, job.device, data.vectors))
    with job.stages("evaluate") as advance:
        models = models_of(read, found, lowered)
        errors = evaluate.node_errors(found.canonical, models.quantized, data.vectors, advance)
        meters = None if data.evaluation is None else job.judging.meters(data.evaluation, MODELS)
        totals = evaluate.measured(models, data, advance, meters)
        accuracy = None if meters is None else with_metric(totals.accuracy(), job.judging, meters)
        outputs = explained(
            totals.outputs(), models.outputs, found.canonical, errors, trials_of(job, read, found, models)
        )
        library = None
        if isinstance(job.device, Host | QemuUser) and has_islands(lowered.program):
            library = measure_library(job.device, made.artifact, *in_library(read, models, lowered, steps))
    return Judged(measurement, errors, accuracy, outputs, library, step)


def in_library(
    read: FloatModel, models: evaluate.Models, lowered: Lowered, steps: Stepping | None
) -> tuple[evaluate.Models, Dataset, NDArray[Any] | None]:
    """The models that a library is held to, its samples, and their labels."""
    if steps is None:
        return models, read.data.vectors, evaluate.labels_of(read.data)
    stepped = replace(models, exact=steps.model, quantized=lowered.quantized, integer=lowered.integer)
    return stepped, steps.steps(read.data.vectors), None


def models_of(read: FloatModel, found: QdqModel, lowered: Lowered) -> evaluate.Models:
    ports = (*lowered.program.inputs, *lowered.program.outputs)
    described = describe_outputs(found.canonical)
    whole = lowered.full or lowered
    return evaluate.Models(read.model, whole.quantized, whole.integer, ports, described)


def trials_of(job: Job, read: FloatModel, found: QdqModel, models: evaluate.Models) -> Trials | None:
    """What may be tried for an output that came out badly; nothing for a model that came quantized."""
    if found.observed is None:
        return None
    names = frozenset(name for node in read.model.graph.node for name in (node.name, *node.output))
    labels = evaluate.labels_of(read.data)
    return Trials(job.recipe, found.canonical, found.observed, read.data.vectors, models.outputs, names, labels)


def measure_widths(job: Job, read: FloatModel, found: QdqModel, lowered: Lowered, made: Made) -> tuple[Width, ...]:
    if not lowered.narrower:
        return ()
    with job.stages("widths"):
        product = SwitchableProduct(made.fitted.program, job.target, job.device, made.settings)
        models = models_of(read, found, lowered)
        return widths.measured(product, lowered.narrower, models, read.data, job.options.vectors)
