"""`optimize MODEL --target T --calib FILE -o OUT`: the main job. Parsing only; the work is in `compile.py`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from bevel.backends.process.interruption import nothing_at_stake
from bevel.tools.command.early import check_early
from bevel.tools.command.entry import run
from bevel.tools.command.parameters import PATH, given_by, parameters
from bevel.tools.run.options import Options


@click.command(
    "optimize",
    short_help="Quantize, build, measure, report.",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
@click.argument("model", type=PATH)
@parameters
@click.option("--json", "as_json", is_flag=True, help="Print report.json instead of the table.")
@click.option("-q", "--quiet", is_flag=True, help="No progress and no tables: only what went wrong.")
@click.option("-v", "--verbose", is_flag=True, help="Print the notes: each decision and its reason.")
@click.version_option(package_name="bevel", message="%(package)s %(version)s")
def command(model: Path, as_json: bool, quiet: bool, verbose: bool, **given: Any) -> None:
    """Quantize MODEL (to int8, unless told otherwise), build it for a target, run it there, and report what it costs.

    OUT receives quantized.onnx, integer.onnx, the library with its header, the firmware, manifest.json and report.json.
    """
    typed = click.get_current_context().find_object(str) or ""
    options = Options(model, command=typed, **given_by(given))
    check_early(options)
    with nothing_at_stake():
        from bevel.tools.command.show import run_and_show

    run_and_show(options, as_json=as_json, quiet=quiet, verbose=verbose)


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point of `optimize`: the exit code."""
    return run(command, arguments)


if __name__ == "__main__":
    sys.exit(main())
