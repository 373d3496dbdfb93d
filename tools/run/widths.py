"""`--switchable 8,6,4,2`: a product whose weights can change their width, its models, and what it is at each width."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from bevel.backends.build import BuildOptions, build
from bevel.backends.devices.base import Device, Measurement, Vectors
from bevel.backends.program.fit import Fit
from bevel.backends.program.program import Program
from bevel.backends.program.resources import NOTHING
from bevel.backends.program.switching import switchable
from bevel.backends.target import Target
from bevel.backends.tir import importer
from bevel.calib.errors import UserError
from bevel.passes.integerize.switch_width import Means, switch_width, weighted_inputs
from bevel.passes.partition.partition import partition
from bevel.tools.accuracy import evaluate
from bevel.tools.report.report import Width
from bevel.tools.run import bundle, vectors
from bevel.tools.run.data import Data
from bevel.tools.run.options import Options

MEAN_SAMPLES = 64  # more change the means of whole channels little

Models = Mapping[int, onnx.ModelProto]  # integer models, by the bits of their weights


@dataclass(frozen=True)
class SwitchableProduct:
    """What is built and measured at every width. `program` begins at the full one."""

    program: Program
    target: Target
    device: Device | None
    settings: BuildOptions

    def measured(self, bits: int, tests: Vectors) -> Measurement | None:
        """The product as it was built, but that it begins at `bits` bits."""
        if self.device is None:
            return None
        with TemporaryDirectory(prefix="bevel-") as folder:
            artifact = build(replace(self.program, width=bits), self.target, Path(folder), tests, self.settings)
            return self.device.measure(artifact, tests)


def switched(
    options: Options,
    corrects: bool,
    program: Program,
    integer: onnx.ModelProto,
    folder: Path,
    data: Data,
    islands: bool,
) -> tuple[Program, Models]:
    """`program` with the widths that `options` ask for, and the integer models of the narrower ones, which are saved.

    corrects: whether their biases are corrected.

    Raises UserError for a model that has other weights than int8.
    """
    if not options.switchable:
        return program, {}
    means = None
    if data.calib is not None and corrects:
        means = input_means(integer, program, islice(data.calib, MEAN_SAMPLES))
    models = {bits: switch_width(integer, bits, means) for bits in options.switchable}
    for bits, model in models.items():
        bundle.save_model(folder, f"integer_{bits}bit.onnx", model)
    programs = {bits: partition(model, program.name, islands, importer)[0] for bits, model in models.items()}
    return switchable(program, programs), models


def input_means(integer: onnx.ModelProto, program: Program, samples: Iterable[evaluate.Sample]) -> Means:
    """The mean of each channel, less its zero point, of what each node with weights reads."""
    read = weighted_inputs(integer)
    exposed = evaluate.exposing(integer, [one.tensor for one in read.values()])
    one = evaluate.runner(exposed)
    ports = {port.name: port for port in program.inputs if port.scale is not None}
    found = [
        {name: channel_mean(values[one.tensor], one.zero_point, one.channels) for name, one in read.items()}
        for values in (one.run_raw(given) | given for given in (evaluate.encode(sample, ports) for sample in samples))
    ]
    return {name: np.mean([means[name] for means in found], axis=0) for name in read}


def channel_mean(codes: NDArray[Any], zero_point: int, axis: int) -> NDArray[np.float64]:
    others = tuple(place for place in range(codes.ndim) if place != axis % codes.ndim)
    return np.asarray(codes.mean(axis=others, dtype=np.float64) - zero_point)


def unbanded(fitted: Fit) -> Fit:
    """Raises UserError where a program of switchable width would have to run in bands of rows."""
    if fitted.program.widths and fitted.chains:
        raise UserError(
            "this model fits into RAM in bands of rows only, which --switchable cannot do; leave out one of "
            "--switchable and --max-ram, or take a part with more RAM"
        )
    return fitted


def measured(
    product: SwitchableProduct, narrower: Models, models: evaluate.Models, data: Data, count: int
) -> tuple[Width, ...]:
    """Accuracy and cost at each narrower width, with `count` test vectors."""
    found = []
    for bits, integer in narrower.items():
        tests = vectors.make_vectors(integer, product.program, data.vectors, count)
        cost = product.measured(bits, tests)
        at_bits = replace(models, integer=integer)
        accuracy = evaluate.measured(at_bits, data, lambda done, total: None).accuracy() if data.evaluation else None
        found.append(
            Width(
                bits,
                None if accuracy is None else accuracy.top1_integer,
                None if accuracy is None else accuracy.sqnr_db,
                None if cost is None else cost.mismatches,
                NOTHING if cost is None else cost.spent,
            )
        )
    return tuple(found)
