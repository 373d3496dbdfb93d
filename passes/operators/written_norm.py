"""A normalization written out in means, squares and roots, taken as the one operator that it is.

    y = (x - mean(x)) / sqrt(v + epsilon) * gain + bias,    v = mean((x - mean(x))^2) = mean(x^2) - mean(x)^2
    y = x / sqrt(mean(x^2) + epsilon) * gain + bias         of mean squares (RMSNorm)
    y = x / max(norm(x), tiny)                              of a Euclidean norm

Exporters of opsets below 17, and those of many models since, spell LayerNormalization and its like so. Quantized node
by node, squares and variances span more binades than int8 has steps. Nothing between x and y is quantized then, and the
integers are those of `normalize`. Squares may be Mul or Pow, roots Sqrt or Pow, quotients Div or products with a
Reciprocal; gain and bias are constants. A node inside that somebody else reads keeps the whole as it was written.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import onnx_graphsurgeon as gs

from bevel.passes.operators.base import Activation, Array, Match, Reason, Site
from bevel.passes.operators.normalize import Form, Normalize, normalized
from bevel.passes.operators.reduced import reduced_axes
from bevel.passes.quantizers import producer

MEANS = ("ReduceMean", "GlobalAveragePool")
TINY = 1e-6  # a norm or variance held above this is held for rows of zeros alone


@dataclass(frozen=True)
class Norm:
    """inside: the nodes before the last. epsilon is added to the mean of squares, or to their sum."""

    x: gs.Tensor
    axes: tuple[int, ...]
    center: bool
    mean: bool
    epsilon: float
    inside: tuple[gs.Node, ...]
    gain: Array | None = None
    bias: Array | None = None


class WrittenNorm(Normalize):
    """As Normalize, of nodes that spell it."""

    float_ops: ClassVar[frozenset[str]] = frozenset()  # the last of several nodes

    def match(self, node: gs.Node) -> Match | Reason | None:
        found = find_norm(node)
        return None if found is None else Match(node, (found.x,))

    def covers(self, match: Match) -> tuple[gs.Node, ...]:
        found = find_norm(match.node)
        return () if found is None else found.inside

    def integerize(self, site: Site) -> list[gs.Node] | Reason:
        x, found = site.inputs[0], find_norm(site.node)
        if not isinstance(x, Activation) or found is None:
            return Reason("its input is not quantized")
        return normalized(site, x, form_of(found, tuple(x.tensor.shape)))


def form_of(norm: Norm, shape: tuple[int, ...]) -> Form:
    n = float(np.prod([shape[axis] for axis in norm.axes]))
    gain = np.ones(1) if norm.gain is None else norm.gain.astype(np.float64)
    bias = np.zeros(1) if norm.bias is None else norm.bias.astype(np.float64)
    if not norm.center and norm.mean:
        gain = gain * np.sqrt(n)
    return Form(shape, norm.axes, norm.center, gain, bias, norm.epsilon if norm.mean else norm.epsilon / n)


def find_norm(node: gs.Node) -> Norm | None:
    """The normalization that ends in `node`, and of which nothing else reads a part."""
    found = with_bias(node) or with_gain(node) or quotient(node)
    if found is None or not node.outputs:
        return None
    within = {id(one) for one in (*found.inside, node)}
    parts = (output for one in found.inside for output in one.outputs)
    whole = all(id(reader) in within for part in parts for reader in part.outputs)
    return found if whole else None


def with_bias(node: gs.Node) -> Norm | None:
    if node.op not in ("Add", "Sub"):
        return None
    for index, constant in constants_of(node):
        before = producer(node.inputs[1 - index])
        if before is None or (node.op == "Sub" and index == 0):
            continue
        found = with_gain(before) or quotient(before)
        if found is not None:
            bias = constant if node.op == "Add" else -constant
            return replace(found, bias=bias, inside=(*found.inside, before))
    return None


def with_gain(node: gs.Node) -> Norm | None:
    if node.op != "Mul":
        return None
    for index, constant in constants_of(node):
        before = producer(node.inputs[1 - index])
        found = None if before is None else quotient(before)
        if found is not None and before is not None:
            return replace(found, gain=constant, inside=(*found.inside, before))
    return None


def constants_of(node: gs.Node) -> Iterator[tuple[int, Array]]:
    """The constant inputs that broadcast to the other one, with their places."""
    for index, tensor in enumerate(node.inputs[:2]):
        if isinstance(tensor, gs.Constant) and list(node.inputs[1 - index].shape) == list(node.outputs[0].shape):
            yield index, np.asarray(tensor.values)


def quotient(node: gs.Node) -> Norm | None:
    """x less its mean, or x, over a root of the mean or the sum of its squares."""
    if node.op not in ("Mul", "Div"):
        return None
    for index in (0,) if node.op == "Div" else (0, 1):
        dividend, other = node.inputs[index], node.inputs[1 - index]
        if isinstance(dividend, gs.Constant) or isinstance(other, gs.Constant):
            continue
        divisor = (other, ()) if node.op == "Div" else inverted(other)
        found = None if divisor is None else of_root(dividend, *divisor)
        if found is not None:
            return found
    return None


Behind = tuple[gs.Tensor, tuple[gs.Node, ...]]  # a tensor further up, and the nodes between


def inverted(tensor: gs.Tensor) -> Behind | None:
    """The tensor whose reciprocal `tensor` is."""
    node = producer(tensor)
    if node is None:
        return None
    if node.op == "Reciprocal":
        return node.inputs[0], (node,)
    if node.op == "Div" and number(node.inputs[0]) == 1:
        return node.inputs[1], (node,)
    return (tensor, ()) if node.op == "Pow" and number(node.inputs[1]) == -0.5 else None


def of_root(dividend: gs.Tensor, divisor: gs.Tensor, inside: tuple[gs.Node, ...]) -> Norm | None:
    """The normalization of `dividend` by `divisor`, a deviation or norm."""
    lifted = held_above(divisor)
    node = producer(divisor if lifted is None else lifted[0])
    if node is None or (lifted is not None and lifted[1]):
        return None
    inside = (*inside, *(() if lifted is None else lifted[2]), node)
    if node.op == "ReduceL2" and node.inputs[0] is dividend:
        axes = kept_axes(node)
        return None if axes is None else Norm(dividend, axes, False, False, 0.0, inside)
    if node.op != "Sqrt" and not (node.op == "Pow" and abs(number(node.inputs[1])) == 0.5):
        return None
    variance, epsilon, between = held_above(node.inputs[0]) or (node.inputs[0], 0.0, ())
    return of_variance(dividend, variance, epsilon, (*inside, *between))


def held_above(tensor: gs.Tensor) -> tuple[gs.Tensor, float, tuple[gs.Node, ...]] | None:
    """What an Add of a constant, or a maximum with a tiny one, makes `tensor` of: it, what is added, the node."""
    node = producer(tensor)
    if node is None:
        return None
    if node.op == "Clip":
        least, open_above = number(node.inputs[1]), len(node.inputs) < 3 or number(node.inputs[2]) > 1e30
        return (node.inputs[0], 0.0, (node,)) if 0 <= least <= TINY and open_above else None
    for index in (0, 1) if node.op in ("Add", "Max") and len(node.inputs) == 2 else ():
        value = number(node.inputs[index])
        if node.op == "Add" and value >= 0:
            return node.inputs[1 - index], value, (node,)
        if node.op == "Max" and 0 <= value <= TINY:
            return node.inputs[1 - index], 0.0, (node,)
    return None


def of_variance(dividend: gs.Tensor, variance: gs.Tensor, epsilon: float, inside: tuple[gs.Node, ...]) -> Norm | None:
    node = producer(variance)
    if node is None:
        return None
    if node.op == "Sub":
        return of_difference(dividend, node, epsilon, inside)
    squares = producer(node.inputs[0])
    axes = kept_axes(node)
    if axes is None or node.op not in (*MEANS, "ReduceSum", "ReduceSumSquare"):
        return None
    if node.op != "ReduceSumSquare":
        if squares is None or squared(squares) is not dividend:
            return None
        inside = (*inside, squares)
    elif node.inputs[0] is not dividend:
        return None
    plain = Norm(dividend, axes, False, node.op in MEANS, epsilon, (*inside, node))
    centred = less_mean(dividend, axes)
    if centred is None or not plain.mean:
        return plain
    return replace(plain, x=centred[0], center=True, inside=(*plain.inside, *centred[1]))


def of_difference(dividend: gs.Tensor, node: gs.Node, epsilon: float, inside: tuple[gs.Node, ...]) -> Norm | None:
    """mean(x^2) - mean(x)^2 below x - mean(x)."""
    of_squares, square_of_mean = producer(node.inputs[0]), producer(node.inputs[1])
    if of_squares is None or square_of_mean is None or of_squares.op not in MEANS:
        return None
    axes, squares, mean = kept_axes(of_squares), producer(of_squares.inputs[0]), squared(square_of_mean)
    centred = None if axes is None else less_mean(dividend, axes)
    if axes is None or squares is None or centred is None or mean is not centred[1][1].outputs[0]:
        return None
    if squared(squares) is not centred[0]:
        return None
    parts = (*inside, node, of_squares, square_of_mean, squares, *centred[1])
    return Norm(centred[0], axes, True, True, epsilon, parts)


def less_mean(tensor: gs.Tensor, axes: tuple[int, ...]) -> tuple[gs.Tensor, tuple[gs.Node, gs.Node]] | None:
    """x where `tensor` is x - mean(x) along `axes`, with the Sub and the mean."""
    node = producer(tensor)
    mean = producer(node.inputs[1]) if node is not None and node.op == "Sub" else None
    if node is None or mean is None or mean.op not in MEANS or mean.inputs[0] is not node.inputs[0]:
        return None
    return (node.inputs[0], (node, mean)) if kept_axes(mean) == axes else None


def squared(node: gs.Node) -> gs.Tensor | None:
    """The tensor whose square a node makes."""
    if node.op == "Mul" and node.inputs[0] is node.inputs[1]:
        return node.inputs[0]
    return node.inputs[0] if node.op == "Pow" and number(node.inputs[1]) == 2 else None


def kept_axes(node: gs.Node) -> tuple[int, ...] | None:
    """The axes that a reduction runs over, where it keeps them with size 1."""
    if node.op != "GlobalAveragePool" and not node.attrs.get("keepdims", 1):
        return None
    return reduced_axes(node)


def number(tensor: gs.Tensor) -> float:
    """The value of a constant of one element; NaN for anything else."""
    single = isinstance(tensor, gs.Constant) and np.size(tensor.values) == 1
    return float(np.ravel(tensor.values)[0]) if single else float("nan")
