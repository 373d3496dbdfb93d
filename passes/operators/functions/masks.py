"""Masks before a Softmax: which elements a row keeps, however an exporter spells it.

    Softmax(x + c), c 0 or -1000 and less (-1e9, -inf)       Softmax(Where(keep, x, c))       Softmax(Where(bar, c, x))

What is barred takes no share, as exp(-1000) is 0 in float32, and scores differ by less. Taken into the operator, a mask
sets no range, needs no tensor of its own, and elements that it bars are not computed. A constant may be anything that
broadcasts to the scores; truth values may be computed. A positive factor between mask and Softmax, as exporters put one
there, is one of the exponent. Kept as written are masks of which somebody else reads the sum,
that bar whole rows or add other numbers beside, and those that are added as floats that come in
(`bevel.passes.quantize.clamp_masks`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import onnx_graphsurgeon as gs
from numpy.typing import NDArray

from bevel.calib.observe.extremes import BARRED
from bevel.passes.graph.edit import producer
from bevel.passes.graph.quantizers import constant_source
from bevel.passes.operators.base import Reason

Truths = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Masked:
    """A Softmax of what `node` leaves of its input `place`: scores. keep: which elements, constant truth values, or a
    tensor of them, of which `inverted` are barred. factor: what the scores are multiplied by, by `scaling`."""

    node: gs.Node
    place: int
    keep: Truths | gs.Variable
    inverted: bool = False
    factor: float = 1.0
    scaling: gs.Node | None = None

    @property
    def nodes(self) -> tuple[gs.Node, ...]:
        return (self.node,) if self.scaling is None else (self.node, self.scaling)

    @property
    def scores(self) -> gs.Tensor:
        return self.node.inputs[self.place]


def find_masked(softmax: gs.Node) -> Masked | Reason | None:
    """The mask before a Softmax; a reason where there is one that is not taken; None where there is none."""
    scaling, factor = scaled(producer(softmax.inputs[0]))
    node = producer((softmax if scaling is None else scaling).inputs[0])
    found = None if node is None else added(node, BARRED / factor) or chosen(node, BARRED / factor)
    if found is None or node is None:
        return None
    if any(len(one.outputs[0].outputs) != 1 for one in (node, scaling) if one is not None):
        return Reason(f"its mask stays apart: {node.name} is read by others, too")
    if list(found.scores.shape) != list(node.outputs[0].shape):
        return Reason(f"its mask stays apart: {node.name} makes more of the scores than they are")
    axis = int(softmax.attrs.get("axis", -1)) % len(softmax.inputs[0].shape)
    if isinstance(found.keep, gs.Variable):
        missing = len(softmax.inputs[0].shape) - len(found.keep.shape)
        if axis < missing or found.keep.shape[axis - missing] != softmax.inputs[0].shape[axis]:
            return Reason("its mask stays apart: it bars whole rows")
    elif not np.broadcast_to(found.keep, softmax.inputs[0].shape).any(axis=axis).all():
        return Reason("its mask stays apart: it bars whole rows")
    return replace(found, factor=factor, scaling=scaling)


def scaled(node: gs.Node | None) -> tuple[gs.Node | None, float]:
    """A product of scores with a positive number, and the number."""
    if node is None or node.op not in ("Mul", "Div"):
        return None, 1.0
    values = constant_of(node.inputs[1])
    number = float(values.reshape(())) if values is not None and values.size == 1 else 0.0
    if not 0 < number < np.inf or len(node.outputs[0].shape) != len(node.inputs[0].shape):
        return None, 1.0
    return node, number if node.op == "Mul" else 1 / number


def added(node: gs.Node, barring: float) -> Masked | None:
    """Scores and a constant of zeros and numbers so far below that they bar."""
    if node.op not in ("Add", "Sub"):
        return None
    for place in (0, 1) if node.op == "Add" else (0,):
        constant = constant_of(node.inputs[1 - place])
        if constant is None or constant_of(node.inputs[place]) is not None:
            continue
        moved = constant if node.op == "Add" else -constant
        barred = moved <= barring
        if barred.any() and not moved[~barred].any():
            return Masked(node, place, ~barred)
    return None


def chosen(node: gs.Node, barring: float) -> Masked | None:
    """Scores where truth values say so, else a constant that bars."""
    if node.op != "Where":
        return None
    for place in (1, 2):
        constant = constant_of(node.inputs[3 - place])
        if constant is None or constant_of(node.inputs[place]) is not None or not (constant <= barring).all():
            continue
        truths, inverted = node.inputs[0], place == 2
        if not isinstance(truths, gs.Constant):
            return Masked(node, place, truths, inverted)
        keep = np.asarray(truths.values, bool)
        return Masked(node, place, ~keep if inverted else keep)
    return None


def constant_of(tensor: gs.Tensor) -> NDArray[np.float32] | None:
    """Of a float constant its values; quantized ones mean no mask."""
    source = constant_source(tensor)
    if source is None or not isinstance(tensor, gs.Constant) or source.values.dtype.kind != "f":
        return None
    return np.asarray(source.values)


def prefix_of(keep: Truths) -> NDArray[np.int32] | None:
    """How many of each row's first elements `keep` [..., n] keeps; None where those of some row are not its first."""
    kept = keep.sum(axis=-1)
    return kept.astype(np.int32) if (keep == (np.arange(keep.shape[-1]) < kept[..., np.newaxis])).all() else None
