"""`optimize MODEL --target T --calib FILE -o OUT`: the main job. Parsing only; the work is in `compile.py`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import click

from bevel.backends.interruption import nothing_at_stake
from bevel.tools.budgets import CANDIDATES, SENSITIVITIES, Budgets, check_budgets, parse_formats, parse_latency
from bevel.tools.early import check_early
from bevel.tools.entry import run
from bevel.tools.options import (
    RANGE_METHODS,
    RECIPES,
    EdgeFormat,
    InputFormat,
    Options,
    parse_dims,
    parse_size,
    parse_widths,
)
from bevel.tools.parameters import COUNT, SEED, Finite, complete_samples, complete_targets

_PATH = click.Path(path_type=Path)
_EDGES = click.Choice(["float", "quantized"])
_FRACTION = Finite(0.0, 1.0)
_POINTS = Finite(0.0, 100.0)


@click.command(
    "optimize",
    short_help="Quantize, build, measure, report.",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
@click.argument("model", type=_PATH)
@click.option(
    "--target",
    required=True,
    metavar="NAME",
    shell_complete=complete_targets,
    help="What the model shall run on; see `bevel targets`.",
)
@click.option(
    "--calib",
    metavar="FILE|random",
    shell_complete=complete_samples,
    help="Calibration samples: .npz, .npy or a folder; `random` guesses.",
)
@click.option("--calib-samples", type=COUNT, metavar="N", help="Only the first N of --calib; default: all.")
@click.option(
    "--eval", "evaluation", type=_PATH, metavar="FILE", help="Samples to measure accuracy on, `y` if labelled."
)
@click.option("--eval-samples", type=COUNT, metavar="N", help="Only the first N of --eval; default: all.")
@click.option("-o", "--output", type=_PATH, required=True, metavar="OUT", help="Folder to write; whole or not at all.")
@click.option("--batch", type=COUNT, default=1, show_default=True, help="Size of a dynamic batch dimension.")
@click.option("--dim", "dims", multiple=True, metavar="NAME=N", help="Size of another dynamic dimension.")
@click.option("--recipe", type=click.Choice(RECIPES), default="int8", show_default=True, help="How to quantize.")
@click.option(
    "--weights", default="int8", show_default=True, metavar="FORMAT", help="int2..int8, uint4, ternary, e2m1, .."
)
@click.option(
    "--activations", default="int8", show_default=True, metavar="FORMAT", help="Likewise, of all but results."
)
@click.option(
    "--format-file", type=_PATH, metavar="FILE", help="TOML: [[node]] tables with match, weights, activations."
)
@click.option("--max-flash", metavar="SIZE", help="Choose a format per node so that the product fits; most accurate.")
@click.option("--max-latency", metavar="TIME|COUNT", help="Likewise: 2ms, 500us, or instructions as 300ki, 3Mi.")
@click.option(
    "--min-accuracy", type=_FRACTION, metavar="0..1", help="Least share of right answers on --eval; smallest."
)
@click.option("--max-drop", type=_POINTS, metavar="POINTS", help="Right answers lost at most, in percentage points.")
@click.option("--min-sqnr", type=Finite(0.0), metavar="DB", help="Least SQNR on --eval.")
@click.option("--formats", metavar="LIST", help=f"Formats of weights to choose from; default: {','.join(CANDIDATES)}.")
@click.option("--sensitivity", type=click.Choice(SENSITIVITIES), default="sqnr", show_default=True)
@click.option("--range", "range_method", type=click.Choice(RANGE_METHODS), default="mse", show_default=True)
@click.option("--no-bias-correction", is_flag=True, help="Leave the mean error of quantized weights in.")
@click.option("--switchable", metavar="8,6,4,2", help="Widths of int8 weights that the product can change to.")
@click.option(
    "--inputs",
    type=click.Choice(["float", "quantized", "uint8"]),
    default="float",
    show_default=True,
    help="Element type of the inputs; uint8: pixels of 0 to 255.",
)
@click.option("--outputs", type=_EDGES, default="float", show_default=True, help="Element type of the outputs.")
@click.option(
    "--outputs-at", multiple=True, metavar="NAME", help="Cut the model at this tensor or node; may be repeated."
)
@click.option("--device", metavar="NAME|none", help="Where to measure; default: the target's first that works here.")
@click.option("--vectors", type=COUNT, default=8, show_default=True, help="Inputs compared on the device.")
@click.option("--flash", metavar="SIZE", help="Flash of your part (512k, 2M) in place of the target's.")
@click.option("--ram", metavar="SIZE", help="RAM of your part in place of the target's.")
@click.option("--max-ram", metavar="SIZE", help="Keep arena, stack and static data within SIZE, in bands of rows.")
@click.option("--tune", type=COUNT, metavar="N", help="Measure N candidates for each kernel, keep the best.")
@click.option("--tune-database", type=_PATH, metavar="FILE", help="What --tune found before; default: in your cache.")
@click.option("--name", metavar="IDENTIFIER", help="C name of the model; default: from the file name.")
@click.option("--seed", type=SEED, default=0, show_default=True, help="For everything drawn at random.")
@click.option("--json", "as_json", is_flag=True, help="Print report.json instead of the table.")
@click.option("-q", "--quiet", is_flag=True, help="No progress and no tables: only what went wrong.")
@click.option("-v", "--verbose", is_flag=True, help="Print the notes: each decision and its reason.")
@click.version_option(package_name="bevel", message="%(package)s %(version)s")
def command(
    model: Path,
    target: str,
    calib: str | None,
    calib_samples: int | None,
    evaluation: Path | None,
    eval_samples: int | None,
    output: Path,
    batch: int,
    dims: tuple[str, ...],
    recipe: str,
    weights: str,
    activations: str,
    format_file: Path | None,
    max_flash: str | None,
    max_latency: str | None,
    min_accuracy: float | None,
    max_drop: float | None,
    min_sqnr: float | None,
    formats: str | None,
    sensitivity: str,
    range_method: str,
    no_bias_correction: bool,
    switchable: str | None,
    inputs: InputFormat,
    outputs: EdgeFormat,
    outputs_at: tuple[str, ...],
    device: str | None,
    vectors: int,
    flash: str | None,
    ram: str | None,
    max_ram: str | None,
    tune: int | None,
    tune_database: Path | None,
    name: str | None,
    seed: int,
    as_json: bool,
    quiet: bool,
    verbose: bool,
) -> None:
    """Quantize MODEL (to int8, unless told otherwise), build it for a target, run it there, and report what it costs.

    OUT receives quantized.onnx, integer.onnx, the library with its header, the firmware, manifest.json and report.json.
    """
    budgets = Budgets(
        flash=parse_size(max_flash) if max_flash is not None else None,
        latency=parse_latency(max_latency) if max_latency is not None else None,
        accuracy=min_accuracy,
        drop=None if max_drop is None else max_drop / 100,
        sqnr=min_sqnr,
    )
    check_budgets(budgets, evaluation is not None, formats is not None)
    options = Options(
        model=model,
        target=target,
        output=output,
        calib="random" if calib == "random" else Path(calib) if calib else None,
        calib_samples=calib_samples,
        eval=evaluation,
        eval_samples=eval_samples,
        batch=batch,
        dims=parse_dims(dims),
        weights=weights,
        activations=activations,
        budgets=budgets,
        formats=parse_formats(formats),
        sensitivity=sensitivity,
        format_file=format_file,
        range=range_method,
        bias_correction=not no_bias_correction,
        switchable=parse_widths(switchable),
        inputs=inputs,
        outputs=outputs,
        outputs_at=outputs_at,
        device=device,
        vectors=vectors,
        flash=parse_size(flash) if flash is not None else None,
        ram=parse_size(ram) if ram is not None else None,
        max_ram=parse_size(max_ram) if max_ram is not None else None,
        tune=tune,
        tune_database=tune_database,
        name=name,
        seed=seed,
        recipe=recipe,
        command=click.get_current_context().find_object(str) or "",
    )
    check_early(options)
    with nothing_at_stake():
        from bevel.tools.show import run_and_show

    run_and_show(options, as_json=as_json, quiet=quiet, verbose=verbose)


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point of `optimize`: the exit code."""
    return run(command, arguments)


if __name__ == "__main__":
    sys.exit(main())
