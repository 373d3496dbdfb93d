"""Outputs that lost what they mean: which node lost it first, and which option would mend it, found by trying them."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice

import onnx
import onnx_graphsurgeon as gs

from bevel.calib.errors import UserError
from bevel.passes.base import Work
from bevel.passes.exchange.cut_outputs import OPTION as CUT
from bevel.passes.exchange.cut_outputs import cut_outputs
from bevel.passes.exchange.export import export
from bevel.passes.quantize.chosen import Chosen
from bevel.passes.quantize.formats import activation_format, weight_format
from bevel.passes.recipes.build import Recipe
from bevel.tools.accuracy import evaluate
from bevel.tools.accuracy.evaluate import Sample
from bevel.tools.accuracy.outputs import Array, Described
from bevel.tools.accuracy.quality import FEW, Totals
from bevel.tools.report.report import OutputFigures
from bevel.tools.run.beside_floats import is_beside_floats

LOW_DB = 10.0  # noise of a tenth of the signal's power: below it an output says little
COARSE_DB = 20.0  # an error of a tenth of the signal: below it numbers are told with what would make them finer
WORTH_DB = 3.0  # half the noise: less is no remedy
LOW_SAME = 0.75  # of answers like the float model's: a loss of one in four is no rounding
TRIAL_SAMPLES = 64
TRIAL_SECONDS = 60.0  # when another option is no longer tried: large models take long to quantize
NOTHING = "no option of optimize mends it"


def is_broken(one: OutputFigures) -> bool:
    """Whether a person must be told: little is left of the float model's output."""
    few = one.values is not None and one.float_values is not None and one.values < min(FEW, one.float_values)
    changed = one.agreement is not None and one.agreement < LOW_SAME
    return one.nonfinite > 0 or few or changed or (one.sqnr_db is not None and one.sqnr_db < LOW_DB)


def is_coarse(one: OutputFigures) -> bool:
    """Whether an output that is not broken has errors that a person may mind: numbers, which have no answers."""
    return not is_broken(one) and one.agreement is None and one.sqnr_db is not None and one.sqnr_db < COARSE_DB


def is_told(one: OutputFigures) -> bool:
    return is_broken(one) or is_coarse(one)


@dataclass(frozen=True)
class Trials:
    """What another option would give. `observed`: the float model before it was quantized; `known`: the names of the
    user's model, at which it can be cut."""

    recipe: Recipe
    canonical: onnx.ModelProto
    observed: Work
    samples: Iterable[Sample]
    described: Mapping[str, Described]
    known: frozenset[str]
    labels: Array | None = None  # of the samples

    def options(self) -> Iterator[tuple[str, Chosen]]:
        """Others than were taken, the least costly first."""
        wanted = self.observed.schemes
        wide = replace(wanted, activations=activation_format("int16"))
        floats = is_beside_floats(self.recipe)
        widened = not floats and wanted.activations.name != wide.activations.name
        if wanted.weights.name not in ("int8", "int16"):
            yield "--weights int8", replace(wanted, weights=weight_format("int8"))
        if wanted.range != "minmax" and not floats:
            yield "--range minmax", replace(wanted, range="minmax")
        if widened:
            yield "--activations int16", wide
        if widened and wanted.range != "minmax":
            yield "--activations int16 --range minmax", replace(wide, range="minmax")
        if wanted.weights.name != "int16" and not floats:
            fine = weight_format("int16")
            yield "--weights int16", replace(wanted, weights=fine)
            if widened:
                yield "--weights int16 --activations int16", replace(wide, weights=fine)

    def outputs(self, canonical: onnx.ModelProto, schemes: Chosen) -> tuple[OutputFigures, ...]:
        work = replace(self.observed, graph=gs.import_onnx(canonical), schemes=schemes)
        graph = self.recipe.run("quantize", work).graph
        exact, rounded = evaluate.runner(canonical), evaluate.runner(evaluate.dequantize_weights(export(graph)))
        totals = Totals(self.described)
        for sample in islice(self.samples, TRIAL_SAMPLES):
            given = {value.name: sample[value.name] for value in canonical.graph.input}
            totals.add([exact.run(given), rounded.run(given)], self.labels)
        return totals.outputs()


def explained(
    outputs: Sequence[OutputFigures],
    known: Mapping[str, Described],
    canonical: onnx.ModelProto,
    errors: Mapping[str, float | None],
    trials: Trials | None,
) -> tuple[OutputFigures, ...]:
    """`outputs`, those to be told of with the node that lost them and what would help. `errors`: of nodes, in dB."""
    told = [one for one in outputs if is_told(one)]
    if not told:
        return tuple(outputs)
    remedies = {} if trials is None else found_remedies(told, trials)
    unknown = "its scales came with the model" if trials is None else NOTHING
    return tuple(
        replace(
            one,
            broke_at=first_lost(canonical, errors, one.part or known[one.name].tensor, one.nonfinite > 0),
            helps=remedies.get((one.name, one.part), unknown),
        )
        if is_told(one)
        else one
        for one in outputs
    )


def first_lost(
    canonical: onnx.ModelProto, errors: Mapping[str, float | None], tensor: str, at_end: bool = False
) -> str | None:
    """Of the inputs and nodes that `tensor` depends on, in execution order, the first below LOW_DB. If there is none,
    the last, `at_end`, or else the worst."""
    needed, ancestors = {tensor}, []
    for node in reversed(canonical.graph.node):
        if needed & set(node.output):
            needed |= set(node.input)
            ancestors.append(node)
    names = [value.name for value in canonical.graph.input if value.name in needed]
    names += [str(node.name) for node in ancestors[::-1]]
    known: dict[str, float] = {name: decibels for name in names if (decibels := errors.get(name)) is not None}
    for name, decibels in known.items():
        if decibels < LOW_DB:
            return str(name)
    last = str(ancestors[0].name) if ancestors else None
    return last if at_end else min(known, key=lambda name: known[name], default=last)


def found_remedies(told: Sequence[OutputFigures], trials: Trials) -> dict[tuple[str, str | None], str]:
    """{(output, part): what would help}, the first option that mends it, or the one that comes nearest."""
    pending = {(one.name, one.part): one for one in told}
    nearest: dict[tuple[str, str | None], tuple[float, str]] = {}
    mended: dict[tuple[str, str | None], str] = {}
    end = time.monotonic() + TRIAL_SECONDS
    for option, attempt in attempts(trials):
        if not pending or time.monotonic() > end:
            break
        try:
            found = {(one.name, one.part): one for one in attempt()}
        except UserError:
            continue  # no such form of this model: no remedy
        for key, one in list(pending.items()):
            result = found.get(key)
            if result is None:
                continue
            if not is_told(result):
                mended[key] = f"{option} gives {described(result)}"
                del pending[key]
            elif merit(result) >= max(merit(one) + WORTH_DB, nearest.get(key, (-math.inf, ""))[0]):
                nearest[key] = (merit(result), f"{option} comes nearest, {described(result)}")
    return {key: text for key, (_, text) in nearest.items()} | mended


def described(one: OutputFigures) -> str:
    numbers = [] if one.values is None else ["no error" if one.sqnr_db is None else f"{one.sqnr_db:.1f} dB"]
    return " and ".join(numbers + ([] if one.agreement is None else [f"{100 * one.agreement:.0f} % agreement"]))


def merit(one: OutputFigures) -> float:
    """dB, or for what has none percent of equal answers."""
    if one.values is None:
        return 100 * (one.agreement or 0.0)
    return math.inf if one.sqnr_db is None else one.sqnr_db


def attempts(trials: Trials) -> Iterator[tuple[str, Callable[[], tuple[OutputFigures, ...]]]]:
    for option, settings in trials.options():
        yield option, lambda settings=settings: trials.outputs(trials.canonical, settings)  # type: ignore[misc]
    for one in trials.described.values():
        if one.parts and set(one.parts) <= trials.known:
            yield " ".join(f"{CUT} {part}" for part in one.parts), lambda one=one: at_parts(one, trials)  # type: ignore[misc]


def at_parts(joined: Described, trials: Trials) -> tuple[OutputFigures, ...]:
    """The parts of an output as outputs of their own."""
    model = onnx.ModelProto()
    model.CopyFrom(trials.canonical)
    cut_outputs(model, joined.parts)
    alone = replace(trials, described={})
    return tuple(replace(one, name=joined.name, part=one.name) for one in alone.outputs(model, trials.observed.schemes))
