"""The integer model with its weights rounded to fewer bits once more: what a program of switchable width computes.

For a product that keeps one set of int8 weights and can run them at fewer bits, there is a model more for each width.
Scales, multipliers and shifts stay; see `bevel.backends.program.switching` for the rounding, which rounds up halves and
so makes sums larger in the mean. Biases are stored for each width anyway, and take the mean error out, as
`bevel.passes.quantize.correct_bias` does: sum((w - w_b) * E[x]), here in integers.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import ClassVar, NamedTuple

import numpy as np
import onnx
import onnx_graphsurgeon as gs
from numpy.typing import NDArray

from bevel.backends.program.switching import rounded
from bevel.calib.errors import UserError
from bevel.calib.observe.observe import run_model, session_with_outputs
from bevel.passes.base import Pass, PassResult, Stage, Work
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
MEAN_SAMPLES = 64  # more change the means of whole channels little
PRUNE = "prune-constant-channels"

Means = Mapping[str, NDArray[np.float64]]


class WeightRead(NamedTuple):
    """What a node with weights reads: the tensor, its zero point, and the axis of its channels."""

    tensor: str
    zero_point: int
    channels: int


@dataclass(frozen=True)
class SwitchWidths(Pass):
    """bits: the widths of weights below 8 that the product can change to, such as `6,4,2`; none without. corrected:
    whether biases take out the mean of what rounding lost, on up to `MEAN_SAMPLES` samples. The graph stays as it is;
    `narrower` is new. Raises UserError for a model with other weights than int8."""

    name: ClassVar[str] = "switch-widths"
    stage: ClassVar[Stage] = "integerize"
    follows: ClassVar[tuple[str, ...]] = ("integerize", "fuse-rounding", "fuse-pixels", PRUNE, "share-constants")
    bits: str = ""
    corrected: bool = True

    def __post_init__(self) -> None:
        words = [word.strip() for word in self.bits.split(",")] if self.bits else []
        if not set(words) <= set("765432") or len(set(words)) < len(words):
            raise UserError(f"pass {self.name}, bits = {self.bits!r}: write widths from 2 to 7, such as 6,4,2")

    def call(self, work: Work) -> PassResult:
        if not self.bits:
            return work.result(False)
        integer = export(work.graph, work.ports, work.states)
        samples = islice(work.data or (), MEAN_SAMPLES) if self.corrected else ()
        means = input_means(integer, [integers(one, work) for one in samples])
        narrower = {bits: switch_width(integer, bits, means) for bits in map(int, self.bits.split(","))}
        text = f"weights can be run at {self.bits} bits too, with biases of their own"
        note = self.note("model", "chosen", f"{text}, corrected for what rounding loses" if means else text)
        return work.result(False, [note], narrower=narrower)


def integers(sample: Mapping[str, Array], work: Work) -> dict[str, Array]:
    """The sample as the inputs of the integer graph take it: ONNX QuantizeLinear where these are integers of reals."""
    found = dict(sample)
    for tensor in work.graph.inputs:
        if tensor.name in work.ports and tensor.dtype != np.float32:
            scale, zero_point = work.ports[tensor.name][:2]
            limits = np.iinfo(tensor.dtype)
            codes = np.rint(sample[tensor.name] / np.float32(scale)) + zero_point
            found[tensor.name] = np.clip(codes, limits.min, limits.max).astype(tensor.dtype)
    return found


def input_means(integer: onnx.ModelProto, samples: Sequence[Mapping[str, Array]]) -> Means | None:
    """The mean of each channel, less its zero point, of what each node with weights reads; None without samples."""
    read = weighted_inputs(integer)
    session, outputs = session_with_outputs(integer, [one.tensor for one in read.values()])
    runs = (run_model(session, outputs, sample, run) for run, sample in enumerate(samples))
    found = [
        {name: channel_mean(values[one.tensor], one.zero_point, one.channels) for name, one in read.items()}
        for values in runs
    ]
    return {name: np.mean([means[name] for means in found], axis=0) for name in read} if found else None


def channel_mean(codes: Array, zero_point: int, axis: int) -> NDArray[np.float64]:
    others = tuple(place for place in range(codes.ndim) if place != axis % codes.ndim)
    return np.asarray(codes.mean(axis=others, dtype=np.float64) - zero_point)


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
