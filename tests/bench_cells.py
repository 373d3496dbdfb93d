"""A cell of a benchmark, written by hand."""

from __future__ import annotations

from bevel.backends.program.resources import Resources
from bevel.tools.bench.cells import Cell

OURS = Cell(
    "net",
    "cortex-m4",
    Resources({"instructions": 500}),
    macs=900,
    network_macs=1000,
    product=Resources({"flash": 300, "weights": 200, "arena": 50, "ram": 80}),
    sqnr_db=40.0,
    inputs=8,
    mismatches=0,
    device="unicorn",
    compiler="gcc",
)
