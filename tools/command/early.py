"""What can be refused before anything heavy is imported: a mistyped name is answered at once."""

from __future__ import annotations

import os
from pathlib import Path

from bevel.backends import target as targets
from bevel.calib.errors import UserError
from bevel.passes import recipes
from bevel.tools.run.budgets import check_budgets, check_metric
from bevel.tools.run.names import model_name
from bevel.tools.run.options import Options
from bevel.tools.run.staging import check_output


def check_early(options: Options) -> None:
    """Raises UserError for a metric or budgets that cannot be meant, an unknown recipe or target, memory, instructions
    or threads that it lacks, a name that C would not take, a model that is not there, and an output that may not be
    replaced."""
    check_metric(options.metric, options.metric_script is not None, options.eval is not None)
    check_budgets(options.budgets, options.eval is not None, bool(options.formats))
    recipes.read(options.recipe)
    targets.load(options.target).asked(options.memory, options.isa, options.threads)
    model_name(options.name, options.model)
    check_output(Path(os.path.abspath(options.output)), options.sources)
    if not os.path.lexists(options.model):
        raise UserError(f"{options.model}: no such file")
