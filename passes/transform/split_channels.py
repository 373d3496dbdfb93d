"""Outlier channel splitting: a channel whose weights reach furthest is read twice, by halves of its weights.

    sum_i w_i x_i  =  ... + (w_c - d/2) / 2 x_c + (w_c + d/2) / 2 x_c        d: the step of the row's quantizer

Both halves together round as w_c does, at half the reach, so the scales of rows that w_c set alone get smaller. Source:
Zhao et al. 2019, "Improving Neural Network Quantization without Retraining using Outlier Channel Splitting" (there,
too, halves are a step apart, and a ratio says how many channels are split, the one of the largest weight first).
Channels of an activation are split by scaling them first, as `smooth` does. What is read twice is gathered before the
product: a move of integers.

Price: the product, its weights and its input grow by the ratio.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, prod
from typing import ClassVar

import numpy as np
import onnx_graphsurgeon as gs
from numpy.typing import NDArray

from bevel.calib.data.dataset import Runs
from bevel.passes.base import Note
from bevel.passes.graph.edit import constant, variable
from bevel.passes.transform.noise import rounded_rows
from bevel.passes.transform.seen import see
from bevel.passes.transform.smooth import GAIN, decibels
from bevel.passes.transform.transform import Changed, Transform
from bevel.passes.transform.uses import LINEAR, Array, grouped


@dataclass(frozen=True)
class SplitChannels(Transform):
    """ratio: of the channels that a product reads, at most so many are split."""

    name: ClassVar[str] = "split-channels"
    ratio: float = 0.05

    def changed(self, graph: gs.Graph, samples: Runs) -> tuple[Changed | None, list[Note]]:
        nodes = [node for node in graph.nodes if is_splittable(node)]
        arrays = see(graph, [node.inputs[0].name for node in nodes], samples) if nodes else {}
        notes: list[Note] = []
        operations = 0
        for node in nodes:
            axis = 1 if node.op == "Conv" else -1
            power = np.mean([power_along(one, axis) for one in arrays[node.inputs[0].name]], 0)
            weights = grouped(node)[0]
            order, split = splitting(weights, ceil(self.ratio * weights.shape[1]), self.weight_bits)
            gain = decibels(lost(weights, power, self.weight_bits), lost(split, power[order], self.weight_bits))
            if gain < GAIN:
                continue
            put_split(graph, node, order, split)
            count = len(order) - weights.shape[1]
            operations += count * prod(map(int, node.outputs[0].shape)) * weights.shape[2]
            told = f"{count} channels of {weights.shape[1]} are split"
            text = f"{told}: rounding weights is predicted to cost {gain:.1f} dB less"
            notes.append(self.note(node.name, "changed", text, predicted_db=gain, channels=count))
        return (Changed(graph, len(notes), {}, tuple(notes), operations=operations) if notes else None), []


def is_splittable(node: gs.Node) -> bool:
    """Products by constant weights, all of whose outputs read all channels."""
    if node.op not in LINEAR or node.op == "ConvTranspose" or (node.op == "Gemm" and node.attrs):
        return False
    return isinstance(node.inputs[1], gs.Constant) and node.attrs.get("group", 1) == 1


def power_along(x: NDArray[np.float32], axis: int) -> Array:
    """E[x^2] of each channel."""
    rows = np.moveaxis(x, axis, 0).reshape(x.shape[axis], -1)
    found: Array = np.square(rows, dtype=np.float64).mean(1)
    return found


def splitting(weights: Array, count: int, bits: int) -> tuple[NDArray[np.int64], Array]:
    """Which channel each new one is, and the weights that read them: [out, in + count, taps]. weights: [out, in,
    taps]."""
    order = np.arange(weights.shape[1])
    for _ in range(count):
        reach = np.abs(weights).max(2)
        largest = reach.max(1, keepdims=True)
        sets = (reach == largest) & (largest > 0)  # of which rows a channel sets the scale
        place = int((sets * np.square(largest)).sum(0).argmax())
        step = largest / max(2 ** (bits - 1) - 1, 1)
        low, high = ((weights[:, place] + sign * step / 2) / 2 for sign in (-1, 1))
        weights = np.concatenate((weights, high[:, None]), 1)
        weights[:, place] = low
        order = np.append(order, order[place])
    return order, weights


def lost(weights: Array, power: Array, bits: int) -> float:
    """What rounding weights [out, in, taps] costs the output, as if inputs were independent."""
    error = np.square(rounded_rows(weights[None], bits)[0] - weights).sum((0, 2))
    return float(error @ power)


def put_split(graph: gs.Graph, node: gs.Node, order: Sequence[int] | NDArray[np.int64], weights: Array) -> None:
    """Let a product read its channels in `order`, by `weights`."""
    x, axis = node.inputs[0], 1
    shape = [int(size) for size in x.shape]
    shape[axis] = len(order)
    picked = variable(graph, f"{node.name}/split", np.float32, shape)
    places = constant(graph, f"{node.name}/split.channels", np.asarray(order, np.int64))
    graph.nodes.append(gs.Node("Gather", picked.name, {"axis": axis}, [x, places], [picked]))
    old = node.inputs[1].values.shape
    laid = weights[:, :, 0].T if node.op == "Gemm" else weights.reshape(old[0], -1, *old[2:])
    made = constant(graph, node.inputs[1].name, np.ascontiguousarray(laid, np.float32))
    node.inputs = [picked, made, *node.inputs[2:]]
