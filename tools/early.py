"""What can be refused before anything heavy is imported: a mistyped name is answered at once."""

from __future__ import annotations

from bevel.backends import target as targets
from bevel.tools.names import model_name
from bevel.tools.options import Options


def check_early(options: Options) -> None:
    """Raises UserError for a target that does not exist or has no such memory, and for a name that C would not take."""
    targets.load(options.target).with_memory(flash=options.flash, ram=options.ram)
    model_name(options.name, options.model)
