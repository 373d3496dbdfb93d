"""Float graph and statistics in, QDQ graph out: int8 weights per output channel, int8 activations per tensor.

`plan` says what is quantized and which tensors share a scale, `choose_scales` gives every group its scale, and
`insert_qdq` edits the graph. A graph that already holds quantizers is left as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import onnx
import onnx_graphsurgeon as gs

from bevel.calib.ranges import RangeMethod, range_method
from bevel.calib.statistics import Statistics
from bevel.passes.base import Note, PassResult
from bevel.passes.quantize.choose_scales import choose_scales
from bevel.passes.quantize.insert_qdq import insert_qdq
from bevel.passes.quantize.plan import make_plan
from bevel.passes.quantizers import is_dequantize, is_quantize


@dataclass(frozen=True)
class QuantizeOptions:
    """range: how activation ranges are chosen (minmax, percentile, mse, entropy); bias_correction: whether the mean
    error that weight rounding makes is taken out of the biases."""

    range: str = "mse"
    bias_correction: bool = True

    @property
    def method(self) -> RangeMethod:
        return range_method(self.range)


def is_quantized(graph: gs.Graph) -> bool:
    """Whether the graph came with quantizers of its own."""
    return any(is_quantize(node) or is_dequantize(node) for node in graph.nodes)


def quantize(graph: gs.Graph, statistics: Mapping[str, Statistics], options: QuantizeOptions) -> PassResult:
    """`graph`, canonical and float, with quantizers in place. `statistics` covers its float tensors.

    Source: Krishnamoorthi 2018, "Quantizing deep convolutional networks for efficient inference: A whitepaper",
    sections 2 and 3.1.
    """
    if is_quantized(graph):
        return PassResult(graph, False, [Note("model", "came quantized: its scales are kept")])
    plan = make_plan(graph)
    scales = choose_scales(plan, statistics, options.method)
    means = statistics if options.bias_correction else {}
    notes = insert_qdq(graph, plan, scales, means)
    graph.cleanup().toposort()
    return PassResult(graph, True, [*plan.notes, *scales.notes, *notes])


def export(graph: gs.Graph) -> onnx.ModelProto:
    """The graph as a model; metadata only says what made it."""
    model: onnx.ModelProto = gs.export_onnx(graph, do_type_check=False)
    model.producer_name, model.producer_version = "bevel", ""
    model.ir_version = 10  # the newest that opset 21 needs
    return model
