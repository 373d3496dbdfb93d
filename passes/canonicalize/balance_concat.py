"""Balance the weights of a product between the parts of the Concat that it reads.

    w . concat(x, z) == (w / f) . concat(f_x * x, f_z * z),    f a power of two for each part

A network that joins quantities of unlike units (metres beside volts) has learned weights that bring them together:
large numbers have small weights. In integers, one scale for all of the Concat and one for all weights of an output
channel lose the small ones of both. With f the ratio of a part's largest weight to that of all, the weights are alike,
and so are the terms' shares of the input's range. Source: the cross-layer equalization of Nagel et al. 2019,
"Data-Free Quantization Through Weight Equalization and Bias Correction", section 4.1, from weights alone. Price: a
product with a constant for each part that is scaled, which joins the table or the weights before it where it can.
Powers of two change no bit of the float result but where it overflows or underflows.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import frexp
from typing import ClassVar

import numpy as np
import onnx_graphsurgeon as gs

from bevel.passes.base import Condition, Pass, PassResult, Work
from bevel.passes.conditions import STATIC_SHAPES
from bevel.passes.graph.edit import Array, alive, append, constant, read_once, static_shape, variable
from bevel.passes.graph.quantizers import is_dequantize, is_quantize

LEAST = 4  # binades between a part's weights and the largest: less costs int8 no more than scaling would


@dataclass(frozen=True)
class Joined:
    """A Concat of computed parts that one product with constant weights alone reads."""

    concat: gs.Node
    product: gs.Node
    weights: Array
    axis: int  # of the input channels in the weights
    sizes: tuple[int, ...]  # channels of each part


@dataclass(frozen=True)
class BalanceConcat(Pass):
    """Models that came quantized keep their scales."""

    name: ClassVar[str] = "balance-concat"
    requires: ClassVar[tuple[Condition, ...]] = (STATIC_SHAPES,)

    def call(self, work: Work) -> PassResult:
        graph = work.graph
        if any(is_quantize(node) or is_dequantize(node) for node in graph.nodes):
            return work.result(False)
        notes = []
        for node in alive(graph):
            joined = find(graph, node)
            exponents = decide(joined) if joined is not None else ()
            if joined is not None and any(exponents):
                change(graph, joined, exponents)
                text = f"parts scaled by 2**{list(exponents)}, as their weights differ so much"
                notes.append(self.note(node.name, "changed", text))
        return work.result(bool(notes), notes)


def find(graph: gs.Graph, concat: gs.Node) -> Joined | None:
    if concat.op != "Concat" or not read_once(graph, concat.outputs[0]) or concat.outputs[0].dtype != np.float32:
        return None
    (product,) = concat.outputs[0].outputs
    if product.op not in ("Conv", "Gemm") or product.inputs[0] is not concat.outputs[0]:
        return None
    weights, shape = product.inputs[1], static_shape(concat.outputs[0])
    if not isinstance(weights, gs.Constant) or shape is None or not all_computed(concat):
        return None
    grouped = product.op == "Conv" and product.attrs.get("group", 1) != 1
    if grouped or product.attrs.get("transA", 0) or int(concat.attrs["axis"]) % len(shape) != 1:
        return None
    axis = 1 if product.op == "Conv" or product.attrs.get("transB", 0) else 0
    return Joined(concat, product, np.asarray(weights.values), axis, tuple(int(x.shape[1]) for x in concat.inputs))


def all_computed(concat: gs.Node) -> bool:
    return all(isinstance(part, gs.Variable) and static_shape(part) is not None for part in concat.inputs)


def decide(joined: Joined) -> tuple[int, ...]:
    """By how many binades each part's values are to be scaled: 0 where its weights are near the largest, or all 0."""
    parts = np.split(joined.weights, np.cumsum(joined.sizes)[:-1], joined.axis)
    largest = [float(np.abs(part).max(initial=0.0)) for part in parts]
    exponents = [frexp(one)[1] - frexp(max(largest))[1] if one else 0 for one in largest]
    return tuple(one if one <= -LEAST else 0 for one in exponents)


def change(graph: gs.Graph, joined: Joined, exponents: tuple[int, ...]) -> None:
    name = joined.concat.name
    for place, exponent in enumerate(exponents):
        if exponent:
            part = joined.concat.inputs[place]
            scaled = variable(graph, f"{name}.part{place}", np.float32, part.shape)
            factor = constant(graph, f"{name}.factor{place}", np.array(2.0**exponent, np.float32))
            append(graph, "Mul", f"{name}.part{place}", [part, factor], scaled)
            joined.concat.inputs[place] = scaled
    along = [-1 if axis == joined.axis else 1 for axis in range(joined.weights.ndim)]
    raised = np.repeat([2.0**-exponent for exponent in exponents], joined.sizes).astype(np.float32).reshape(along)
    weights = constant(graph, f"{joined.product.name}.balanced", joined.weights * raised)
    joined.product.inputs[1] = weights
