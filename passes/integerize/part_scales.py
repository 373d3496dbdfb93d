"""Outputs whose parts were dequantized by scales of their own: the codes are moved, and dequantized at the end.

    move(DQ(a), DQ(b), ...) == DQ(move(a, b, ...))      with the scale of the part that each element comes from

ONNX has such a DequantizeLinear where one axis says which part an element is of (a Concat of boxes and scores, and the
Reshapes and Transposes behind it that keep the axis): scale and zero point are vectors along it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_graphsurgeon as gs

from bevel.calib.arithmetic.requantize import Output
from bevel.passes.graph.moves import MoveChain, axis_of, find_chain
from bevel.passes.integerize.integerizer import Integerizer, Meaning
from bevel.passes.operators import find_operator
from bevel.passes.operators.base import Activation, Reason, Site

CODES = ("int8", "int16")


@dataclass(frozen=True)
class Parted:
    """A chain of moves that reads codes of `parts`; along `axis` of its result they have scales of their own."""

    chain: MoveChain
    parts: tuple[Activation, ...]
    meaning: Meaning


def find_parted(made: Integerizer, result: gs.Tensor) -> Parted | None:
    """How the codes of an output mean its reals, where what makes it only moves dequantized tensors of one type."""
    chain = find_chain(result, lambda tensor: tensor.name in made.reals)
    if chain is None or chain.constants or any(leaf.name not in made.reals for leaf in chain.leaves):
        return None
    parts = tuple(made.reals[leaf.name] for leaf in chain.leaves)
    if len({part.dtype for part in parts}) != 1 or parts[0].dtype not in CODES:
        return None
    if any(isinstance(find_operator(node), Reason) for node in chain.nodes):
        return None
    scales = list(dict.fromkeys((part.scale, part.zero_point) for part in parts))
    labels = np.array([scales.index((part.scale, part.zero_point)) for part in parts])[chain.origins()]
    axis = axis_of(labels)
    if axis is None:
        return None
    lines = np.moveaxis(labels, axis, 0).reshape(labels.shape[axis], -1)[:, 0]
    along = [scales[label] for label in lines]
    return Parted(chain, parts, Meaning(tuple(one[0] for one in along), tuple(one[1] for one in along), axis))


def move_codes(made: Integerizer, parted: Parted) -> gs.Variable:
    """The codes of the result, and the nodes that move them there."""
    moved = {leaf.name: part.tensor for leaf, part in zip(parted.chain.leaves, parted.parts, strict=True)}
    dtype = parted.parts[0].dtype
    same = Output(0, int(np.iinfo(dtype).min), int(np.iinfo(dtype).max), dtype)  # any scale: nothing is computed
    for node in parted.chain.nodes:
        for index, tensor in enumerate(node.outputs):
            found = find_operator(node)
            if isinstance(found, Reason):
                raise TypeError(f"{node.name} moves no integers: {found}")
            operator, match = found
            codes = gs.Variable(f"{tensor.name}/codes", np.dtype(dtype), tensor.shape)
            inputs = tuple(
                Activation(moved[one.name], 1.0, 0, same.low, same.high)
                if one.name in moved
                else np.asarray(one.values)
                for one in match.inputs
            )
            nodes = operator.integerize(Site(node, inputs, codes, 1.0, same, index))
            if isinstance(nodes, Reason):
                raise TypeError(f"{node.name} moves no integers: {nodes}")
            made.nodes += nodes
            moved[tensor.name] = codes
    result = moved[parted.chain.result.name]
    assert isinstance(result, gs.Variable)
    return result


def dequantize_parts(name: str, codes: gs.Variable, meaning: Meaning, result: gs.Variable) -> gs.Node:
    constants = [
        gs.Constant(f"{name}/scale", np.array(meaning.scale, np.float32)),
        gs.Constant(f"{name}/zero_point", np.array(meaning.zero_point, codes.dtype)),
    ]
    return gs.Node("DequantizeLinear", f"{name}/dequantize", {"axis": meaning.axis}, [codes, *constants], [result])
