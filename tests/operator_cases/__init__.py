"""One case or more of every float operator, a file for each room of `bevel.passes.operators`."""

from __future__ import annotations

from operator_cases.case import Case
from operator_cases.functions import TABLES
from operator_cases.graphs import GRAPHS
from operator_cases.moves import MOVES
from operator_cases.norms import NORMS
from operator_cases.products import CONVOLUTIONS, PRODUCTS
from operator_cases.recurrent import RECURRENT
from operator_cases.sums import REDUCTIONS, SUMS
from operator_cases.windows import POOLS, RESIZES

ALL = (CONVOLUTIONS, PRODUCTS, SUMS, POOLS, REDUCTIONS, TABLES, NORMS, RECURRENT, MOVES, RESIZES, GRAPHS)
CASES: dict[str, Case] = {name: case for cases in ALL for name, case in cases.items()}
