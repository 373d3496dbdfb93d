"""Who rounds the weights of each product: the rounder that leaves most of its output, on samples that it has not seen.

No rule says which rounder is best: where neighbouring pixels are alike, kernel-wise rounding leaves more of a product's
output than rounding to the nearest; where there are samples enough, weights that are fitted to what the product reads
leave more than both, and where there are not, less. So all are tried, product after product
(`bevel.passes.quantize.look_and_round`). Without samples, or with fewer than `FEWEST`, there is nothing to measure by.

Price: up to `SAMPLES` samples run once through the float model and the quantized one, stage by stage; their tensors
wait in files of `DISK` bytes at most, and fewer samples are taken where these would not hold them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import ClassVar

import numpy as np
import onnx_graphsurgeon as gs

from bevel.calib.data.dataset import Runs, Subset, spread_samples
from bevel.calib.errors import UserError
from bevel.calib.rounding import rounder, rounder_names
from bevel.passes.base import Condition, Note, Pass, PassResult, Stage, Work
from bevel.passes.conditions import PLANNED
from bevel.passes.quantize.look_and_round import RoundedModel, RoundedUnit, look_and_round
from bevel.passes.quantize.product_rows import product_of
from bevel.passes.quantize.round_weights import ProductWeights, find_weights, rounded_by
from bevel.passes.quantize.token_shares import token_shares
from bevel.passes.quantize.walk_products import FEWEST
from bevel.passes.quantize.wanted import Ask, means

AUTO = "auto"
ALIKE = "alike"
IMPORTANCES = (ALIKE, "attention")
SIMPLEST = "nearest"  # wins ties
UNMEASURED = "kernel-wise"  # where nothing can be measured: better than the nearest more often than not
SAMPLES = 256
DISK = 2**31
WAITING = 4  # tensors as large as all that wait at once: of both models, with room for what a stage adds


@dataclass(frozen=True)
class RoundWeights(Pass):
    """rounding: who makes codes of weights, a rounder, or `auto`: the best for each node; corrected: whether
    CorrectBias follows, and the best is the one that is best then; importance: whether all rows that are fitted to
    count alike, or tokens by the attention that they get. The graph stays as it is; `codes` are new."""

    name: ClassVar[str] = "round-weights"
    stage: ClassVar[Stage] = "quantize"
    follows: ClassVar[tuple[str, ...]] = ("plan-scales",)
    requires: ClassVar[tuple[Condition, ...]] = (PLANNED,)
    rounding: str = AUTO
    corrected: bool = True
    importance: str = ALIKE

    def __post_init__(self) -> None:
        if self.importance not in IMPORTANCES:
            raise UserError(f"no importance {self.importance!r}; known are {', '.join(IMPORTANCES)}")
        if self.rounding not in (known := (AUTO, *rounder_names())):
            raise UserError(f"no rounder {self.rounding!r}; known are {', '.join(known)}")

    @property
    def asks(self) -> tuple[Ask, ...]:
        return (means,) if self.rounding == AUTO and self.corrected else ()

    def call(self, work: Work) -> PassResult:
        found = list(find_weights(work.plan.plan, work.plan.scales, work.schemes))
        data = None if work.data is None else usable(work.graph, work.samples)
        names, notes = self.names(0 if data is None else len(data)), list[Note]()
        if data is None or not any(rounder(name).looks for name in names):
            done = RoundedModel([(rounded_by(one, rounder(names[0])), RoundedUnit((), names[0])) for one in found])
        else:
            shares = (
                {} if self.importance == ALIKE else token_shares(work.graph, (product_of(one).name for one in found))
            )
            done = look_and_round(work, data, found, names, self.corrected, shares)
            notes += self.importance_notes(shares, found)
        notes += [*node_notes(done), *model_notes(done)]
        if self.rounding == AUTO and found and data is not None and len(data) < FEWEST:
            text = f"who rounds best is not measured: {FEWEST} samples are needed, of which one is held out"
            notes.append(self.note("model", "refused", text, samples=len(data)))
        rounders = {one.weights.node: unit.rounder for one, unit in done.made}
        return work.result(False, notes, codes=tuple(one for one, _ in done.made), rounders=rounders)

    def importance_notes(self, shares: Mapping[str, str], found: Sequence[ProductWeights]) -> Iterator[Note]:
        if self.importance != ALIKE:
            text = f"tokens of {len(shares)} of {len(found)} products count by the attention that they get"
            yield self.note("model", "chosen" if shares else "refused", text, products=len(shares))

    def names(self, samples: int) -> tuple[str, ...]:
        """The rounders of which the best is looked for, the simplest first; or the one that is asked for."""
        if self.rounding != AUTO:
            return (self.rounding,)
        if samples < FEWEST:
            return (UNMEASURED,)
        return (SIMPLEST, *(name for name in rounder_names() if name != SIMPLEST and rounder(name).tried))


def usable(graph: gs.Graph, runs: Runs) -> Subset:
    """As many of the runs, evenly spread, as there is time and room for: no clock, so that choices repeat."""
    fits = DISK // max(WAITING * peak(graph) * np.dtype(np.float32).itemsize, 1)
    return spread_samples(runs, max(FEWEST, min(SAMPLES, fits)))


def peak(graph: gs.Graph) -> int:
    """How many numbers wait at most if the nodes run one after the other and each tensor goes after its last reader."""
    last = {tensor.name: place for place, node in enumerate(graph.nodes) for tensor in node.inputs}
    waiting = {tensor.name: prod(map(int, tensor.shape)) for tensor in graph.inputs}
    most = sum(waiting.values())
    for place, node in enumerate(graph.nodes):
        waiting |= {tensor.name: prod(map(int, tensor.shape or ())) for tensor in node.outputs}
        most = max(most, sum(waiting.values()))
        waiting = {name: size for name, size in waiting.items() if last.get(name, -1) > place}
    return most


def node_notes(done: RoundedModel) -> Iterator[Note]:
    """What each product that was measured leaves by each rounder."""
    for one, unit in done.made:
        if len(unit.left_db) > 1:
            mine = unit.left_db[unit.rounder]
            others = ", ".join(f"{name} {left:.2f} dB" for name, left in unit.left_db.items() if name != unit.rounder)
            text = f"weights rounded {unit.rounder}: {mine:.2f} dB of its output are left"
            text += f", {others} ({done.samples} samples held out)"
            numbers = {f"{name.replace('-', '_')}_db": left for name, left in unit.left_db.items()}
            yield Note(RoundWeights.name, one.weights.node, "chosen", text, {**numbers, "samples": done.samples})


def model_notes(done: RoundedModel) -> Iterator[Note]:
    """What all of them together leave."""
    if done.model_db is not None:
        nearest, found = done.model_db
        text = f"weights rounded by what products read leave {found:.2f} dB of the model's results, nearest codes "
        text += f"{nearest:.2f} dB ({done.samples} samples held out)"
        if found < nearest:
            text += ": the nearest are taken"
        numbers = {"looked_db": found, "nearest_db": nearest, "samples": done.samples}
        yield Note(RoundWeights.name, "model", "chosen", text, numbers)
