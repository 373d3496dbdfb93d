"""`bevel pareto`: parsing only."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from bevel.backends.process.interruption import nothing_at_stake
from bevel.tools.command.early import check_early
from bevel.tools.command.parameters import PATH, given_by, parameter
from bevel.tools.run.budgets import CANDIDATES, parse_formats
from bevel.tools.run.options import Options


@click.command("pareto", short_help="Draw accuracy over flash, uniform and searched formats.")
@click.argument("model", type=PATH)
@parameter("target")
@parameter("calib", type=PATH, required=True, metavar="FILE", help="Calibration samples, as for optimize.")
@parameter("eval", required=True, help="Samples to measure accuracy on.")
@parameter("eval_samples", help="At most so many of --eval; default: all.")
@parameter("output")
@parameter("formats", help=f"Weight formats to build and mix; default: {','.join(CANDIDATES)}.")
@parameter("activations", help="As for optimize.")
@click.option(
    "--searched", type=click.IntRange(0), default=8, show_default=True, help="Budgets to search at, in equal ratios."
)
@parameter("device")
@parameter("name", help="As for optimize; the picture's title says it.")
def command(model: Path, formats: str | None, searched: int, **given: Any) -> None:
    """Build MODEL with each weight format alone, then with formats searched per node under flash budgets between them.

    OUT receives pareto.png, pareto.svg and pareto.json; each point is a build that was measured.
    """
    wanted = parse_formats(formats)
    typed = click.get_current_context().find_object(str) or ""
    options = Options(model, command=typed, **given_by(given))
    check_early(options)
    with nothing_at_stake():
        from bevel.tools.pareto.run import Wanted, show_pareto

    show_pareto(options, Wanted(wanted, searched, wanted if formats else ()))
