"""Which products are rounded together, and in which order: those by the same weights at once, each after all before it.

A unit is one product, or all by the same weights on the same grid, whose codes are stored once. Its level is how many
units lie before it, one after the other; units of one level know nothing of each other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_graphsurgeon as gs

from bevel.calib.data.content import content
from bevel.passes.quantize.product_rows import product_of, product_rows
from bevel.passes.quantize.round_weights import ProductWeights


@dataclass(frozen=True)
class Unit:
    """places: in the order of the graph, of its products among all."""

    places: tuple[int, ...]
    level: int


def find_units(graph: gs.Graph, found: Sequence[ProductWeights]) -> list[Unit]:
    """By level, of all products that can be looked at. Weights that are read again behind a product of their own have
    no level: they are in no unit."""
    groups = shared([place for place, one in enumerate(found) if can_be_seen(one)], found)
    levels = levels_of(graph, found, groups)
    if levels is None:
        groups = [one for one in groups if len(one) == 1]
        levels = levels_of(graph, found, groups) or []
    units = [Unit(tuple(places), level) for places, level in zip(groups, levels, strict=True)]
    return sorted(units, key=lambda unit: (unit.level, unit.places))


def can_be_seen(one: ProductWeights) -> bool:
    return one.linear and product_rows(product_of(one)) is not None


def shared(places: Sequence[int], found: Sequence[ProductWeights]) -> list[list[int]]:
    """`places` in groups of products by the same weights on the same grid."""
    groups: dict[tuple[object, ...], list[int]] = {}
    for place in places:
        one = found[place]
        scale = content(np.asarray(one.grid.quant.scale))
        groups.setdefault((one.tensor.name, one.axis, one.format, scale), []).append(place)
    return list(groups.values())


def levels_of(graph: gs.Graph, found: Sequence[ProductWeights], groups: Sequence[Sequence[int]]) -> list[int] | None:
    """Of each group; None where one waits for itself."""
    group_of = {product_of(found[place]).name: which for which, places in enumerate(groups) for place in places}
    levels = [0] * len(groups)
    for _ in range(len(groups) + 1):
        before = list(levels)
        depths: dict[str, int] = {}
        for node in graph.nodes:
            depth = max((depths.get(tensor.name, 0) for tensor in read_by(node)), default=0)
            if (which := group_of.get(node.name)) is not None:
                levels[which] = max(levels[which], depth)
                depth = levels[which] + 1
            depths |= dict.fromkeys((tensor.name for tensor in node.outputs), depth)
        if levels == before:
            return levels
    return None


def read_by(node: gs.Node) -> list[gs.Tensor]:
    """What a node reads, its subgraphs included."""
    inner = [tensor for graph in node.subgraphs() for one in graph.nodes for tensor in read_by(one)]
    return [*node.inputs, *inner]


def by_level(units: Sequence[Unit]) -> Mapping[int, list[Unit]]:
    found: dict[int, list[Unit]] = {}
    for unit in units:
        found.setdefault(unit.level, []).append(unit)
    return found
