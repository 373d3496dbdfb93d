"""Inputs of products flattened on the device: a learned affine before a product, its inverse in the product's weights.

    x W = (x P) (P^-1 W),    P = A (x) B

P is a Kronecker product (`affine`), so that it takes two products by small matrices: each row of x as a matrix of a
rows and b columns, by B, then, transposed, by A; the channels that this leaves in another order are put in order in
the product's weights. Unlike a rotation, P may also make channels of one size. Source: Sun et al. 2025, "FlatQuant:
Flatness Matters for LLM Quantization".

Price: a + b multiplications by int8 for each element, of which `Gemm` makes what it makes of any product, and two
tensors more. A and B are rounded to int8 before they are inverted, so that rounding them loses nothing. x keeps 8
bits, or 16 where 8 would lose what the affine gains, and so does what lies between the two. A place is taken only if
its products are predicted to gain `GAIN` dB, and `WORK` dB for as many multiplications as they have.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import prod
from typing import Any, ClassVar

import numpy as np
import onnx_graphsurgeon as gs

from bevel.calib.data.dataset import Runs
from bevel.calib.formats.format import INT8, INT16, IntFormat
from bevel.passes.base import Note
from bevel.passes.graph.edit import append, constant, producer, variable
from bevel.passes.quantize.chosen import NodeFormat
from bevel.passes.transform.affine import ROWS, Affine, factors_of, learned_affine
from bevel.passes.transform.noise import rounded_values
from bevel.passes.transform.orthogonal import Matrix
from bevel.passes.transform.rotate_online import (
    FINE,
    WORK,
    OnlineSite,
    makers,
    product_error,
    read_by_products,
    read_instead,
)
from bevel.passes.transform.seen import see
from bevel.passes.transform.smooth import GAIN, decibels
from bevel.passes.transform.transform import Changed, Transform, vectors

MADE = ("Reshape", "Gemm", "Reshape", "Transpose", "Reshape", "Gemm", "Reshape")  # of `put`, from the last on
LEAST = 2  # of the smaller factor: a matrix of all channels costs as much as a product


@dataclass(frozen=True, eq=False)
class OnlineAffine:
    """gain: predicted, in dB; before, between: the formats of x, and of what lies between the two products."""

    affine: Affine
    gain: float
    before: IntFormat
    between: IntFormat

    @property
    def multiplications(self) -> int:
        """Of one row."""
        left, right = len(self.affine.left), len(self.affine.right)
        return left * right * (left + right)


@dataclass(frozen=True)
class FlattenInputs(Transform):
    """gain: dB that a place must gain by the prediction, beside what its multiplications ask for."""

    name: ClassVar[str] = "flatten-inputs"
    gain: float = GAIN

    def changed(self, graph: gs.Graph, samples: Runs) -> tuple[Changed | None, list[Note]]:
        sites = list(find_sites(graph))
        arrays = see(graph, [site.x.name for site in sites], samples) if sites else {}
        notes, stays = [], []
        formats: dict[str, NodeFormat] = {}
        instead: dict[str, str] = {}
        operations = 0
        for site in sites:
            name = site.readers[0].name
            one = self.judged(site, vectors(arrays[site.x.name], -1))
            costs = one.multiplications / site.multiplications
            if one.gain < self.gain + WORK * costs:
                stays.append(self.told(name, "stays", "no affine before it", one, costs))
                continue
            notes.append(self.told(name, "changed", "what it reads is flattened on the device", one, costs))
            formats |= dict.fromkeys(makers(site.x), NodeFormat(activations=one.before))
            formats |= put(graph, site, one)
            operations += one.multiplications * prod(map(int, site.x.shape[:-1]))
            instead[site.readers[0].inputs[0].name] = site.x.name
        tensors = dict.fromkeys(instead, -1)
        found = Changed(graph, len(notes), tensors, tuple(notes), formats, operations, instead) if notes else None
        return found, stays

    def judged(self, site: OnlineSite, x: Matrix) -> OnlineAffine:
        """x: [vectors, n]. Rows have scales of their own where `row-scales` tries that, at fewer than 8 bits."""
        rows, weights = x[:: max(1, len(x) // ROWS)], site.weights
        bits, of_each_row = (self.weight_bits, self.activation_bits), self.activation_bits < INT8.bits
        affine = on_grid(learned_affine(rows, weights, factors_of(site.n)[0], bits, of_each_row))
        flat, turned = affine.of_rows(x), affine.of_weights(weights)
        plain = product_error(x, x, weights, bits, of_each_row)
        exact = product_error(flat, flat, turned, bits, of_each_row)
        for before, between in ((INT8, INT8), (INT8, INT16), (INT16, INT16)):
            given = through(affine, x, before, between)
            left = product_error(given, flat, turned, bits, of_each_row)
            if left < FINE * exact:
                break
        return OnlineAffine(affine, decibels(plain, left), before, between)

    def told(self, node: str, kind: Any, what: str, found: OnlineAffine, costs: float) -> Note:
        sides = f"{len(found.affine.left)} by {len(found.affine.right)}"
        text = (
            f"{what}, {sides}, from {found.before.name} by way of {found.between.name}: rounding it is predicted to "
            f"cost {found.gain:.1f} dB less, for {costs:.2f} of its multiplications more"
        )
        return self.note(node, kind, text, predicted_db=found.gain, share=costs)


def find_sites(graph: gs.Graph) -> Iterator[OnlineSite]:
    """Tensors whose channels are a matrix, and which are not flattened already."""
    taken: set[int] = set()
    for node in graph.nodes:
        if node.op == "Gemm" and (products := affine_before(node.inputs[0])):
            taken |= {id(node), *map(id, products)}
    for site in read_by_products(graph, taken):
        if factors_of(site.n)[0] >= LEAST:
            yield site


def affine_before(x: gs.Tensor) -> tuple[gs.Node, ...]:
    """The two products that `put` puts before a product; nothing where others made `x`."""
    found: list[gs.Node] = []
    node = producer(x)
    for op in MADE:
        if node is None or node.op != op:
            return ()
        found += [node] if op == "Gemm" else []
        node = producer(node.inputs[0])
    weights = [one.inputs[1] for one in found]
    square = all(isinstance(one, gs.Constant) and len(set(one.values.shape)) == 1 for one in weights)
    return tuple(found) if square else ()


def on_grid(affine: Affine) -> Affine:
    """With factors that int8 holds exactly, with a scale for each column."""
    return Affine(*(rounded_columns(one) for one in (affine.left, affine.right)))


def rounded_columns(matrix: Matrix) -> Matrix:
    steps = np.abs(matrix).max(0) / INT8.high
    return np.asarray(np.rint(matrix / steps) * steps, np.float64)


def through(affine: Affine, x: Matrix, before: IntFormat, between: IntFormat) -> Matrix:
    """x P, where x and what lies between the two products are rounded."""
    alone = np.eye(len(affine.left))
    half = Affine(alone, affine.right).of_rows(rounded_values(x, before.bits))
    rest = Affine(affine.left, np.eye(len(affine.right)))
    return rest.of_rows(rounded_values(half, between.bits))


def put(graph: gs.Graph, site: OnlineSite, found: OnlineAffine) -> dict[str, NodeFormat]:
    """The two products before those of a site. Returns what they have in other formats than all."""
    name, affine = f"{site.readers[0].name}/flat", found.affine
    left, right = len(affine.left), len(affine.right)
    shape = tuple(map(int, site.x.shape))
    rows = prod(shape[:-1])
    x = reshaped(graph, f"{name}/whole", site.x, (rows * left, right))
    x = multiplied(graph, f"{name}/right", x, affine.right)
    x = reshaped(graph, f"{name}/split", x, (rows, left, right))
    turned = variable(graph, f"{name}/turned", np.float32, (rows, right, left))
    append(graph, "Transpose", turned.name, [x], turned, {"perm": [0, 2, 1]})
    x = reshaped(graph, f"{name}/columns", turned, (rows * right, left))
    x = multiplied(graph, f"{name}/left", x, affine.left)
    x = reshaped(graph, name, x, shape)

    def behind(weights: Matrix) -> Matrix:
        """P^-1 weights, in the order of the channels."""
        back = affine.of_weights(weights).reshape(left, right, -1)
        return np.ascontiguousarray(np.swapaxes(back, 0, 1)).reshape(weights.shape)

    read_instead(graph, site, x, behind)
    exact = NodeFormat(weights=INT8)
    return {f"{name}/right": replace(exact, activations=found.between), f"{name}/left": exact}


def reshaped(graph: gs.Graph, name: str, x: gs.Tensor, shape: tuple[int, ...]) -> gs.Tensor:
    made = variable(graph, name, np.float32, shape)
    append(graph, "Reshape", made.name, [x, constant(graph, f"{name}.shape", np.array(shape))], made)
    return made


def multiplied(graph: gs.Graph, name: str, x: gs.Tensor, matrix: Matrix) -> gs.Tensor:
    made = variable(graph, name, np.float32, x.shape)
    parts = {"weight": matrix.astype(np.float32), "bias": np.zeros(len(matrix), np.float32)}
    append(
        graph, "Gemm", name, [x, *(constant(graph, f"{name}.{part}", values) for part, values in parts.items())], made
    )
    return made
