"""Which samples a run calibrates on, is scored on, and is tested with."""

from __future__ import annotations

from dataclasses import dataclass

import onnx

from bevel.calib.data.dataset import Dataset, Inputs, Samples, open_dataset, random_dataset
from bevel.calib.data.sequences import Advance, in_sequences, open_sequences
from bevel.calib.errors import UserError
from bevel.calib.observe.observe import model_inputs
from bevel.passes.exchange.qoperator.forms import QOPERATORS
from bevel.passes.states.advance import advance
from bevel.passes.states.pairs import states_of
from bevel.tools.accuracy.metrics.metric import AUC
from bevel.tools.run.options import Options

RANDOM_RUNS = 32
QUANTIZERS = ("QuantizeLinear", "DequantizeLinear")
GUESS = "ranges are guesses: calibrated on random data"


@dataclass(frozen=True)
class Data:
    calib: Dataset | None  # None where the model brings its own scales
    evaluation: Dataset | None
    vectors: Dataset


def open_data(options: Options, model: onnx.ModelProto) -> Data:
    """The data sets of a run. Raises UserError for data that do not fit the model, or that a float model lacks."""
    source = SamplesOf.of(model)
    quantized = holds_quantizers(model)
    given: Dataset | None = None
    if options.calib == "random":
        given = source.random(options.calib_samples or RANDOM_RUNS, options.seed)
    elif options.calib is not None:
        given = source.open(options.calib, options.calib_read)
    elif not quantized:
        raise UserError(f"{options.model} is a float model: give samples with --calib FILE, or ask for --calib random")
    evaluation = evaluation_data(options, source)
    vectors = evaluation or given or source.random(options.vectors, options.seed)
    return Data(None if quantized else given, evaluation, vectors)


def evaluation_data(options: Options, source: SamplesOf) -> Dataset | None:
    """A label of several samples (windows of a recording) is for metrics that know them together."""
    if options.eval is None:
        return None
    grouped = options.metric == AUC.name or options.metric_script is not None
    return source.open(options.eval, options.eval_samples, grouped)


@dataclass(frozen=True)
class SamplesOf:
    """What a model's samples must be. `states` are inputs that `advance` knows, or that nobody asks for after the
    first step of a sequence."""

    given: Inputs
    states: Inputs
    advance: Advance | None = None

    @staticmethod
    def of(model: onnx.ModelProto, follows: bool = True) -> SamplesOf:
        """`follows`: whether samples have the states in which `model` is before each step."""
        inputs, states = model_inputs(model), states_of(model)
        given = {name: one for name, one in inputs.items() if name not in states}
        kept = {name: one for name, one in inputs.items() if name in states}
        return SamplesOf(given, kept, advance(model) if states and follows else None)

    def open(self, given: Samples, limit: int | None = None, grouped: bool = False) -> Dataset:
        """`grouped`: as of `open_dataset`."""
        if not self.states:
            return open_dataset(given, self.given, limit, grouped)
        return open_sequences(given, self.given, self.states, limit, self.advance, grouped)

    def random(self, count: int, seed: int) -> Dataset:
        """With state, one sequence."""
        found = random_dataset(self.given, count, seed)
        return found if not self.states else in_sequences(found, self.states, frozenset({0}), self.advance)


def holds_quantizers(model: onnx.ModelProto) -> bool:
    return any(node.op_type in QUANTIZERS or node.op_type in QOPERATORS for node in model.graph.node)
