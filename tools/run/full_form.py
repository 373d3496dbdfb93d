"""The full form that a step form equals: its models, and what a run of it spends."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import onnx

from bevel.backends.build import BuildOptions, build
from bevel.backends.devices.base import Device
from bevel.backends.program.conversions import split_conversions
from bevel.backends.program.resources import Resources
from bevel.backends.target import Target
from bevel.backends.tir import importer
from bevel.calib.data.dataset import Dataset
from bevel.calib.errors import UserError
from bevel.passes.base import Work
from bevel.passes.exchange.export import export, export_quantized
from bevel.passes.partition.partition import partition
from bevel.passes.recipes.build import Recipe
from bevel.tools.report.step import Step
from bevel.tools.run import bundle, vectors
from bevel.tools.run.stepping import Stepping, copied

QUANTIZED, INTEGER = "quantized_full.onnx", "integer_full.onnx"
MOST_MACS = 10**9  # of a run that a simulator counts: some ten seconds


@dataclass(frozen=True)
class FullForm:
    quantized: onnx.ModelProto
    integer: onnx.ModelProto

    def spent(
        self, name: str, settings: BuildOptions, target: Target, device: Device | None, data: Dataset
    ) -> Resources | str:
        """What one run of it spends on the device; or why nobody knows."""
        if device is None:
            return "no device"
        try:
            program, _ = partition(self.integer, name, not target.bare, importer)
            if sum(call.kernel.macs for call in program.calls) > MOST_MACS:
                return f"more than {MOST_MACS:,} MACs"
            program = split_conversions(program, target)
            tests = vectors.make_vectors(self.integer, program, data, 1)
            with TemporaryDirectory(prefix="bevel-") as folder:
                artifact = build(program, target, Path(folder), tests, settings)
                measured = device.measure(artifact, tests)
        except UserError as error:
            return str(error)
        return measured.spent or "its outputs differ from those of its integer model"


def full_form(recipe: Recipe, work: Work, folder: Path) -> FullForm:
    """The full form of a quantized graph, which stays as it is; its models are written into `folder`."""
    quantized = export_quantized(work.graph)
    bundle.save_model(folder, QUANTIZED, quantized)
    made = recipe.run("integerize", replace(work, graph=copied(work.graph)))
    integer = export(made.graph, made.ports)
    bundle.save_model(folder, INTEGER, integer)
    return FullForm(quantized, integer)


def told_of(stepping: Stepping, full: Resources | str) -> Step:
    """For the report."""
    form = stepping.form
    spent, why = (None, full) if isinstance(full, str) else (full, None)
    late = {name: view.late for name, view in form.results.items() if view.late}
    return Step(form.input, form.axis, form.tick.period, form.tick.length, form.tick.steps, spent, why, late)
