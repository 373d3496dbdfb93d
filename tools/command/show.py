"""`optimize` on a terminal: progress on stderr while it runs, tables or JSON on stdout when it is done."""

from __future__ import annotations

import sys
from contextlib import nullcontext

import click
from rich.console import Console

from bevel.backends.process.litter import scratch
from bevel.tools.command.quiet import quiet_libraries
from bevel.tools.compile import compile_model
from bevel.tools.report import report, tables
from bevel.tools.report.red_lines import runs_in_float, warnings, wrong_elements, wrong_library
from bevel.tools.run.options import Options
from bevel.tools.run.stages import Bars, Silent, Stages

WRONG_OUTPUTS = 1


def run_and_show(options: Options, as_json: bool, quiet: bool, verbose: bool) -> None:
    """Run and print; `quiet` shows no progress, and of the tables only warnings, on standard error; beside JSON, too.

    Exits with 1 where the device computed other integers than integer.onnx: a bug of ours.
    """
    quiet_libraries()
    shown = sys.stderr.isatty() and not quiet
    with scratch(), Bars(Console(stderr=True)) if shown else nullcontext(Silent()) as display:
        told = compile_model(options, Stages(display))
    console, said = Console(), warnings(options, told)
    if as_json:
        click.echo(report.text(told), nl=False)
    if as_json or quiet:
        tables.show_warnings(Console(stderr=True), said)
    else:
        tables.show_report(console, told, said, options.output)
    if verbose:
        tables.show_notes(Console(stderr=True) if as_json else console, told.nodes)
    if wrong_elements(told) and (not runs_in_float(told) or wrong_library(told)):
        raise click.exceptions.Exit(WRONG_OUTPUTS)
