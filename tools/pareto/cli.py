"""`bevel pareto`: parsing only."""

from __future__ import annotations

from pathlib import Path

import click

from bevel.backends.interruption import nothing_at_stake
from bevel.tools.budgets import CANDIDATES, parse_formats
from bevel.tools.early import check_early
from bevel.tools.options import Options
from bevel.tools.parameters import COUNT

_PATH = click.Path(path_type=Path)


@click.command("pareto", short_help="Draw accuracy over flash, uniform and searched formats.")
@click.argument("model", type=_PATH)
@click.option("--target", required=True, metavar="NAME", help="What the model shall run on; see `bevel targets`.")
@click.option("--calib", type=_PATH, required=True, metavar="FILE", help="Calibration samples, as for optimize.")
@click.option("--eval", "evaluation", type=_PATH, required=True, metavar="FILE", help="Samples to measure accuracy on.")
@click.option("--eval-samples", type=COUNT, metavar="N", help="At most so many of --eval; default: all.")
@click.option("-o", "--output", type=_PATH, required=True, metavar="OUT", help="Folder to write; whole or not at all.")
@click.option("--formats", metavar="LIST", help=f"Weight formats to build and mix; default: {','.join(CANDIDATES)}.")
@click.option("--activations", default="int8", show_default=True, metavar="FORMAT", help="As for optimize.")
@click.option(
    "--searched", type=click.IntRange(0), default=8, show_default=True, help="Budgets to search at, in equal ratios."
)
@click.option("--device", metavar="NAME|none", help="Where to measure; default: the target's first that works here.")
@click.option("--name", metavar="IDENTIFIER", help="As for optimize; the picture's title says it.")
def command(
    model: Path,
    target: str,
    calib: Path,
    evaluation: Path,
    eval_samples: int | None,
    output: Path,
    formats: str | None,
    activations: str,
    searched: int,
    device: str | None,
    name: str | None,
) -> None:
    """Build MODEL with each weight format alone, then with formats searched per node under flash budgets between them.

    OUT receives pareto.png, pareto.svg and pareto.json; each point is a build that was measured.
    """
    formats_wanted = parse_formats(formats)

    options = Options(
        model=model,
        target=target,
        output=output,
        calib=calib,
        eval=evaluation,
        eval_samples=eval_samples,
        activations=activations,
        device=device,
        name=name,
        command=click.get_current_context().find_object(str) or "",
    )
    check_early(options)
    with nothing_at_stake():
        from bevel.tools.pareto.run import Wanted, show_pareto

    show_pareto(options, Wanted(formats_wanted, searched))
