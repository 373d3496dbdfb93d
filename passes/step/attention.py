"""Attention over the columns that came: keys and values are kept, and a step computes one row of scores.

    scores = q K^T      [.., T, d] by [.., d, T]: in a step [.., 1, d] by all of K, of which rows behind the position
                        are zeros, or what was written before a reset
    scores + mask       rows of a causal mask: elements of columns behind the position are barred
    softmax(scores) V   [.., 1, T] by all of V: those elements are 0, whatever V has there

What is kept is what is computed before heads are laid out and repeated: a row is written at the position, and the moves
that follow go over all of it.
"""

from __future__ import annotations

import numpy as np
import onnx_graphsurgeon as gs
from numpy.typing import NDArray

from bevel.calib.observe.extremes import BARRED
from bevel.passes.graph.edit import given, producer
from bevel.passes.graph.regions import words
from bevel.passes.operators.base import Reason
from bevel.passes.step.base import PAST, PRESENT, Role, Seen, StepMaker
from bevel.passes.step.columns import Columns, Unseen
from bevel.passes.step.position import position, positioned, row_of
from bevel.passes.step.quantized import chain_of, constant_values, name_of, quantized_like

MOVES = frozenset({"Reshape", "Transpose", "Expand", "Tile", "Flatten", "Squeeze", "Unsqueeze"})
KEEP_LOW = words("Add Clip Div Identity Max Min Mul Sub Sum Where")
KEEP_ZERO = words("Abs Ceil Clip Div Erf Floor Identity LeakyRelu Mul Neg Relu Round Sign Sqrt Tanh")
MAKE_ZERO = words("Exp Relu Sigmoid")  # of what is low
BAR = -1e9  # what is written for scores that do not count

Truths = NDArray[np.bool_]


def attend(node: gs.Node, seen: Seen) -> Columns | Reason:
    """A product of columns by columns: scores, or shares by values."""
    (_, one), (_, other) = seen.timed(node)[0], seen.timed(node)[-1]
    rank = len(node.outputs[0].shape)
    if node.op != "MatMul" or any(len(tensor.shape) != rank for tensor in node.inputs):
        return Reason("it multiplies columns by columns")
    if (one.length, one.stride) != (other.length, other.stride) or one.axis != rank - 2 or other.across is not None:
        return Reason("it multiplies columns by columns")
    if isinstance(kept := positioned(other, node.name, seen), Reason):
        return kept
    if one.across is None and other.axis == rank - 1:
        return Columns(rank - 2, one.length, across=rank - 1).bound_by(node.name)
    if one.across == rank - 1 and other.axis == rank - 2:
        if one.unseen is not Unseen.ZERO:
            return Reason("it sums over columns that have not come: their shares are not 0")
        return Columns(rank - 2, one.length).bound_by(node.name)
    return Reason("it multiplies columns by columns")


# The mask


def unseen(node: gs.Node, view: Columns) -> Unseen:
    """What an operator on each score, which lie as `view` says, leaves of columns that have not come."""
    if causal(node, view):
        return Unseen.BARRED
    match view.unseen:
        case Unseen.BARRED if node.op in MAKE_ZERO:
            return Unseen.ZERO
        case Unseen.BARRED if node.op in KEEP_LOW and not lifts(node):
            return Unseen.BARRED
        case Unseen.ZERO if node.op in KEEP_ZERO and not moves_zero(node):
            return Unseen.ZERO
        case Unseen.ZERO if node.op == "Where" and chooses_zeros(node):
            return Unseen.ZERO
    return Unseen.COUNTED


def lifts(node: gs.Node) -> bool:
    """Whether what is low may not stay so: behind a constant less scores, or over them, scores by what is not positive,
    or a choice between scores and what is not low."""
    values = [constant_values(one) for one in node.inputs]
    match node.op:
        case "Sub" | "Div" if values[0] is not None:
            return True
        case "Mul" | "Div":
            return any(one is not None and not (one.astype(np.float32) > 0).all() for one in values)
        case "Max" | "Where":
            beside = values[1:] if node.op == "Where" else values
            return beside.count(None) > 1 or not all(low(one).all() for one in beside if one is not None)
        case "Clip":
            return given(node, 1) is not None and (values[1] is None or not low(values[1]).all())
    return False


def moves_zero(node: gs.Node) -> bool:
    """Whether zeros may not stay so: they are what is divided by, or out of a Clip's bounds."""
    match node.op:
        case "Div":
            return constant_values(node.inputs[0]) is not None
        case "Clip":
            bounds = [(sign, one) for sign, place in ((1, 1), (-1, 2)) if (one := given(node, place)) is not None]
            return any(
                (value := constant_values(one)) is None or (sign * value.astype(np.float32) > 0).any()
                for sign, one in bounds
            )
    return False


def chooses_zeros(node: gs.Node) -> bool:
    """Whether a Where has zeros beside what it leaves."""
    values = [constant_values(one) for one in node.inputs[1:]]
    return any(one is not None and not one.any() for one in values)


def causal(node: gs.Node, view: Columns) -> bool:
    """Whether an operator on scores bars, for each column, those behind it, with a row of its own."""
    barred = barred_by(node)
    if barred is None or view.across is None:
        return False
    rank, length = len(node.outputs[0].shape), view.length
    place = view.axis - (rank - barred.ndim)
    if place < 0 or barred.shape[place] != length:
        return False
    whole = np.broadcast_to(barred, np.broadcast_shapes(barred.shape, (1,) * (rank - 2) + (length, length)))
    behind = np.triu(np.ones((length, length), bool), 1)
    return bool((np.moveaxis(whole, (view.axis, view.across), (-2, -1)) | ~behind).all())


def barred_by(node: gs.Node) -> Truths | None:
    """The elements of scores that a constant mask bars; None of an operator that is none."""
    values = [constant_values(one) for one in node.inputs]
    if node.op == "Add" and (mask := next((one for one in values if one is not None), None)) is not None:
        return low(mask)
    if node.op == "Sub" and values[1] is not None:
        return low(-values[1].astype(np.float32))
    if node.op == "Where" and values[0] is not None:
        for fill, truths in ((values[1], values[0].astype(bool)), (values[2], ~values[0].astype(bool))):
            if fill is not None and low(fill).all():
                return np.asarray(truths)
    return None


def low(values: NDArray[np.generic]) -> Truths:
    """What bars."""
    return np.asarray(values.astype(np.float32) <= BARRED)


def kept_scores(node: gs.Node, view: Columns) -> Truths | None:
    """The scores that a mask keeps as they are, where it does nothing else; None where it does."""
    barred = barred_by(node)
    if barred is None or not causal(node, view):
        return None
    if node.op == "Where":
        return ~barred
    mask = next(one for one in map(constant_values, node.inputs) if one is not None)
    return ~barred if not mask[~barred].any() else None


def bar(node: gs.Node, keep: Truths, maker: StepMaker) -> None:
    """The row of a mask, as truth values."""
    view, rank = maker.seen.views[node.outputs[0].name], len(node.outputs[0].shape)
    scores = next(one for one in node.inputs if maker.seen.of(one) is not None)
    mask = gs.Constant(f"{node.name}/keep", keep)
    row = row_of(maker, mask, keep, view.axis - (rank - keep.ndim))
    fill = gs.Constant(f"{node.name}/bar", np.array(BAR, np.float32))
    output = maker.new(node.outputs[0])
    maker.nodes.append(gs.Node("Where", node.name, {}, [row, maker.take(scores), fill], [output]))


# What is kept


def kept_rows(maker: StepMaker, tensor: gs.Tensor, role: Role) -> gs.Tensor:
    """All rows of a factor that lies in time, as many as the full form has."""
    key = f"{tensor.name}/kept"
    if key in maker.made:
        return maker.made[key]
    chain = chain_of(tensor)
    node = producer(chain[0].inputs[0] if chain else tensor)
    if node is not None and node.op in MOVES and node.inputs[0].name in maker.seen.views:
        source = [kept_rows(maker, node.inputs[0], role), *map(maker.take, node.inputs[1:])]
        moved = maker.add(node.op, f"{node.name}/kept", source, tensor.shape, **node.attrs)
        maker.made[key] = quantized_like(tensor, moved, maker.nodes)
    else:
        maker.made[key] = written(maker, tensor, role)
    return maker.made[key]


def written(maker: StepMaker, tensor: gs.Tensor, role: Role) -> gs.Tensor:
    """A state of rows, one of which is written at the position."""
    view, shape, name = maker.seen.views[tensor.name], [int(size) for size in tensor.shape], name_of(tensor)
    maker.cached |= {one.name: role for one in tensor.inputs}
    first = [view.axis, *(axis for axis in range(len(shape)) if axis != view.axis)]
    width = int(np.prod(shape)) // view.length
    past = gs.Variable(f"{name}/{PAST}", tensor.dtype, [view.length, width])
    held = quantized_like(tensor, past, maker.nodes)
    row = reshaped(maker, tensor, f"{name}/row", maker.take(tensor), [1, width])
    place = position(maker)
    rows = maker.add("ScatterND", f"{name}/written", [held, place, row], [view.length, width])
    present = quantized_like(tensor, rows, maker.nodes)
    present.name = f"{name}/{PRESENT}"
    maker.inputs.append(past)
    maker.outputs.append(present)
    maker.states[past.name] = present.name
    laid = reshaped(maker, tensor, f"{name}/rows", present, [shape[axis] for axis in first])
    if first == sorted(first):
        return laid
    back = [first.index(axis) for axis in range(len(shape))]
    return quantized_like(tensor, maker.add("Transpose", f"{name}/laid", [laid], shape, perm=back), maker.nodes)


def reshaped(maker: StepMaker, like: gs.Tensor, name: str, given: gs.Tensor, shape: list[int]) -> gs.Tensor:
    wanted = gs.Constant(f"{name}/shape", np.array(shape, np.int64))
    return quantized_like(like, maker.add("Reshape", name, [given, wanted], shape), maker.nodes)
