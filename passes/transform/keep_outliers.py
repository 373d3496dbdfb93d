"""The loudest channels of a product's input keep 8 bits, in a small product of their own; the others need less range.

    x W = (x m) W  +  x[S] W[S]        m: 0 for the channels in S, 1 for the others

Source: "ARCQuant: Boosting NVFP4 Quantization with Augmented Residual Channels for LLMs" 2026, which appends to 4-bit
inputs what these lost in the channels of largest magnitude, rounded to 4 bits again, and repeats their weights: two
digits of 4 bits for a few channels, in one product. Where kernels have products of 8 bits anyway, those channels take
them at once, as in Dettmers et al. 2022, "LLM.int8(): 8-bit Matrix Multiplication for Transformers at Scale" (there 16
bits, chosen while running). They leave the other input, whose scale they no longer set.

Price: a product of |S| channels more, a copy of the input, and a sum. It is for inputs below 8 bits.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import ClassVar

import numpy as np
import onnx_graphsurgeon as gs
from numpy.typing import NDArray

from bevel.calib.data.dataset import Runs
from bevel.calib.formats.format import INT8
from bevel.passes.base import Note
from bevel.passes.graph.edit import constant, variable
from bevel.passes.quantize.chosen import NodeFormat
from bevel.passes.transform.noise import mean_squares, rounded_values
from bevel.passes.transform.seen import channel_values, see
from bevel.passes.transform.smooth import decibels
from bevel.passes.transform.transform import Changed, Transform
from bevel.passes.transform.uses import Array

KEPT_BITS = INT8.bits
LEAST_GAIN = 2.0  # dB: an eighth of even channels at 8 bits brings one, without an outlier among them
LEAST = 16  # channels of a product's input: of fewer, a few are most of them


@dataclass(frozen=True)
class KeepOutliers(Transform):
    """ratio: of the channels of an input, at most so many keep 8 bits."""

    name: ClassVar[str] = "keep-outliers"
    ratio: float = 0.125

    def changed(self, graph: gs.Graph, samples: Runs) -> tuple[Changed | None, list[Note]]:
        nodes = [node for node in graph.nodes if takes(node)] if self.activation_bits < KEPT_BITS else []
        arrays = see(graph, [node.inputs[0].name for node in nodes], samples) if nodes else {}
        notes: list[Note] = []
        formats: dict[str, NodeFormat] = {}
        operations = 0
        for node in nodes:
            values = channel_values(arrays[node.inputs[0].name], -1)
            heard = np.square(np.asarray(node.inputs[1].values, np.float64)).sum(1)
            kept, gain = loudest(values, heard, ceil(self.ratio * len(heard)), self.activation_bits)
            if gain < LEAST_GAIN:
                continue
            (rows, out), many = map(int, node.outputs[0].shape), len(heard)
            formats[put_apart(graph, node, kept)] = NodeFormat(activations=INT8)
            operations += rows * (len(kept) * out + many + out)
            told = f"{len(kept)} channels of {many} keep 8 bits"
            text = f"{told}: rounding the input is predicted to cost {gain:.1f} dB less"
            notes.append(self.note(node.name, "changed", text, predicted_db=gain, channels=len(kept)))
        return (Changed(graph, len(notes), {}, tuple(notes), formats, operations) if notes else None), []


def takes(node: gs.Node) -> bool:
    """Products by constant weights."""
    plain = node.op == "Gemm" and not node.attrs and isinstance(node.inputs[1], gs.Constant)
    return plain and len(node.inputs[1].values) >= LEAST


def loudest(values: NDArray[np.float32], heard: Array, most: int, bits: int) -> tuple[NDArray[np.int64], float]:
    """The channels that are kept, ascending, and the dB that the input's rounding costs less by it. values: of each
    channel; heard: how loud an error of it is in the output."""
    order = np.argsort(-np.nan_to_num(np.abs(values)).max(1), kind="stable")
    none = float(mean_squares(rounded_values(values, bits) - values) @ heard)
    found = []
    for count in sorted({max(1, most // 2), most}):
        apart, rest = order[:count], order[count:]
        errors = [
            float(mean_squares(rounded_values(values[which], width) - values[which]) @ heard[which])
            for which, width in ((apart, KEPT_BITS), (rest, bits))
        ]
        found.append((decibels(none, sum(errors)), np.sort(apart)))
    gain, kept = max(found, key=lambda one: one[0])
    return kept.astype(np.int64), gain


def put_apart(graph: gs.Graph, node: gs.Node, kept: NDArray[np.int64]) -> str:
    """Let a product without the channels `kept`, and one of these, add up to what `node` makes. The node whose result
    the latter reads."""
    x, y, name = node.inputs[0], node.outputs[0], node.name
    (rows, many), out = map(int, x.shape), int(y.shape[1])
    weights = np.asarray(node.inputs[1].values)
    mask, apart = np.ones(many, np.float32), weights[kept]
    mask[kept] = 0
    rest, others = weights.copy(), variable(graph, f"{name}/others", np.float32, (rows, many))
    rest[kept] = 0
    picked = variable(graph, f"{name}/outliers", np.float32, (rows, len(kept)))
    sums = [variable(graph, f"{name}/{part}", np.float32, (rows, out)) for part in ("rest", "kept")]
    places = constant(graph, f"{name}/outliers.channels", kept)
    gather = gs.Node("Gather", picked.name, {"axis": 1}, [x, places], [picked])
    given = [
        picked,
        constant(graph, f"{name}/kept.weight", apart),
        constant(graph, f"{name}/kept.bias", np.zeros(out, np.float32)),
    ]
    graph.nodes += [
        gs.Node("Mul", others.name, {}, [x, constant(graph, f"{name}/others.mask", mask)], [others]),
        gather,
        gs.Node("Gemm", sums[1].name, {}, given, [sums[1]]),
        gs.Node("Add", f"{sums[0].name}/with_outliers", {}, sums, [y]),
    ]
    node.inputs = [others, constant(graph, node.inputs[1].name, rest), *node.inputs[2:]]
    node.outputs = [sums[0]]
    return str(gather.name)
