"""What depends on how many columns came before: rows of tables and masks, at a position that is a state.

The position counts the steps from a reset on, and stays at the last column of the full form: no table is longer, and
who goes on behind it overwrites the last row of what is kept. It is counted by a table, too, as indices are: each place
holds the next.
"""

from __future__ import annotations

import numpy as np
import onnx_graphsurgeon as gs
from numpy.typing import NDArray

from bevel.passes.operators.base import Reason
from bevel.passes.step.base import PAST, PRESENT, Seen, StepMaker
from bevel.passes.step.columns import Columns
from bevel.passes.step.quantized import name_of, quantized_constant_like, quantized_like

NAME = "position"


def positioned(view: Columns, node: str, seen: Seen) -> Columns | Reason:
    """`view` of what depends on the position; a reason where a step has no position in the full form."""
    tick = seen.tick
    if view.stride > 1 or view.late or (tick is not None and (tick.period > 1 or tick.before(view))):
        return Reason("it depends on the position of columns, of which a step has not one")
    return view.bound_by(node)


def position(maker: StepMaker) -> gs.Tensor:
    """int64 [1, 1]: how many steps there were before, at most the last column's index."""
    if NAME not in maker.made:
        length = maker.tick.steps
        now = gs.Variable(f"{NAME}/{PAST}", np.int64, [1, 1])
        following = np.minimum(np.arange(1, length + 1), length - 1).reshape(length, 1)
        then = maker.add("Gather", f"{NAME}/next", [gs.Constant(f"{NAME}/table", following), now], [1, 1, 1], axis=0)
        shape = gs.Constant(f"{NAME}/shape", np.array([1, 1], np.int64))
        after = maker.add("Reshape", f"{NAME}/{PRESENT}", [then, shape], [1, 1])
        maker.inputs.append(now)
        maker.outputs.append(after)
        maker.states[now.name] = after.name
        maker.made[NAME] = now
    return maker.made[NAME]


def row_of(maker: StepMaker, tensor: gs.Tensor, values: NDArray[np.generic], axis: int) -> gs.Tensor:
    """The column of a constant, `values`, at the position: it keeps its axes, one of them of one element."""
    key = f"{tensor.name}/at_{axis}"
    if key not in maker.made:
        shape = [1 if place == axis else size for place, size in enumerate(values.shape)]
        table = np.ascontiguousarray(np.moveaxis(values, axis, 0).reshape(values.shape[axis], -1))
        rows = gs.Constant(f"{key}/table", table)
        picked = maker.add("Gather", f"{key}/row", [rows, position(maker)], [1, 1, table.shape[1]], axis=0)
        picked = quantized_constant_like(tensor, picked, maker.nodes)
        wanted = gs.Constant(f"{key}/shape", np.array(shape, np.int64))
        laid = maker.add("Reshape", key, [picked, wanted], shape)
        maker.made[key] = quantized_constant_like(tensor, laid, maker.nodes)
    return maker.made[key]


def masked(maker: StepMaker, tensor: gs.Tensor) -> gs.Tensor:
    """The new columns of a tensor, with zeros for those from before the sequence: layers behind it pad there."""
    view, tick, given = maker.seen.views[tensor.name], maker.tick, maker.take(tensor)
    fresh = tick.fresh(view)
    newest = view.last - fresh * np.arange(tick.steps - 1, -1, -1)
    came = newest[:, None] - np.arange(fresh - 1, -1, -1) >= 0
    name, shape = f"{name_of(tensor)}/came", [fresh if axis == view.axis else 1 for axis in range(len(given.shape))]
    table = gs.Constant(f"{name}/table", came)
    row = maker.add("Gather", f"{name}/row", [table, position(maker)], [1, 1, fresh], axis=0)
    wanted = gs.Constant(f"{name}/shape", np.array(shape, np.int64))
    truths = maker.add("Reshape", name, [row, wanted], shape)
    zero = gs.Constant(f"{name}/zero", np.array(0, np.float32))
    found = gs.Variable(f"{name}/masked", tensor.dtype, list(given.shape))
    maker.nodes.append(gs.Node("Where", found.name, {}, [truths, given, zero], [found]))
    return quantized_like(tensor, found, maker.nodes)
