"""Recurrent layers go on from the states that the step before left.

    Y, Y_h, Y_c = LSTM(X, .., initial_h, initial_c): of new columns, with what Y_h and Y_c were

A sequence begins with zeros, so those that begin with other states, read backwards or know lengths have no step form.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import onnx_graphsurgeon as gs

from bevel.passes.graph.edit import given, producer
from bevel.passes.graph.quantizers import is_dequantize
from bevel.passes.graph.regions import words
from bevel.passes.operators.base import Reason
from bevel.passes.step.base import PAST, PRESENT, Seen, StepMaker, StepRule
from bevel.passes.step.columns import Columns
from bevel.passes.step.quantized import constant_values, quantized_constant_like

LENGTHS, HIDDEN, CELL = 4, 5, 6  # places of inputs
PLACES = {"h": (HIDDEN, 1), "c": (CELL, 2)}  # of a state among inputs and outputs


class StepRecurrent(StepRule):
    operators: ClassVar = words("LSTM GRU RNN")
    first_lies_in_time: ClassVar = True

    def look(self, node: gs.Node, seen: Seen) -> Columns | Reason:
        timed = seen.timed(node)
        if len(timed) > 1 or timed[0][0] is not node.inputs[0]:
            return Reason("its weights or states are computed from the input")
        view, tick = timed[0][1], seen.tick
        if node.attrs.get("direction", "forward") not in ("forward", b"forward"):
            return Reason("it reads backwards, from the newest column on: each step would have to begin anew")
        if node.attrs.get("layout", 0) or view.axis != 0 or given(node, LENGTHS) is not None:
            return Reason("its steps are no columns of time, or have lengths")
        for place, _ in states_of(node).values():
            values = None if given(node, place) is None else constant_values(node.inputs[place])
            if given(node, place) is not None and (values is None or values.any()):
                return Reason("it begins with states other than zeros")
        if view.late or (tick is not None and tick.before(view)):
            return Reason("in a stream, it would have read columns before the first")
        return view.bound_by(node.name)

    def make(self, node: gs.Node, maker: StepMaker) -> None:
        inputs = [maker.take(one) for one in node.inputs]
        inputs += [gs.Variable.empty() for _ in range(CELL + 1 - len(inputs))]
        outputs = [gs.Variable.empty() if one.is_empty() else maker.new(one) for one in node.outputs]
        outputs += [gs.Variable.empty() for _ in range(len(states_of(node)) + 1 - len(outputs))]
        shape = [1, int(node.inputs[0].shape[1]), int(node.attrs["hidden_size"])]
        ends: list[tuple[str, gs.Tensor, gs.Tensor | None]] = []
        for name, (place, end) in states_of(node).items():
            like, past = given(node, place), gs.Variable(f"{node.name}/{name}/{PAST}", np.float32, shape)
            inputs[place] = past if like is None else through(like, past, maker)
            if outputs[end].is_empty():
                outputs[end] = gs.Variable(f"{node.name}/{name}/after", np.float32, shape)
            maker.inputs.append(past)
            ends.append((past.name, outputs[end], like))
        kept = inputs if node.op == "LSTM" else inputs[: HIDDEN + 1]
        maker.nodes.append(gs.Node(node.op, node.name, dict(node.attrs), kept, outputs))
        for past_name, after, like in ends:
            present = keep(past_name.removesuffix(PAST) + PRESENT, after, like, maker)
            maker.outputs.append(present)
            maker.states[past_name] = present.name


def keep(name: str, after: gs.Tensor, like: gs.Tensor | None, maker: StepMaker) -> gs.Tensor:
    """A state behind a step, as an output."""
    if like is not None and is_dequantize(producer(like)):
        found = through(like, after, maker)
        found.name = name
        return found
    return maker.add("Identity", name, [after], after.shape)


def through(like: gs.Tensor, tensor: gs.Tensor, maker: StepMaker) -> gs.Tensor:
    """`tensor` in the quantization of constant states."""
    return quantized_constant_like(like, tensor, maker.nodes)


def states_of(node: gs.Node) -> dict[str, tuple[int, int]]:
    return PLACES if node.op == "LSTM" else {"h": PLACES["h"]}
