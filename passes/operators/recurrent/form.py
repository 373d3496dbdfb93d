"""What a recurrent node says, whatever it leaves out: one direction of LSTM, GRU or RNN, with steps along axis 0.

Canonicalization has brought it to that (`bevel.passes.canonicalize.unify_recurrent`): two directions are two nodes,
and initial states are always there, constants of zeros where the model has none. Those say in a
quantized model how its states are scaled.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_graphsurgeon as gs
from numpy.typing import NDArray

from bevel.calib.arithmetic.float_cell import GATES, STATES, FloatCell
from bevel.calib.arithmetic.gate_functions import GateFunction, gate_functions
from bevel.calib.arithmetic.recurrent import gate_step
from bevel.calib.observe.base import Want
from bevel.calib.observe.recurrent_range import RecurrentRange
from bevel.calib.observe.statistics import Statistics
from bevel.passes.canonicalize.unify_recurrent import BIAS, INITIAL, LENGTHS, PEEPHOLES, direction_of, names_of
from bevel.passes.graph.edit import given
from bevel.passes.graph.quantizers import constant_source, is_dequantize, parameters
from bevel.passes.operators.base import Reason, State

Array = NDArray[Any]

HEADROOM = 4.0  # of the range of what nothing bounds: two bits of sixteen, for sequences unlike those seen


def reals(tensor: gs.Tensor | None) -> Array | None:
    """The values of a constant, or of one behind a DequantizeLinear, in float64; None where there is none."""
    source = None if tensor is None else constant_source(tensor)
    if tensor is None or source is None:
        return None
    codes = np.asarray(source.values).astype(np.float64)
    if source is tensor:
        return codes
    (node,) = tensor.inputs
    found = parameters(node) if is_dequantize(node) else None
    if found is None:
        return None
    shape = [-1 if place == found.axis % codes.ndim else 1 for place in range(codes.ndim)] if found.scale.ndim else []
    scale, zero = found.scale.reshape(shape).astype(np.float64), found.zero_point.reshape(shape).astype(np.float64)
    return (codes - zero) * scale


def cell_of(node: gs.Node) -> FloatCell | Reason:
    """What the node computes, or why that has no integers."""
    attrs, op = node.attrs, str(node.op)
    direction = direction_of(node)
    if direction == "bidirectional":
        return Reason("its two directions were not rewritten")
    if given(node, LENGTHS) is not None:
        return Reason("its sequences have lengths of their own (sequence_lens)")
    weights = [reals(given(node, place)) for place in (1, 2)]
    if weights[0] is None or weights[1] is None:
        return Reason("its weights are computed")
    rows = GATES[op] * weights[1].shape[-1]
    rest = [given(node, place) for place in (BIAS, PEEPHOLES)]
    if any(tensor is not None and reals(tensor) is None for tensor in rest):
        return Reason("its biases or peepholes are computed")
    b, p = (
        np.zeros(size) if (values := reals(tensor)) is None else values.ravel()
        for tensor, size in zip(rest, (2 * rows, 0), strict=True)
    )
    try:
        functions = gate_functions(names_of(node), attrs.get("activation_alpha", ()), attrs.get("activation_beta", ()))
    except KeyError as error:
        return Reason(f"its function {error.args[0]} is none of ONNX's")
    return FloatCell(
        op,
        weights[0][0],
        weights[1][0],
        b,
        p,
        functions,
        tuple(None if one is None else one[0] for one in map(reals, node.inputs[INITIAL : INITIAL + STATES[op]])),
        float(np.float32(attrs.get("clip", np.inf))),
        direction == "reverse",
        bool(attrs.get("input_forget", 0)),
        bool(attrs.get("linear_before_reset", 0)),
    )


def gates_of(cell: FloatCell) -> tuple[GateFunction, ...]:
    """The functions of its gates, without that of a cell."""
    return cell.functions[:2]


def unbounded(cell: FloatCell) -> list[str]:
    """The functions of gates that go on changing, and that no clip bounds."""
    return [one.name for one in gates_of(cell) if gate_step(one, cell.clip) is None]


def needed_clip(node: gs.Node, cell: FloatCell, statistics: Statistics) -> float:
    """A clip beyond all that went into its gates."""
    seen = statistics.seen[states_of(node, cell)[0].want]
    assert isinstance(seen, RecurrentRange)
    return HEADROOM * max(*seen.entering, float(np.finfo(np.float32).tiny))


def states_of(node: gs.Node, cell: FloatCell) -> tuple[State, ...]:
    """h, and c of an LSTM."""
    x = node.inputs[0]
    initial = node.inputs[INITIAL : INITIAL + STATES[cell.op]]
    beside = tuple(one.name for one, known in zip(initial, cell.initial, strict=True) if known is None)
    want = Want(RecurrentRange, (cell, 0), beside)
    shown, cells = bound_of_state(cell), bound_of_cell(node, cell)
    ranges = [(1.0 if shown else HEADROOM, shown, np.inf), (HEADROOM, 0.0, cells)]
    outputs = [*node.outputs[1:], *[gs.Variable.empty()] * 2]
    return tuple(
        State(one, final, x.name, want, place, *ranges[place])
        for place, (one, final) in enumerate(zip(initial, outputs, strict=False))
    )


def bound_of_state(cell: FloatCell) -> float:
    """What no state made of bounded functions passes; 0 where they are not."""
    if cell.functions[-1].domain is None:
        return 0.0
    return bound(cell.functions[0]) * bound(cell.functions[2]) if cell.op == "LSTM" else bound(cell.functions[-1])


def bound_of_cell(node: gs.Node, cell: FloatCell) -> float:
    """What no cell that begins as a constant passes: a step adds i * g at most to it, if f is a share."""
    begins = cell.initial[-1]
    shares = cell.op == "LSTM" and cell.functions[0].domain is not None and bound(cell.functions[0]) <= 1
    if begins is None or not shares or cell.functions[1].domain is None:
        return np.inf
    return float(np.abs(begins).max(initial=0.0) + node.inputs[0].shape[0] * bound(cell.functions[1]))


def bound(function: GateFunction) -> float:
    """The largest magnitude of a function that saturates."""
    domain = function.domain or 0.0
    return float(np.abs(function(np.linspace(-domain, domain, 1001))).max())
