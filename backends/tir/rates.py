"""What the kernels of a machine spend that are not its own: plain loops, and those that every machine has.

A table says it by class, measured by `python -m bevel.tools.bench.rates`; what it says of Op goes for all others.
Kernels of a machine's own say it themselves (`Kernel.rates`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bevel.backends.program.kernel import Kernel
from bevel.backends.program.op import Op
from bevel.backends.program.rates import Rates
from bevel.backends.program.resources import Resources

Table = Mapping[type[Any], Rates]


def estimate(op: Op, table: Table) -> Resources:
    """What one call of a kernel, or of an operator's plain loops, spends, and the flash of its code."""
    if isinstance(op, Kernel) and type(op) not in table:
        return op.estimate()
    return nearest(op, table).of(op)


def nearest(op: Op, table: Table) -> Rates:
    """Of the first of its classes that has any."""
    return next(table[kind] for kind in type(op).__mro__ if kind in table)
