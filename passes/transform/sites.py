"""Where scales of channels are free: sets of them that products read together, and what makes and reads them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_graphsurgeon as gs
from numpy.typing import NDArray

from bevel.passes.graph.edit import constant
from bevel.passes.transform.flow import Flow
from bevel.passes.transform.gauges import ONE, Gauges, Labels, compact
from bevel.passes.transform.uses import Array, ConstantUse, LinearUse, NormUse, PairUse, Use, grouped, scaled, stored

Logs = Mapping[int, float]  # of scales that are not 1, by their even labels


@dataclass(frozen=True, eq=False)
class ScalingSite:
    """Scales that are free: `scales` are their even labels. readers: products of theirs; pairs: those of two
    activations that bear them; makers: products that make them; others: whether gains or constants do so, too."""

    scales: tuple[int, ...]
    readers: tuple[LinearUse, ...] = ()
    pairs: tuple[PairUse, ...] = ()
    makers: tuple[LinearUse, ...] = ()
    others: bool = False

    @property
    def node(self) -> str:
        """The name under which notes speak of it."""
        uses: tuple[PairUse | LinearUse, ...] = (*self.pairs, *self.readers)
        return str(uses[0].node.name)

    def places(self, labels: Labels, gauges: Gauges) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """For each of `labels` the place of its scale in `scales`, -1 where it is none of them, and the exponent."""
        leaders = gauges.resolved(compact(labels))
        even = leaders & ~np.int64(1)
        ordered = np.array(self.scales, np.int64)
        found = np.searchsorted(ordered, even).clip(0, len(ordered) - 1)
        places, exponents = np.where(ordered[found] == even, found, -1), np.where(leaders & 1, -1, 1)
        return np.broadcast_to(places, labels.shape), np.broadcast_to(exponents, labels.shape)


def find_sites(flow: Flow) -> list[ScalingSite]:
    """In the order of the graph."""
    free = [freed(flow, use) for use in flow.uses]
    groups = together(read for read, _ in free)
    return [site_of(flow, free, group) for group in groups]


def freed(flow: Flow, use: Use) -> tuple[frozenset[int], frozenset[int]]:
    """The scales that bear on what a use reads, and on what it makes."""
    match use:
        case LinearUse():
            return free_of(flow, use.reads), free_of(flow, use.makes)
        case PairUse():
            return free_of(flow, use.left), frozenset()
    return frozenset(), free_of(flow, use.makes)


def free_of(flow: Flow, labels: Labels) -> frozenset[int]:
    """The even labels of scales that are not known to be 1."""
    leaders = np.unique(flow.gauges.resolved(labels))
    return frozenset((leaders[leaders != ONE] & ~np.int64(1)).tolist())


def together(sets: Iterable[frozenset[int]]) -> list[frozenset[int]]:
    """Unions of those that share an element."""
    groups: list[frozenset[int]] = []
    for one in sets:
        if one:
            joined = [group for group in groups if group & one]
            groups = [group for group in groups if not group & one] + [one.union(*joined)]
    return groups


def site_of(flow: Flow, free: Sequence[tuple[frozenset[int], frozenset[int]]], group: frozenset[int]) -> ScalingSite:
    """free: `freed` of each use of the flow."""
    reading = [use for use, (read, _) in zip(flow.uses, free, strict=True) if read & group]
    making = [use for use, (_, made) in zip(flow.uses, free, strict=True) if made & group]
    return ScalingSite(
        tuple(sorted(group)),
        tuple(use for use in reading if isinstance(use, LinearUse)),
        tuple(use for use in reading if isinstance(use, PairUse)),
        tuple(use for use in making if isinstance(use, LinearUse)),
        any(isinstance(use, NormUse | ConstantUse) for use in making),
    )


def apply_scales(flow: Flow, logs: Logs) -> None:
    """Let the constants of the graph take up the scales of `logs`; they are new, for they may be shared."""
    for use in flow.uses:
        if isinstance(use, LinearUse):
            scale_product(flow, use, *(flow.gauges.scales(one, logs) for one in (use.reads, use.makes)))
        elif isinstance(use, NormUse):
            factors = flow.gauges.scales(use.makes, logs)
            for place in range(1, len(use.node.inputs)):
                multiply_constant(flow.graph, use.node, place, factors)
        elif isinstance(use, ConstantUse):
            multiply_constant(flow.graph, use.node, use.index, flow.gauges.scales(use.makes, logs))


def scale_product(flow: Flow, use: LinearUse, reads: Array, makes: Array) -> None:
    if (reads == 1).all() and (makes == 1).all():
        return
    values = stored(use.node, scaled(grouped(use.node), reads, makes))
    use.node.inputs[1] = constant(flow.graph, use.weights.name, values)
    if use.bias is not None:
        multiply_constant(flow.graph, use.node, 2, makes)


def multiply_constant(graph: gs.Graph, node: gs.Node, place: int, factors: Array) -> None:
    """Of one input; a gain without a shape of its own takes that of the factors."""
    tensor = node.inputs[place]
    if isinstance(tensor, gs.Constant) and not (factors == 1).all():
        values = np.asarray(tensor.values, np.float64) * factors
        node.inputs[place] = constant(graph, tensor.name, values.astype(np.float32))
