"""`bevel calibration`: parsing only."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from bevel.backends.process.interruption import nothing_at_stake
from bevel.tools.command.early import check_early
from bevel.tools.command.parameters import COUNT, PATH, given_by, parameter
from bevel.tools.run.options import RULES, Options

SIZES = "8,16,32,64,128,256"


@click.command("calibration", short_help="How much hangs on which calibration samples, and how many.")
@click.argument("model", type=PATH)
@parameter("calib", type=PATH, required=True, metavar="FILE", help="Samples to choose from, as for optimize.")
@parameter("eval", required=True, help="Samples to measure accuracy on.")
@parameter("eval_samples", help="At most so many of --eval; default: all.")
@click.option("--sizes", default=SIZES, show_default=True, metavar="LIST", help="How many samples are taken.")
@click.option("--rules", default="random", show_default=True, metavar="LIST", help=f"Of {', '.join(RULES)}.")
@click.option("--seeds", type=COUNT, default=5, show_default=True, metavar="N", help="Draws of each size.")
@parameter("recipe")
@parameter("weights", help="As for optimize; so are the next ones.")
@parameter("activations", help=None)
@parameter("product_inputs", help=None)
@parameter("range", help=None)
@parameter("rounding", help=None)
@parameter("transform", help=None)
@parameter("batch")
@parameter("dim")
@click.option("-o", "--output", type=PATH, metavar="FILE", help="Write all numbers as JSON.")
def command(
    model: Path, sizes: str, rules: str, seeds: int, output: Path | None, eval_samples: int | None, **given: Any
) -> None:
    """Quantize MODEL with several choices of samples from --calib, each as `optimize` would, and compare on --eval."""
    named = given_by({**given, "eval_samples": eval_samples})
    options = Options(model, target="host", device="none", output=Path("calibration"), **named)
    check_early(options)
    with nothing_at_stake():
        from bevel.tools.calibration.run import AskedDraws, show_calibration

    show_calibration(options, AskedDraws.of(rules, sizes, seeds), output)
