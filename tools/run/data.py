"""Which samples a run calibrates on, is scored on, and is tested with."""

from __future__ import annotations

from dataclasses import dataclass

import onnx

from bevel.calib.data.dataset import Dataset, Inputs, open_dataset, random_dataset
from bevel.calib.errors import UserError
from bevel.calib.observe.observe import model_inputs
from bevel.passes.exchange.qoperator.forms import QOPERATORS
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
    inputs = model_inputs(model)
    quantized = holds_quantizers(model)
    given: Dataset | None = None
    if options.calib == "random":
        given = random_dataset(inputs, options.calib_samples or RANDOM_RUNS, options.seed)
    elif options.calib is not None:
        given = open_dataset(options.calib, inputs, options.calib_samples)
    elif not quantized:
        raise UserError(f"{options.model} is a float model: give samples with --calib FILE, or ask for --calib random")
    evaluation = evaluation_data(options, inputs)
    vectors = evaluation or given or random_dataset(inputs, options.vectors, options.seed)
    return Data(None if quantized else given, evaluation, vectors)


def evaluation_data(options: Options, inputs: Inputs) -> Dataset | None:
    """A label of several samples (windows of a recording) is for metrics that know them together."""
    if options.eval is None:
        return None
    grouped = options.metric == AUC.name or options.metric_script is not None
    return open_dataset(options.eval, inputs, options.eval_samples, grouped)


def holds_quantizers(model: onnx.ModelProto) -> bool:
    return any(node.op_type in QUANTIZERS or node.op_type in QOPERATORS for node in model.graph.node)
