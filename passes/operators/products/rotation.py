"""Rotary position embeddings, found by what they compute: pairs of channels, turned by an angle for each position.

    y0 = a0 * x0 + b0 * x1,    y1 = a1 * x1 + b1 * x0          (Su et al. 2021, "RoFormer", section 3.4.2)

Exporters spell it in many ways: halves or neighbours as pairs; Split, Slice, or strided Slices; x * cos + turned(x) *
sin with a Concat and a Neg, or four products, a Sub and an Add; tables of half or of whole width; scaled or not. What
all of them have is a sum of products with coefficients, of tensors that only move, and negate, elements of one tensor.
Which pairs, and the coefficients a and b, is found by running these nodes on ones and zeros, and proven on random
numbers.

Coefficients are constant, or rows of constant tables at a position that is computed, as a decoder that takes one token
at a time has them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod

import numpy as np
import onnx_graphsurgeon as gs
from numpy.typing import NDArray

from bevel.passes.graph.edit import producer
from bevel.passes.operators.base import Reason
from bevel.passes.operators.products.linear_moves import MOVES, evaluated

Reals = NDArray[np.float64]

SUMS = frozenset({"Add", "Sub"})
MOST_PRODUCTS = 4
MOST_NODES = 32
TOLERANCE = 1e-5  # of the largest coefficient: they are float32, and products of few of them


@dataclass(frozen=True)
class Pairs:
    """Channels [outer, 2, inner] in the last axis of [*lead, n]: element 0 of each pair is turned with element 1."""

    lead: tuple[int, ...]
    outer: int
    inner: int

    @property
    def n(self) -> int:
        return 2 * self.outer * self.inner

    def split(self, values: Reals) -> Reals:
        """[*lead, n] as [*lead, outer, 2, inner]."""
        return values.reshape(*self.lead, self.outer, 2, self.inner)

    def turned(self, own: Reals, other: Reals, x: Reals) -> Reals:
        """own * x + other * the other element of each pair: [*lead, n]."""
        partner = self.split(x)[..., ::-1, :].reshape(x.shape)
        return own * x + other * partner


@dataclass(frozen=True, eq=False)
class Rotation:
    """The rotation of `x` that ends in `end`. inside: the nodes before the end, but for those that make coefficients,
    which `shared` are. rows: the Gathers of tables among these, none where coefficients are constant."""

    x: gs.Tensor
    end: gs.Node
    inside: tuple[gs.Node, ...]
    shared: tuple[gs.Node, ...]
    pairs: Pairs

    @property
    def rows(self) -> tuple[gs.Node, ...]:
        return tuple(filter(is_row, self.shared))

    @property
    def positions(self) -> int:
        """Rows of the tables; 1 of constant coefficients."""
        return int(self.rows[0].inputs[0].shape[axis_of(self.rows[0])]) if self.rows else 1

    def coefficients(self, position: int = 0) -> tuple[Reals, Reals]:
        """own and other, [*lead, n] or what broadcasts to it, with the tables' rows at a position."""
        return narrowed(*found_at(self, self.pairs, {one.outputs[0].name: row(one, position) for one in self.rows}))


def find_rotation(end: gs.Node) -> Rotation | Reason | None:
    """The rotation that ends in a node; a reason where it is nearly one; None where it is something else."""
    if end.op not in ("Add", "Concat") or len(end.inputs) != 2:
        return None
    found = sums_of_products(end)
    if found is None:
        return None
    upper, products, paths = found
    below = common_source(paths)
    if below is None:
        return None
    x, lower = below
    shared = coefficient_makers(products, paths)
    if shared is None:
        return None
    inside = tuple({id(one): one for one in (*upper, *products, *lower) if one is not end}.values())
    draft = Rotation(x, end, inside, shared, Pairs((), 1, 1))
    pairs = next((one for one in possible_pairs(x, end.outputs[0]) if is_rotation(draft, one)), None)
    if pairs is None:
        return None
    whole = {id(one) for one in (*inside, end)}
    if any(id(reader) not in whole for one in inside for tensor in one.outputs for reader in tensor.outputs):
        return Reason("a part of its rotary embedding is read by others")
    return Rotation(x, end, inside, shared, pairs)


# Finding: up to the products, then down to what they all move elements of


def sums_of_products(end: gs.Node) -> tuple[list[gs.Node], list[gs.Node], list[gs.Tensor]] | None:
    """The nodes that add, and put together, products with coefficients; these products; and their other factors."""
    upper: list[gs.Node] = []
    products: list[gs.Node] = []
    paths: list[gs.Tensor] = []
    pending = [end]
    while pending:
        node = pending.pop()
        if node.op == "Mul":
            factors = [one for one in node.inputs if not is_coefficient(one)]
            if len(factors) != 1 or len(node.inputs) != 2 or len(products) == MOST_PRODUCTS:
                return None
            products.append(node)
            paths += factors
            continue
        if node is not end and node.op not in SUMS | MOVES:
            return None
        makers = [producer(one) for one in node.inputs if isinstance(one, gs.Variable)]
        if any(one is None for one in makers) or len(upper) > MOST_NODES:
            return None
        upper.append(node)
        pending += [one for one in makers if one is not None]
    return (upper, products, paths) if len(products) in (2, MOST_PRODUCTS) else None


def is_coefficient(tensor: gs.Tensor) -> bool:
    """Whether it is constant, or moves rows of constant tables."""
    if isinstance(tensor, gs.Constant):
        return bool(tensor.values.dtype.kind == "f")
    node = producer(tensor)
    if node is None or tensor.dtype != np.float32:
        return False
    return is_row(node) or (node.op in MOVES and all(map(is_coefficient, floats_of(node))))


def floats_of(node: gs.Node) -> list[gs.Tensor]:
    """Its inputs but for shapes and places, which are integers."""
    return [one for one in node.inputs if not one.is_empty() and one.dtype == np.float32]


def is_move(node: gs.Node) -> bool:
    """Whether it moves elements, or changes the sign or scale of all of them."""
    scalar = any(isinstance(one, gs.Constant) and one.values.size == 1 for one in node.inputs)
    return node.op in MOVES or (node.op == "Mul" and scalar)


def is_row(node: gs.Node) -> bool:
    """Whether it picks one row of a constant table, at a computed position."""
    table, *where = node.inputs
    return (
        node.op == "Gather"
        and isinstance(table, gs.Constant)
        and isinstance(where[0], gs.Variable)
        and prod(where[0].shape) == 1
    )


def common_source(paths: list[gs.Tensor]) -> tuple[gs.Tensor, list[gs.Node]] | None:
    """The one tensor of which all paths move elements, and the nodes between."""
    frontier, nodes = {one.name: one for one in paths}, list[gs.Node]()
    while len(frontier) > 1 and len(nodes) < MOST_NODES:
        movable = {name: node for name, one in frontier.items() if (node := producer(one)) and is_move(node)}
        below = {id(node): set(sources(node)) for node in movable.values()}
        top = next((node for node in movable.values() if not is_below(node, frontier, movable)), None)
        if top is None or not below:
            return None
        nodes.append(top)
        for name in [name for name, node in movable.items() if node is top]:
            del frontier[name]
        frontier |= {one.name: one for one in floats_of(top) if isinstance(one, gs.Variable)}
    return (next(iter(frontier.values())), nodes) if len(frontier) == 1 else None


def sources(node: gs.Node) -> Iterator[str]:
    """Names of the tensors that a move reads, through moves before it."""
    for one in floats_of(node):
        yield one.name
        maker = producer(one)
        if maker is not None and is_move(maker):
            yield from sources(maker)


def is_below(node: gs.Node, frontier: Mapping[str, gs.Tensor], movable: Mapping[str, gs.Node]) -> bool:
    """Whether something else of the frontier is made of what the node makes."""
    made = {one.name for one in node.outputs}
    return any(made & set(sources(other)) for other in movable.values() if other is not node)


def coefficient_makers(products: list[gs.Node], paths: list[gs.Tensor]) -> tuple[gs.Node, ...] | None:
    """The nodes behind the coefficients; None where tables are read at different positions."""
    found: dict[int, gs.Node] = {}
    pending = [one for node in products for one in node.inputs if all(one is not path for path in paths)]
    while pending:
        node = producer(pending.pop())
        if node is not None:
            found[id(node)] = node
            pending += [] if is_row(node) else floats_of(node)
    rows = [one for one in found.values() if is_row(one)]
    alike = {(one.inputs[1].name, int(one.inputs[0].shape[axis_of(one)])) for one in rows}
    return tuple(found.values()) if len(alike) <= 1 else None


def axis_of(gather: gs.Node) -> int:
    return int(gather.attrs.get("axis", 0)) % len(gather.inputs[0].shape)


# Proving: what the nodes compute


def possible_pairs(x: gs.Tensor, y: gs.Tensor) -> Iterator[Pairs]:
    """How the last one or two axes of x may be pairs: halves, or neighbours."""
    if not x.shape or prod(x.shape) != prod(y.shape):
        return
    for axes in (1, 2):
        lead = tuple(x.shape[:-axes])
        n = prod(x.shape[-axes:])
        if len(x.shape) < axes or n % 2 or tuple(y.shape[: len(lead)]) != lead:
            continue
        yield Pairs(lead, 1, n // 2)
        if n > 2:
            yield Pairs(lead, n // 2, 1)


def found_at(rotation: Rotation, pairs: Pairs, rows: Mapping[str, Reals]) -> tuple[Reals, Reals]:
    """own and other, [*lead, n], if it is a rotation of those pairs."""
    first = np.broadcast_to(np.array([1.0, 0.0])[:, np.newaxis], (*pairs.lead, pairs.outer, 2, pairs.inner))
    first = first.reshape(*pairs.lead, pairs.n)
    of_first, of_second = (computed(rotation, pairs, rows, one) for one in (first, 1.0 - first))
    return np.where(first > 0, of_first, of_second), np.where(first > 0, of_second, of_first)


def computed(rotation: Rotation, pairs: Pairs, rows: Mapping[str, Reals], x: Reals) -> Reals:
    given = {**rows, rotation.x.name: x.reshape([int(size) for size in rotation.x.shape])}
    y: Reals = evaluated(rotation.end.outputs[0], given).reshape(*pairs.lead, pairs.n)
    return y


def is_rotation(rotation: Rotation, pairs: Pairs) -> bool:
    """On random numbers, and of tables with random rows."""
    rng = np.random.default_rng(0)
    rows = {one.outputs[0].name: rng.standard_normal([*map(int, one.outputs[0].shape)]) for one in rotation.rows}
    own, other = found_at(rotation, pairs, rows)
    x = rng.standard_normal((*pairs.lead, pairs.n))
    error = np.abs(computed(rotation, pairs, rows, x) - pairs.turned(own, other, x)).max(initial=0.0)
    return bool(np.abs(other).max(initial=0.0) > 0 and error <= TOLERANCE * max(np.abs(own).max(), np.abs(other).max()))


def row(gather: gs.Node, position: int) -> Reals:
    """What a Gather makes at a position."""
    table = np.asarray(gather.inputs[0].values, np.float64)
    return table.take([position], axis_of(gather)).reshape([*map(int, gather.outputs[0].shape)])


def narrowed(own: Reals, other: Reals) -> tuple[Reals, Reals]:
    """Both, of size 1 along every axis but the last along which neither differs."""
    for axis in range(own.ndim - 1):
        if all((one == one.take([0], axis)).all() for one in (own, other)):
            own, other = own.take([0], axis), other.take([0], axis)
    return own, other
