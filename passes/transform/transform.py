"""What every transform has in common: it is tried on a copy, proven in float, and undone where it is not exact."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import numpy as np
import onnx_graphsurgeon as gs
from numpy.typing import NDArray

from bevel.calib.data.dataset import Runs, spread_samples
from bevel.passes.base import COMMAND, Condition, Note, Pass, PassResult, Stage, Work
from bevel.passes.conditions import FLOAT, SAMPLED, STATIC_SHAPES
from bevel.passes.graph.names import names_kept
from bevel.passes.quantize.chosen import NodeFormat
from bevel.passes.quantize.formats import activation_format, weight_format
from bevel.passes.transform.flatness import flatness
from bevel.passes.transform.proof import LARGEST, Proof, prove
from bevel.passes.transform.record import TensorFlatness, TransformRecord
from bevel.passes.transform.seen import SAMPLES, see

PROOFS = 4  # samples that a transform is proven on, and its tensors are described by
VECTORS = 4096  # of a tensor, for its flatness


@dataclass(frozen=True, eq=False)
class Changed:
    """A graph with a transform folded in. sites: how many places; tensors: whose values are others now, by name with
    the axis of their channels; notes: what was decided at each place; formats: what nodes must have for it to gain;
    operations: additions and multiplications that a run has more; instead: of new ones among the tensors, which they
    are read in place of."""

    graph: gs.Graph
    sites: int
    tensors: Mapping[str, int]
    notes: tuple[Note, ...] = ()
    formats: Mapping[str, NodeFormat] = field(default_factory=dict)
    operations: int = 0
    instead: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Transform(Pass):
    """A rewrite that preserves the float function. weights, activations: the formats that will be asked for.

    Subclasses define `changed`. A graph whose outputs on calibration samples are another's by more than float rounding
    is dropped, with a note.
    """

    stage: ClassVar[Stage] = "transform"
    samples: ClassVar[int] = SAMPLES  # that it looks at
    requires: ClassVar[tuple[Condition, ...]] = (STATIC_SHAPES, FLOAT, SAMPLED)
    ensures: ClassVar[tuple[Condition, ...]] = (STATIC_SHAPES, FLOAT)
    weights: str = field(default="int8", metadata=COMMAND)
    activations: str = field(default="int8", metadata=COMMAND)

    @abstractmethod
    def changed(self, graph: gs.Graph, samples: Runs) -> tuple[Changed | None, list[Note]]:
        """`graph`, a copy that may be edited, with the transform in it; None where there is no place for it. Notes: of
        what looked like one."""

    def call(self, work: Work) -> PassResult:
        samples = spread_samples(work.samples, self.samples)
        copy = work.graph.copy()
        with names_kept(copy):
            found, stays = self.changed(copy, samples)
        if found is None:
            return work.result(False, stays)
        found.graph.cleanup().toposort()
        few = spread_samples(work.samples, PROOFS)
        proof = prove(work.graph, found.graph, few)
        if not proof.is_rounding:
            return work.result(False, [*stays, self.refused(proof)])
        told = self.record(work.graph, found, proof, few)
        notes = [*stays, *found.notes, self.proven(found, proof)]
        schemes = replace(work.schemes, nodes={**work.schemes.nodes, **found.formats})
        return work.result(True, notes, graph=found.graph, schemes=schemes, transforms=(*work.transforms, told))

    @property
    def weight_bits(self) -> int:
        return int(weight_format(self.weights).bits)

    @property
    def activation_bits(self) -> int:
        return int(activation_format(self.activations).bits)

    def refused(self, proof: Proof) -> Note:
        text = (
            f"{self.name} was undone: the float outputs moved by {proof.relative:.1e} of their largest element, "
            f"beyond the {LARGEST:.0e} of float rounding"
        )
        return self.note("model", "refused", text, relative=proof.relative, largest=proof.largest)

    def proven(self, found: Changed, proof: Proof) -> Note:
        places = "1 place" if found.sites == 1 else f"{found.sites} places"
        text = f"{self.name} at {places}: the float outputs move by {proof.relative:.1e} of their largest element"
        numbers = {"sites": float(found.sites), "relative": proof.relative, "largest": proof.largest}
        return self.note("model", "changed", text, **numbers)

    def record(self, before: gs.Graph, found: Changed, proof: Proof, samples: Runs) -> TransformRecord:
        old, new = before.tensors(), found.graph.tensors()
        pairs = {found.instead.get(name, name): name for name in found.tensors if name in new}
        pairs = {was: name for was, name in pairs.items() if was in old}
        first, second = see(before, pairs, samples), see(found.graph, pairs.values(), samples)
        tensors = [
            TensorFlatness(was, *(flatness(vectors(one, found.tensors[name])) for one in (first[was], second[name])))
            for was, name in pairs.items()
        ]
        return TransformRecord(self.name, found.sites, proof.largest, proof.relative, tuple(tensors), found.operations)


def vectors(arrays: list[NDArray[Any]], axis: int) -> NDArray[np.float64]:
    """[at most `VECTORS`, channels] of a tensor's runs."""
    rows = np.concatenate([np.moveaxis(one, axis, -1).reshape(-1, one.shape[axis]) for one in arrays])
    return np.asarray(rows[:: max(1, len(rows) // VECTORS)], np.float64)
