"""One network on one core: the whole of `optimize` at its defaults, with integer inputs and outputs unless told
otherwise, and what it cost."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from bevel.backends.program.resources import Resource, Resources
from bevel.calib.errors import UserError
from bevel.tools.bench.macs import network_macs
from bevel.tools.bench.subjects import Subject
from bevel.tools.compile import compile_model
from bevel.tools.report.report import Estimate, Report
from bevel.tools.run import manifest
from bevel.tools.run.options import EdgeFormat, Options
from bevel.tools.run.stages import Stages


@dataclass(frozen=True)
class Cell:
    """What one inference costs. `spent` is empty where nothing was counted, or an output was wrong."""

    model: str
    core: str
    spent: Resources
    macs: int  # as built: what is pruned away is not among them
    network_macs: int  # of the float model
    product: Resources
    sqnr_db: float | None  # integer against float over the evaluation's samples
    inputs: int
    mismatches: int
    device: str  # what counted, with its version
    compiler: str
    estimate: Estimate | None = None  # never measured


@dataclass(frozen=True)
class Setup:
    """What is the same for all cells. `tune` and its database as for `optimize`."""

    samples: int = 100  # at most so many tell the accuracy
    tune: int | None = None
    tune_database: Path | None = None
    inputs: EdgeFormat = "quantized"
    outputs: EdgeFormat = "quantized"
    isa: str | None = None
    threads: int = 1


@dataclass(frozen=True)
class Refusal:
    """A network that Bevel does not build for a core, and why."""

    model: str
    core: str
    reason: str


def run_cell(subject: Subject, core: str, folder: Path, setup: Setup, stages: Stages) -> Cell | Refusal:
    """Build and measure in `folder`, which must not exist yet."""
    options = Options(
        model=subject.model,
        target=core,
        output=folder,
        calib=subject.calib,
        eval=subject.evaluation,
        eval_samples=setup.samples,
        tune=setup.tune,
        tune_database=setup.tune_database,
        inputs=setup.inputs,
        outputs=setup.outputs,
        isa=setup.isa,
        threads=setup.threads,
    )
    try:
        told = compile_model(options, stages)
    except UserError as error:
        return Refusal(subject.name, core, str(error))
    return cell(subject, core, told, folder)


def cell(subject: Subject, core: str, told: Report, folder: Path) -> Cell:
    assert told.measurement is not None and told.device is not None
    return Cell(
        model=subject.name,
        core=core,
        spent=told.measurement.spent,
        macs=sum(kernel.spent.whole(Resource.MACS) for kernel in told.measurement.per_kernel),
        network_macs=network_macs(subject.model),
        product=told.size.product,
        sqnr_db=told.accuracy.sqnr_db if told.accuracy else None,
        inputs=told.measurement.inputs,
        mismatches=told.measurement.mismatches,
        device=told.device.tool,
        compiler=manifest.read(folder).tools["compiler"],
        estimate=told.measurement.estimate,
    )
