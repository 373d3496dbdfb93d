"""Spell an Einsum of two factors that is a product of matrices as one.

    a[b.., m.., k..], b[b.., k.., n..]    becomes   Transpose, Reshape, MatMul, Reshape, Transpose

b.. are the axes that both factors and the result have, k.. those that only the factors have, m.. and n.. those of one
factor and the result. Exact but for the order of a sum. What repeats an axis within a factor, sums over an axis of one
factor alone, sums over none, stretches an axis of one element to the other factor's, or has an ellipsis stays.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import ClassVar, NamedTuple

import numpy as np
import onnx_graphsurgeon as gs

from bevel.passes.base import Condition, Pass, PassResult, Work
from bevel.passes.conditions import STATIC_SHAPES
from bevel.passes.graph.edit import alive, append, constant, detach, static_shape, variable


class Contraction(NamedTuple):
    """The axes of an Einsum by their letters, and the result's in its own order."""

    batch: str
    rows: str
    summed: str
    columns: str
    result: str


@dataclass(frozen=True)
class UnifyEinsum(Pass):
    name: ClassVar[str] = "unify-einsum"
    requires: ClassVar[tuple[Condition, ...]] = (STATIC_SHAPES,)

    def call(self, work: Work) -> PassResult:
        notes = []
        modified = False
        for node in alive(work.graph):
            if node.op != "Einsum":
                continue
            found = find(node)
            if isinstance(found, Contraction):
                rewrite(work.graph, node, found)
                modified = True
            else:
                notes.append(self.note(node.name, "stays", f"stays Einsum: {found}"))
        return work.result(modified, notes)


def find(node: gs.Node) -> Contraction | str:
    """The product that a node is, or why it is none."""
    equation = str(node.attrs["equation"]).replace(" ", "")
    factors, arrow, result = equation.partition("->")
    terms = factors.split(",")
    if "." in equation:
        return "it has an ellipsis"
    if len(terms) != 2:
        return f"it has {len(terms)} factors"
    a, b = terms
    if any(len(set(one)) < len(one) for one in (a, b)):
        return "an axis is repeated within a factor"
    sizes = [dict(zip(*one, strict=True)) for one in zip(terms, map(sizes_of, node.inputs), strict=True)]
    if any(sizes[0][letter] != sizes[1][letter] for letter in set(a) & set(b)):  # one of them is 1
        return "an axis is of two sizes"
    if not arrow:  # the letters that are there once
        result = "".join(sorted(set(a) ^ set(b)))
    if (set(a) ^ set(b)) - set(result):
        return "it sums over an axis of one factor alone"
    summed = "".join(letter for letter in a if letter in b and letter not in result)
    if not summed:
        return "it sums over nothing"
    batch = "".join(letter for letter in result if letter in a and letter in b)
    rows, columns = ("".join(letter for letter in result if letter in one and letter not in batch) for one in (a, b))
    return Contraction(batch, rows, summed, columns, result)


def rewrite(graph: gs.Graph, node: gs.Node, found: Contraction) -> None:
    (a, b), result, name = node.inputs, node.outputs[0], node.name
    terms = str(node.attrs["equation"]).replace(" ", "").partition("->")[0].split(",")
    pairs = zip(terms, (a, b), strict=True)
    sizes = {letter: size for term, one in pairs for letter, size in zip(term, sizes_of(one), strict=True)}
    detach(node)
    batch, m, k, n = found.batch, found.rows, found.summed, found.columns
    lead = [sizes[letter] for letter in batch]
    one, other = (prod(sizes[letter] for letter in letters) for letters in (m, n))
    depth = prod(sizes[letter] for letter in k)
    left = placed(graph, f"{name}.left", a, terms[0], batch + m + k, [*lead, one, depth])
    right = placed(graph, f"{name}.right", b, terms[1], batch + k + n, [*lead, depth, other])
    product = variable(graph, f"{name}.product", result.dtype, [*lead, one, other])
    append(graph, "MatMul", name, [left, right], product)
    order = batch + m + n
    shape = [sizes[letter] for letter in order]
    if order == found.result:
        reshape(graph, name, product, result, shape)
        return
    apart = variable(graph, f"{name}.apart", result.dtype, shape)
    reshape(graph, f"{name}.apart", product, apart, shape)
    perm = [order.index(letter) for letter in found.result]
    append(graph, "Transpose", f"{name}.order", [apart], result, {"perm": perm})


def placed(graph: gs.Graph, name: str, x: gs.Tensor, term: str, order: str, shape: list[int]) -> gs.Tensor:
    """A factor with its axes in another order, and then of another shape."""
    perm = [term.index(letter) for letter in order]
    sizes = sizes_of(x)
    turned = variable(graph, f"{name}.turned", x.dtype, [sizes[axis] for axis in perm])
    append(graph, "Transpose", f"{name}.turned", [x], turned, {"perm": perm})
    found = variable(graph, name, x.dtype, shape)
    reshape(graph, name, turned, found, shape)
    return found


def sizes_of(x: gs.Tensor) -> tuple[int, ...]:
    return static_shape(x) or ()


def reshape(graph: gs.Graph, name: str, x: gs.Tensor, result: gs.Tensor, shape: list[int]) -> None:
    sizes = constant(graph, f"{name}.shape", np.array(shape, np.int64))
    append(graph, "Reshape", f"{name}.reshape", [x, sizes], result)
