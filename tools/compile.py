"""The data flow of `optimize`: from a float ONNX file to a measured bundle, one named stage after the other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from itertools import islice

import onnx_graphsurgeon as gs

from bevel.backends import target as targets
from bevel.backends.build import BuildOptions, build
from bevel.backends.conversions import split_conversions
from bevel.backends.devices.host import Host
from bevel.backends.devices.qemu_user import QemuUser
from bevel.backends.toolchain import for_target
from bevel.calib.errors import UserError
from bevel.calib.observe import observe
from bevel.calib.statistics import Statistics
from bevel.passes.assign.patterns import apply_patterns, read_patterns
from bevel.passes.canonicalize import canonicalize
from bevel.passes.check_islands import check_islands
from bevel.passes.integerize import integerize
from bevel.passes.load import fix_batch, load
from bevel.passes.partition import partition
from bevel.passes.quantize import QuantizeOptions, export_quantized, quantize
from bevel.passes.quantize.clamp_masks import clamp_masks
from bevel.passes.quantize.formats import activation_format, weight_format
from bevel.passes.quantize.widen_activations import widen_activations
from bevel.passes.quantize_results import quantize_results
from bevel.passes.refuse_early import refuse_early
from bevel.tools import bundle, devices, evaluate, vectors, widths
from bevel.tools.assign.explain import Assigned
from bevel.tools.assign.kept import check_kept
from bevel.tools.assign.run import assign
from bevel.tools.assign.trial import Maker
from bevel.tools.broken import Trials, explained
from bevel.tools.data import open_data
from bevel.tools.dimensions import dimensions
from bevel.tools.library import has_islands
from bevel.tools.library import measure as measure_library
from bevel.tools.names import model_name
from bevel.tools.options import Options, edge
from bevel.tools.outputs import describe_outputs
from bevel.tools.pixels import with_pixels
from bevel.tools.ram import build_within, describe, fit_ram
from bevel.tools.report import Report, Width
from bevel.tools.stages import Stages
from bevel.tools.staging import staged
from bevel.tools.summary import Findings, summarize
from bevel.tools.tuning import choose_kernels

EQUIVALENCE_SAMPLES = 2
DEFAULT_FORMATS = (Options.weights, Options.activations)


def compile_model(options: Options, stages: Stages) -> Report:
    """Do all of `optimize` and leave its bundle at `options.output`.

    Raises UserError for what the user can put right; `options.output` is then as it was before.
    """
    wanted = quantize_options(options)
    target = targets.load(options.target).with_memory(flash=options.flash, ram=options.ram)
    device = devices.choose(target, options.device)
    name = model_name(options.name, options.model)
    with staged(options.output, options.sources) as folder:
        with stages("load"):
            loaded = load(options.model, options.outputs_at)
            sizes, decided = dimensions(options, loaded.model)
            model = fix_batch(loaded.model, options.batch, sizes)
            model = with_pixels(options, model)
            data = open_data(options, model)
            if data.calib is None and asks_for_formats(options):
                raise UserError(f"{options.model} came quantized: its formats are kept; leave out the options for them")

        with stages("canonicalize"):
            graph, notes = canonicalize(model, islice(data.vectors, EQUIVALENCE_SAMPLES))
            notes = [*loaded.notes, *decided, *notes]
            canonical = gs.export_onnx(graph)

        formats: dict[str, str] = {}
        assigned: Assigned | None = None
        statistics: Mapping[str, Statistics] | None = None
        if data.calib is not None:  # a model that came quantized keeps its scales
            if target.kind != "cpu":
                refuse_early(graph)
            with stages("observe") as advance:
                notes += clamp_masks(graph, data.calib)
                canonical = gs.export_onnx(graph)
                statistics = observe(canonical, data.calib, progress=advance)
            if options.format_file is not None:
                wanted = replace(wanted, nodes=apply_patterns(read_patterns(options.format_file), canonical))
            if not options.switchable:
                with stages("quantize"):
                    widened = widen_activations(graph, statistics, wanted.method, wanted.chosen, data.calib)
                wanted, notes = replace(wanted, nodes={**wanted.nodes, **widened.nodes}), notes + widened.notes
            if options.budgets.given:
                maker = Maker(options, canonical, statistics, wanted, data, name, target, device)
                assigned = assign(maker, model, options.budgets, stages)
                wanted, notes = replace(wanted, nodes=maker.nodes(assigned.formats)), notes + assigned.notes
            with stages("quantize"):
                result = quantize(graph, statistics, wanted)
                graph, notes, formats = result.graph, notes + result.notes, result.formats
        else:
            notes += quantize_results(graph)
        quantized = export_quantized(graph)
        bundle.save_model(folder, bundle.QUANTIZED, quantized)

        with stages("integerize"):
            integer, more = integerize(graph, inputs=edge(options.inputs), outputs=options.outputs)
            notes += more
            digest = bundle.save_model(folder, bundle.INTEGER, integer)

        with stages("partition"):
            program, more = partition(integer, name, target.kind == "cpu", notes)
            notes += more
            program, narrower = widths.switched(options, program, integer, folder, data, target.kind == "cpu")
            program = replace(split_conversions(program, target), sha256=digest)

        with stages("build"):
            tests = vectors.make_vectors(integer, program, data.vectors, options.vectors)
            check_islands(integer, vectors.samples(tests))
            vectors.save(folder, tests)
            fitted = widths.unbanded(fit_ram(program, target, options.max_ram))
        selections, more = choose_kernels(options, fitted.program, target, device, tests, stages)
        notes += more
        with stages("build") as advance:
            if line := for_target(target).first_use():
                stages.display.say(line)
            settings = BuildOptions(selections=selections, tell=advance)
            make = partial(build, target=target, folder=folder, vectors=tests, options=settings)
            fitted, artifact = build_within(program, fitted, target, options.max_ram, folder, make)
            widths.unbanded(fitted)
            notes += describe(program, fitted)

        measurement = None
        if device is not None:
            with stages("measure"):
                measurement = device.measure(artifact, tests)
        with stages("evaluate") as advance:
            ports = (*program.inputs, *program.outputs)
            models = evaluate.Models(model, quantized, integer, ports, describe_outputs(canonical))
            errors = evaluate.node_errors(canonical, quantized, data.vectors, advance)
            trials = None
            if statistics is not None:
                names = frozenset(name for node in model.graph.node for name in (node.name, *node.output))
                labels = evaluate.labels_of(data)
                trials = Trials(canonical, statistics, wanted, data.vectors, models.outputs, names, labels)
            totals = evaluate.measured(models, data, advance)
            accuracy = totals.accuracy() if data.evaluation else None
            outputs = explained(totals.outputs(), models.outputs, canonical, errors, trials)
            library = None
            if isinstance(device, Host | QemuUser) and has_islands(program):
                library = measure_library(device, artifact, models, data.vectors, evaluate.labels_of(data))

        at_widths: tuple[Width, ...] = ()
        if narrower:
            with stages("widths"):
                product = widths.Product(fitted.program, target, device, settings)
                at_widths = widths.measured(product, narrower, models, data, options.vectors)

        with stages("report"):
            findings = Findings(
                model,
                canonical,
                integer,
                program,
                artifact,
                measurement,
                accuracy,
                errors,
                tuple(notes),
                formats,
                None if assigned is None else assigned.told,
                at_widths,
                outputs,
                library,
            )
            report = summarize(options, folder, findings)
            check_kept(report)
        report = replace(report, stages=stages.listed())
        bundle.finish(folder, options, artifact, report, selections, fitted.chains)
    return report


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
    return QuantizeOptions(options.range, options.bias_correction, weights, activations)
