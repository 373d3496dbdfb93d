"""`bevel bench`: parsing only."""

from __future__ import annotations

from pathlib import Path

import click

from bevel.backends.process.interruption import nothing_at_stake
from bevel.tools.command.parameters import COUNT, PATH, parameter
from bevel.tools.run.options import EDGES, EdgeFormat
from bevel.tools.run.parsers import Dims


@click.group("bench", short_help="Measure many networks at once.")
def group() -> None:
    """Measure many networks at once."""


@group.command(short_help="Networks on Cortex-M cores.")
@click.option("--models", type=PATH, metavar="DIR", help="Folders of model.onnx, calib.npz, eval.npz; default: ours.")
@click.option("--only", multiple=True, metavar="NAME", help="Only this network; may be repeated.")
@click.option("--cores", metavar="A,B", help="Targets; default: cortex-m4, -m7 and -m55 as far as they run here.")
@click.option("--reference", "compared", type=PATH, metavar="FILE", help="Another system's numbers, to compare with.")
@click.option("--samples", type=COUNT, default=100, show_default=True, help="For the accuracy of each.")
@parameter("tune", help="As for optimize, in every cell.")
@parameter("tune_database", help="As for optimize.")
@parameter("inputs", type=click.Choice(EDGES), default="quantized", help="As for optimize.")
@parameter("outputs", default="quantized", help="As for optimize.")
@click.option("-o", "--output", type=PATH, metavar="FILE", help="Write all numbers as JSON.")
def mcu(
    models: Path | None,
    only: tuple[str, ...],
    cores: str | None,
    compared: Path | None,
    samples: int,
    tune: int | None,
    tune_database: Path | None,
    inputs: EdgeFormat,
    outputs: EdgeFormat,
    output: Path | None,
) -> None:
    """Build networks for Cortex-M cores, run them in simulation, and print what one inference costs.

    FILE of --reference is JSON: {network: {"macs": N, core: {"instructions": N, "flash_bytes": N, "arena_bytes": N}}}.
    """
    with nothing_at_stake():
        from bevel.tools.bench.cells import Setup
        from bevel.tools.bench.mcu import show_bench

    wanted = tuple(name.strip() for name in cores.split(",")) if cores else ()
    show_bench(models, only, wanted, compared, Setup(samples, tune, tune_database, inputs, outputs), output)


@group.command(short_help="Networks on this machine, beside other runtimes.")
@click.option("--models", type=PATH, metavar="DIR", help="Folders of model.onnx, calib.npz; default: ours.")
@click.option("--only", multiple=True, metavar="NAME", help="Only this network; may be repeated.")
@click.option("--threads", multiple=True, type=COUNT, help="Of all candidates, and cores to stay on; may be repeated.")
@parameter("isa")
@click.option("--hide", metavar="SETS", help="Without amx, avx512, avxvnni for all (Linux, Intel's processors).")
@click.option("-o", "--output", type=PATH, metavar="FILE", help="Write all numbers as JSON.")
def cpu(
    models: Path | None,
    only: tuple[str, ...],
    threads: tuple[int, ...],
    isa: str | None,
    hide: str | None,
    output: Path | None,
) -> None:
    """Build networks for this machine, and time them beside onnxruntime, and OpenVINO and LiteRT where installed.

    LiteRT takes model.tflite beside model.onnx, where there is one.
    """
    with nothing_at_stake():
        from bevel.tools.bench.cpu import levels_without, show_bench

        isa = levels_without(hide, isa) if hide else isa
    show_bench(models, only, threads or (1,), isa, output)


@group.command(short_help="Networks in a browser, beside onnxruntime-web.")
@click.option("--models", type=PATH, metavar="DIR", help="Folders of model.onnx, calib.npz; default: ours.")
@click.option("--only", multiple=True, metavar="NAME", help="Only this network; may be repeated.")
@click.option("-o", "--output", type=PATH, metavar="FILE", help="Write all numbers as JSON.")
def web(models: Path | None, only: tuple[str, ...], output: Path | None) -> None:
    """Build networks for WebAssembly, and time them in Chromium beside onnxruntime-web, which npm fetches."""
    with nothing_at_stake():
        from bevel.tools.bench.web import show_bench

    show_bench(models, only, output)


@group.command(short_help="Networks on GPUs.")
@click.option("--models", type=PATH, metavar="DIR", help="Folders of model.onnx, calib.npz; default: ours.")
@click.option("--only", multiple=True, metavar="NAME", help="Only this network; may be repeated.")
@click.option("--targets", metavar="A,B", help="Default: opencl, cuda-sm87 and cuda-sm90.")
@parameter("calib_samples")
@parameter("dim")
@parameter("tune", help="As for optimize, of every network.")
@parameter("tune_database", help="As for optimize.")
@click.option("-o", "--output", type=PATH, metavar="FILE", help="Write all numbers as JSON.")
def gpu(
    models: Path | None,
    only: tuple[str, ...],
    targets: str | None,
    calib_samples: int | None,
    dim: Dims,
    tune: int | None,
    tune_database: Path | None,
    output: Path | None,
) -> None:
    """Build networks for GPUs, compare every call where a device is here, and print what kernels and memory take,
    beside onnxruntime."""
    with nothing_at_stake():
        from bevel.tools.bench.gpu import GpuSetup, show_bench

    names = tuple(name.strip() for name in targets.split(",")) if targets else ()
    show_bench(models, only, names, GpuSetup(calib_samples, dim, tune, tune_database), output)


@group.command(short_help="Layers, beside what the machine multiplies.")
@parameter("target", default="host", required=False, show_default=True, help="Whose loops: this machine's.")
@parameter("isa")
@click.option("-o", "--output", type=PATH, metavar="FILE", help="Write all numbers as JSON.")
def layers(target: str, isa: str | None, output: Path | None) -> None:
    """Time common layers, and a loop of products in registers beside each."""
    with nothing_at_stake():
        from bevel.tools.bench.layers import show_bench

    show_bench(target, isa, output)
