"""A normalization written out in means, squares and roots, taken as the one operator that it is.

    y = (x - mean(x)) / sqrt(v + epsilon) * gain + bias,    v = mean((x - mean(x))^2) = mean(x^2) - mean(x)^2
    y = x / sqrt(mean(x^2) + epsilon) * gain + bias         of mean squares (RMSNorm)
    y = x / max(norm(x), tiny), x / (norm(x) + tiny)        of a Euclidean norm

Exporters of opsets below 17, and those of many models since, spell LayerNormalization and its like so. Quantized node
by node, squares and variances span more binades than int8 has steps. Nothing between x and y is quantized then, and the
integers are those of `normalize`. Squares may be Mul or Pow, roots Sqrt or Pow, quotients Div or products with a
Reciprocal, multiplied out or not; gain and bias are constants. A node inside that somebody else reads keeps the whole
as it was written.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import onnx_graphsurgeon as gs

from bevel.passes.graph.edit import producer
from bevel.passes.operators.base import Activation, Array, Match, Reason, Site
from bevel.passes.operators.norms.normalize import Normalize, RowForm, normalized
from bevel.passes.operators.sums.reduced import reduced_axes

MEANS = ("ReduceMean", "GlobalAveragePool")
SUMS = ("ReduceSum", "ReduceSumSquare")
TINY = 1e-6  # a norm or variance held above this is held for rows of zeros alone
ADDED = 1e-5  # likewise added to a deviation or norm; its square beside the squares is as little


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
        return None if found is None else Match(node, (found.x,), before=found.inside)

    def integerize(self, site: Site) -> list[gs.Node] | Reason:
        x, found = site.inputs[0], find_norm(site.node)
        if not isinstance(x, Activation) or found is None:
            return Reason("its input is not quantized")
        return normalized(site, x, form_of(found, tuple(x.tensor.shape)))


def form_of(norm: Norm, shape: tuple[int, ...]) -> RowForm:
    n = float(np.prod([shape[axis] for axis in norm.axes]))
    gain = np.ones(1) if norm.gain is None else norm.gain.astype(np.float64)
    bias = np.zeros(1) if norm.bias is None else norm.bias.astype(np.float64)
    if not norm.center and norm.mean:
        gain = gain * np.sqrt(n)
    return RowForm(shape, norm.axes, norm.center, gain, bias, norm.epsilon if norm.mean else norm.epsilon / n)


def find_norm(node: gs.Node) -> Norm | None:
    """The normalization that ends in `node`, and of which nothing else reads a part."""
    found = with_bias(node) or with_gain(node) or core(node)
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
        found = with_gain(before) or core(before)
        if found is not None and found.bias is None:
            bias = constant if node.op == "Add" else -constant
            return replace(found, bias=bias, inside=(*found.inside, before))
    return None


def with_gain(node: gs.Node) -> Norm | None:
    if node.op != "Mul":
        return None
    for index, constant in constants_of(node):
        before = producer(node.inputs[1 - index])
        found = None if before is None else core(before)
        if found is not None and before is not None and found.gain is None and found.bias is None:
            return replace(found, gain=constant, inside=(*found.inside, before))
    return None


def constants_of(node: gs.Node) -> Iterator[tuple[int, Array]]:
    """The constant inputs that broadcast to the other one, with their places."""
    for index, tensor in enumerate(node.inputs[:2]):
        if isinstance(tensor, gs.Constant) and list(node.inputs[1 - index].shape) == list(node.outputs[0].shape):
            yield index, np.asarray(tensor.values)


def core(node: gs.Node) -> Norm | None:
    return quotient(node) or multiplied_out(node)


@dataclass(frozen=True)
class Dividend:
    """What is divided: x, or x less `mean`. base: that tensor, whose squares may make the variance, if there is one."""

    x: gs.Tensor
    mean: gs.Tensor | None
    base: gs.Tensor | None
    nodes: tuple[gs.Node, ...] = ()


@dataclass(frozen=True)
class Divisor:
    """A deviation or norm, and the nodes that make a factor of it; gain: what the factor is multiplied by."""

    tensor: gs.Tensor
    nodes: tuple[gs.Node, ...] = ()
    gain: Array | None = None


def quotient(node: gs.Node) -> Norm | None:
    """x less its mean, or x, over a root of the mean or the sum of its squares."""
    if node.op not in ("Mul", "Div"):
        return None
    for index in (0,) if node.op == "Div" else (0, 1):
        tensor, other = node.inputs[index], node.inputs[1 - index]
        if isinstance(tensor, gs.Constant) or isinstance(other, gs.Constant):
            continue
        divisor = Divisor(other) if node.op == "Div" else inverted(other)
        for dividend in dividends(tensor):
            found = None if divisor is None else of_root(dividend, divisor)
            if found is not None:
                return found
    return None


def dividends(tensor: gs.Tensor) -> Iterator[Dividend]:
    node = producer(tensor)
    mean = producer(node.inputs[1]) if node is not None and node.op == "Sub" else None
    if node is not None and mean is not None and mean.op in MEANS and mean.inputs[0] is node.inputs[0]:
        yield Dividend(node.inputs[0], node.inputs[1], tensor, (node, mean))
    yield Dividend(tensor, None, tensor)


def multiplied_out(node: gs.Node) -> Norm | None:
    """x * f + (bias - mean * f), or x * f - mean * f, with f a gain over the deviation."""
    if node.op not in ("Add", "Sub"):
        return None
    for place in (0, 1) if node.op == "Add" else (0,):
        product, other = producer(node.inputs[place]), producer(node.inputs[1 - place])
        if product is None or other is None or product.op != "Mul":
            continue
        bias, moved = None, other
        if node.op == "Add":
            if other.op != "Sub" or not isinstance(other.inputs[0], gs.Constant):
                continue
            bias, inner = np.asarray(other.inputs[0].values), producer(other.inputs[1])
            if inner is None:
                continue
            moved = inner
        found = less_scaled_mean(product, moved)
        if found is not None:
            extra = (product, moved) if moved is other else (product, moved, other)
            return replace(found, bias=bias, inside=(*found.inside, *extra))
    return None


def less_scaled_mean(product: gs.Node, moved: gs.Node) -> Norm | None:
    """The normalization of x where `product` is x * f and `moved` is mean(x) * f."""
    if moved.op != "Mul":
        return None
    for index in (0, 1):
        x, factor = product.inputs[index], product.inputs[1 - index]
        mean = next((one for one in moved.inputs if one is not factor), None)
        node = None if mean is None or all(factor is not one for one in moved.inputs) else producer(mean)
        if node is None or node.op not in MEANS or node.inputs[0] is not x:
            continue
        centred = [one for one in x.outputs if one.op == "Sub" and one.inputs[0] is x and one.inputs[1] is mean]
        base = centred[0].outputs[0] if centred else None
        divisor = inverted(factor)
        found = None if divisor is None else of_root(Dividend(x, mean, base, (node, *centred)), divisor)
        if found is not None:
            return found
    return None


def inverted(tensor: gs.Tensor) -> Divisor | None:
    """What `tensor` is the reciprocal of, or a constant over it."""
    node = producer(tensor)
    if node is None:
        return None
    if node.op == "Reciprocal":
        return Divisor(node.inputs[0], (node,))
    if node.op == "Div" and isinstance(node.inputs[0], gs.Constant):
        return Divisor(node.inputs[1], (node,), np.asarray(node.inputs[0].values))
    if node.op == "Pow" and number(node.inputs[1]) == -0.5:
        return Divisor(tensor)
    for index in (0, 1) if node.op == "Mul" else ():
        constant = node.inputs[index]
        found = inverted(node.inputs[1 - index]) if isinstance(constant, gs.Constant) else None
        if found is not None and found.gain is None:
            return Divisor(found.tensor, (node, *found.nodes), np.asarray(constant.values))
    return None


def of_root(dividend: Dividend, divisor: Divisor) -> Norm | None:
    """The normalization of `dividend` by `divisor`."""
    lifted = held_above(divisor.tensor)
    node = producer(divisor.tensor if lifted is None else lifted[0])
    added = 0.0 if lifted is None else lifted[1]
    if node is None or added > ADDED:
        return None
    inside = (*divisor.nodes, *(() if lifted is None else lifted[2]), node)
    if node.op == "ReduceL2" and dividend.mean is None and node.inputs[0] is dividend.x:
        axes = kept_axes(node)
        return None if axes is None else Norm(dividend.x, axes, False, False, added**2, inside, divisor.gain)
    if node.op != "Sqrt" and not (node.op == "Pow" and abs(number(node.inputs[1])) == 0.5):
        return None
    variance, epsilon, between = held_above(node.inputs[0]) or (node.inputs[0], 0.0, ())
    positive = held_above(variance)
    if positive is not None and positive[1] == 0.0:
        variance, between = positive[0], (*between, *positive[2])
    found = of_variance(dividend, variance, epsilon + added**2)
    if found is None:
        return None
    return replace(found, inside=(*inside, *between, *found.inside, *dividend.nodes), gain=divisor.gain)


def held_above(tensor: gs.Tensor) -> tuple[gs.Tensor, float, tuple[gs.Node, ...]] | None:
    """What an Add of a constant, or a maximum with a tiny one, makes `tensor` of: it, what is added, the node."""
    node = producer(tensor)
    if node is None:
        return None
    if node.op == "Relu":
        return node.inputs[0], 0.0, (node,)
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


def of_variance(dividend: Dividend, variance: gs.Tensor, epsilon: float) -> Norm | None:
    """The normalization by `variance`; inside are the nodes that make it."""
    node = producer(variance)
    if node is None:
        return None
    if node.op == "Sub":
        return of_difference(dividend, node, epsilon)
    axes, squares = kept_axes(node) if node.op in (*MEANS, *SUMS) else None, producer(node.inputs[0])
    if axes is None or not centred_along(dividend, axes) or (dividend.mean is not None and node.op in SUMS):
        return None
    if node.op == "ReduceSumSquare":
        whole = node.inputs[0] is dividend.base
        return Norm(dividend.x, axes, False, False, epsilon, (node,)) if whole else None
    if squares is None or dividend.base is None or squared(squares) is not dividend.base:
        return None
    return Norm(dividend.x, axes, dividend.mean is not None, node.op in MEANS, epsilon, (node, squares))


def of_difference(dividend: Dividend, node: gs.Node, epsilon: float) -> Norm | None:
    """mean(x^2) - mean(x)^2 below x - mean(x)."""
    of_squares, square_of_mean = producer(node.inputs[0]), producer(node.inputs[1])
    if of_squares is None or square_of_mean is None or of_squares.op not in MEANS or dividend.mean is None:
        return None
    axes, squares = kept_axes(of_squares), producer(of_squares.inputs[0])
    if axes is None or squares is None or not centred_along(dividend, axes):
        return None
    if squared(squares) is not dividend.x or squared(square_of_mean) is not dividend.mean:
        return None
    return Norm(dividend.x, axes, True, True, epsilon, (node, of_squares, square_of_mean, squares))


def centred_along(dividend: Dividend, axes: tuple[int, ...]) -> bool:
    """Whether the mean, if one is taken off, runs along `axes`."""
    node = None if dividend.mean is None else producer(dividend.mean)
    return node is None or kept_axes(node) == axes


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
