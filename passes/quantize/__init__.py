"""Float graph and statistics in, QDQ graph out: weights scaled per output channel, activations per tensor.

`plan` says what is quantized and which tensors share a scale, `choose_scales` gives every group its scale, and
`insert_qdq` edits the graph. A graph that already holds quantizers is left as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import onnx_graphsurgeon as gs

from bevel.calib.data.dataset import Runs
from bevel.calib.formats.format import INT8
from bevel.calib.formats.tensor_format import TensorFormat
from bevel.calib.observe.statistics import Statistics
from bevel.calib.scales.ranges import RangeMethod, range_method
from bevel.passes.base import Note
from bevel.passes.exchange.export import export, export_quantized
from bevel.passes.graph.quantizers import is_dequantize, is_quantize
from bevel.passes.quantize.choose_rounders import AUTO, Evidence, round_weights
from bevel.passes.quantize.choose_scales import choose_scales
from bevel.passes.quantize.chosen import Chosen, NodeFormat
from bevel.passes.quantize.clamp_masks import behind_clips
from bevel.passes.quantize.correct_bias import correct_biases
from bevel.passes.quantize.formats import node_formats
from bevel.passes.quantize.insert_qdq import insert_qdq
from bevel.passes.quantize.part_results import part_results
from bevel.passes.quantize.plan import PASS, make_plan
from bevel.passes.quantize.round_weights import find_weights

__all__ = ["NodeFormat", "QuantizeOptions", "Quantized", "export", "export_quantized", "is_quantized", "quantize"]


@dataclass(frozen=True)
class QuantizeOptions:
    """range: how activation ranges are chosen (minmax, percentile, mse, entropy); rounding: who makes codes of weights,
    a rounder or `auto`; bias_correction: whether the mean error of that is taken out of the biases; weights,
    activations: their formats (`formats` says which there are); nodes: what is different for single nodes of the
    canonical graph, and for inputs, by name."""

    range: str = "mse"
    rounding: str = AUTO
    bias_correction: bool = True
    weights: TensorFormat = INT8
    activations: TensorFormat = INT8
    nodes: Mapping[str, NodeFormat] = field(default_factory=dict)

    @property
    def chosen(self) -> Chosen:
        return Chosen(self.weights, self.activations, self.nodes)

    @property
    def method(self) -> RangeMethod:
        return range_method(self.range)


@dataclass(frozen=True)
class Quantized:
    """modified: whether quantizers were put. formats: what each operator holds weights and results in; rounders: who
    rounded its weights; both by the names of their nodes."""

    graph: gs.Graph
    modified: bool
    notes: list[Note]
    formats: dict[str, str] = field(default_factory=dict)
    rounders: dict[str, str] = field(default_factory=dict)


def is_quantized(graph: gs.Graph) -> bool:
    """Whether the graph came with quantizers of its own."""
    return any(is_quantize(node) or is_dequantize(node) for node in graph.nodes)


def quantize(
    graph: gs.Graph, statistics: Mapping[str, Statistics], options: QuantizeOptions, dataset: Runs | None = None
) -> Quantized:
    """`graph`, canonical and float, with quantizers in place. `statistics` covers its float tensors.

    dataset: what the statistics are of, for choices that are measured; without it those that are mostly right.

    Source: Krishnamoorthi 2018, "Quantizing deep convolutional networks for efficient inference: A whitepaper",
    sections 2 and 3.1.
    """
    if is_quantized(graph):
        return Quantized(graph, False, [Note(PASS, "model", "stays", "came quantized: its scales are kept")])
    plan = make_plan(graph)
    chosen = options.chosen
    statistics = behind_clips(graph, statistics)
    part_results(graph, plan, statistics, options.method)
    scales = choose_scales(plan, statistics, options.method, chosen)
    formats = dict(node_formats(plan, scales, chosen))
    weights = list(find_weights(plan, scales, chosen))
    evidence = None if dataset is None else Evidence(graph, statistics, dataset, options.bias_correction)
    rounded, choices = round_weights(weights, options.rounding, statistics, evidence)
    choice_notes = [one.note(of.node) for of, one in zip(weights, choices, strict=True) if one.left_db]
    if options.bias_correction:
        rounded = list(correct_biases(rounded, scales, statistics))
    notes = insert_qdq(graph, plan, scales, rounded, chosen)
    graph.cleanup().toposort()
    rounders = {of.node: one.rounder for of, one in zip(weights, choices, strict=True)}
    return Quantized(graph, True, [*plan.notes, *scales.notes, *choice_notes, *notes], formats, rounders)
