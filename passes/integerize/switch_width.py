"""The integer model with its weights rounded to fewer bits once more: what a program of switchable width computes.

Scales, multipliers and shifts stay; see `bevel.backends.program.switching` for the rounding, which rounds up halves and
so makes sums larger in the mean. Biases are stored for each width anyway, and take the mean error out, as
`bevel.passes.quantize.correct_bias` does: sum((w - w_b) * E[x]), here in integers.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import onnx
import onnx_graphsurgeon as gs
from numpy.typing import NDArray

from bevel.backends.program.switching import rounded
from bevel.calib.errors import UserError
from bevel.passes.exchange.export import PORTS, export
from bevel.passes.exchange.unpack_weights import unpack_weights
from bevel.passes.graph.edit import Array
from bevel.passes.operators.base import DOMAIN
from bevel.passes.operators.products.accumulate import ACCUMULATOR_LIMIT
from bevel.passes.partition.partition import metadata
from bevel.passes.quantize.correct_bias import mean_error

CONVOLUTIONS, MATRICES = ("Conv", "EvenConv"), ("Gemm", "EvenGemm")
OPERATORS = (*CONVOLUTIONS, *MATRICES, "ConvTranspose", "EvenConvTranspose")
WEIGHTS, BIAS = 1, 2
LARGEST_INPUT = 255

Means = Mapping[str, NDArray[np.float64]]


class WeightRead(NamedTuple):
    """What a node with weights reads: the tensor, its zero point, and the axis of its channels."""

    tensor: str
    zero_point: int
    channels: int


def weighted_inputs(integer: onnx.ModelProto) -> dict[str, WeightRead]:
    """{node with weights: what it reads}."""
    nodes = [node for node in integer.graph.node if node.domain == DOMAIN and node.op_type in OPERATORS]
    points = {node.name: {one.name: one.i for one in node.attribute}["x_zero_point"] for node in nodes}
    return {
        node.name: WeightRead(node.input[0], points[node.name], -1 if node.op_type in MATRICES else 1) for node in nodes
    }


def switch_width(integer: onnx.ModelProto, bits: int, means: Means | None = None) -> onnx.ModelProto:
    """`integer` with weights of `bits` bits, 2 to 8.

    means: [channels] for each node with weights, the mean of its input's integers less their zero point, where biases
    are to be corrected. Raises UserError for a model without int8 weights, and for sums that may leave int32.
    """
    graph = gs.import_onnx(integer)
    unpack_weights(graph)
    nodes = [node for node in graph.nodes if node.domain == DOMAIN and node.op in OPERATORS]
    wide = [node.name for node in graph.nodes if node.domain == DOMAIN and node.op in ("WideConv", "WideGemm")]
    if wide or not nodes:
        found = f"those of {wide[0]} are not" if wide else "the model has none"
        raise UserError(f"only int8 weights can change their width, and {found}; leave out --switchable, or --weights")
    for node in nodes:
        weights, bias = (np.asarray(node.inputs[place].values) for place in (WEIGHTS, BIAS))
        narrow = rounded(weights, bits)
        if means is not None:
            lost = weights.astype(np.float64) - narrow
            error = mean_error(lost, means[node.name], weight_axis(node), int(node.attrs.get("group", 1)))
            bias = (bias + np.rint(error).astype(np.int64).reshape(bias.shape)).astype(bias.dtype)
        check_sums(node, narrow, bias)
        node.inputs[WEIGHTS] = gs.Constant(f"{node.name}/weight/{bits}bit", narrow)
        node.inputs[BIAS] = gs.Constant(f"{node.name}/bias/{bits}bit", bias)
    told = metadata(integer).get(PORTS)
    return export(graph, None if told is None else json.loads(told))


def weight_axis(node: gs.Node) -> int:
    """The axis of the output channels in a node's weights."""
    return 0 if node.op in CONVOLUTIONS else 1


def check_sums(node: gs.Node, weights: Array, bias: Array) -> None:
    axis = weight_axis(node)
    others = tuple(place for place in range(weights.ndim) if place != axis)
    largest = np.abs(weights.astype(np.int64)).sum(axis=others) * LARGEST_INPUT
    if int(largest.max()) + int(np.abs(bias.astype(np.int64)).max()) >= ACCUMULATOR_LIMIT:
        raise UserError(f"node {node.name}: its sums at fewer bits may leave int32; leave out --switchable")
