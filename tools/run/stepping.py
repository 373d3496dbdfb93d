"""`--step`: the product computes what is new in each step, and integer.onnx is the step form, proven to equal the full.

The model is quantized as it is, on whole windows. Its step form is derived from the graph with quantizers, so that both
compute with the same integers; in float first, so that what has none is refused before minutes of work.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice

import onnx
import onnx_graphsurgeon as gs

from bevel.backends.program.program import Port
from bevel.calib.data.dataset import Dataset
from bevel.calib.data.steps import WindowSteps, steps_of
from bevel.calib.errors import UserError
from bevel.calib.observe.observe import model_inputs
from bevel.passes.base import Note, Work
from bevel.passes.exchange.export import export
from bevel.passes.exchange.unpack_weights import unpack_weights
from bevel.passes.integerize.switch_width import SwitchWidths
from bevel.passes.quantize.chosen import Chosen, NodeFormat
from bevel.passes.quantize.formats import activation_format
from bevel.passes.recipes.build import Recipe
from bevel.passes.states.pairs import states_of, write_states
from bevel.passes.step.base import PASS
from bevel.passes.step.derive import StepForm, step_form
from bevel.passes.step.prove import EXACTLY, prove
from bevel.tools.accuracy.evaluate import encode
from bevel.tools.run.options import Options

PROOFS = 4  # windows that both forms are run on
MOST_VECTORS = 64  # steps that a device is tested with, where nobody asks for more


@dataclass(frozen=True)
class Stepping:
    """The step form of the float model, and the choice of its time axis."""

    form: StepForm
    model: onnx.ModelProto
    notes: tuple[Note, ...]

    def steps(self, windows: Dataset) -> WindowSteps:
        inputs = model_inputs(self.model)
        states = {name: one for name, one in inputs.items() if name in self.form.states}
        return steps_of(windows, self.form.input, self.form.axis, self.form.tick.period, states)

    def vectors(self, asked: int) -> int:
        """Steps that a device is tested with: at least until a window has come."""
        return max(asked, min(self.form.tick.steps + 1, MOST_VECTORS))

    def cached(self, options: Options, schemes: Chosen) -> Chosen:
        """`schemes`, with the formats of what is kept row by row. Raises UserError for one that there is none."""
        named = options.cache or options.activations or "int8"
        keys, _, values = named.partition("/")
        formats = {"keys": activation_format(keys), "values": activation_format(values or keys)}
        nodes = {
            name: replace(schemes.nodes.get(name, NodeFormat()), activations=formats[role])
            for name, role in self.form.cached.items()
        }
        return replace(schemes, nodes={**schemes.nodes, **nodes})

    def derived(self, work: Work) -> Work:
        """The step form of a graph with quantizers, which stays as it is."""
        form = step_form(copied(work.graph), self.form.input, self.form.axis)
        return replace(work, graph=copied(form.graph), states=form.states)

    def prove(self, full: onnx.ModelProto, step: onnx.ModelProto, ports: Sequence[Port], windows: Dataset) -> Note:
        """That both integer models, whose inputs are `ports`, give the same bits. AssertionError where not: a bug."""
        form, quantized = replace(self.form, states=states_of(step)), {one.name: one for one in ports if one.scale}
        given = (encode(window, quantized) for window in islice(windows, PROOFS))
        count = prove(form, full, step, given, EXACTLY)
        text = f"gives the full form's results bit for bit, on {count} windows of {self.form.tick.steps} steps"
        return Note(PASS, self.form.input, "chosen", text, {"windows": count})


def stepping(options: Options, recipe: Recipe, work: Work, windows: Dataset) -> Stepping | None:
    """The step form of the canonical float graph of `work`, proven on `windows`; None where none is asked for.

    Raises UserError for a model that has none, with the reason.
    """
    if not options.step:
        for flag, given in (("--time-axis", options.time_axis), ("--cache", options.cache)):
            if given is not None:
                raise UserError(f"{flag} is for --step; give both")
        return None
    widths = any(isinstance(one, SwitchWidths) and one.bits for one in recipe.passes)
    for flag, asked in (("--switchable", widths), ("budgets", options.budgets.given)):
        if asked:
            raise UserError(f"--step goes without {flag}: these run the full form; leave one of them out")
    if work.states:
        raise UserError(f"--step: the model keeps {', '.join(work.states)} already: it is a step form")
    form, notes = chosen(work.graph, options)
    model = gs.export_onnx(form.graph)
    write_states(model, form.states)
    prove(form, gs.export_onnx(work.graph), model, islice(windows, PROOFS))
    return Stepping(form, model, (*notes, *form.notes))


def chosen(graph: gs.Graph, options: Options) -> tuple[StepForm, list[Note]]:
    """Along the axis that was asked for; else the longest of those along which there is a step form."""
    if options.time_axis is not None:
        input_, axis = named_axis(graph, options.time_axis)
        return step_form(copied(graph), input_, axis), []
    refusals: list[UserError] = []
    axes = list(axes_of(graph))
    for input_, axis, size in axes:
        try:
            form = step_form(copied(graph), input_, axis)
        except UserError as error:
            refusals.append(error)
            continue
        text = f"steps go along axis {axis}, of {size}; --time-axis says otherwise"
        return form, [Note(PASS, input_, "chosen", text)] if len(axes) > 1 else []
    if not refusals:
        raise UserError("--step: no input has an axis of more than one element")
    raise refusals[0]


def axes_of(graph: gs.Graph) -> Iterator[tuple[str, int, int]]:
    """(input, axis, size) of the axes that may be time, the longest first."""
    every = [(one.name, axis, int(size)) for one in graph.inputs for axis, size in enumerate(one.shape)]
    yield from sorted((one for one in every if one[2] > 1), key=lambda one: -one[2])


def named_axis(graph: gs.Graph, text: str) -> tuple[str, int]:
    """What `--time-axis N` or `INPUT:N` says. Raises UserError for others."""
    name, _, number = text.rpartition(":")
    inputs = {one.name: one for one in graph.inputs}
    if not name and len(inputs) == 1:
        name = next(iter(inputs))
    if name not in inputs or re.fullmatch(r"-?\d{1,3}", number) is None:
        raise UserError(f"--time-axis {text}: write N, or INPUT:N; the inputs are {', '.join(inputs)}")
    rank = len(inputs[name].shape)
    if not -rank <= int(number) < rank:
        raise UserError(f"--time-axis {text}: input {name} has axes 0 to {rank - 1}")
    return name, int(number) % rank


def copied(graph: gs.Graph) -> gs.Graph:
    """A graph that shares nothing with `graph`."""
    copy = gs.import_onnx(export(graph))
    unpack_weights(copy)
    return copy
