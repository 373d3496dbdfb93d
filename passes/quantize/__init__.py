"""Float graph and observations in, QDQ graph out: weights scaled per output channel, activations per tensor.

The passes are those of the recipe `int8`, in its order. A graph that already holds quantizers is left as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import onnx_graphsurgeon as gs

from bevel.calib.data.dataset import Runs
from bevel.calib.formats.format import INT8
from bevel.calib.formats.tensor_format import TensorFormat
from bevel.calib.observe.observe import Wanted
from bevel.calib.observe.statistics import Statistics
from bevel.passes.base import Note, Work
from bevel.passes.exchange.export import export, export_quantized
from bevel.passes.graph.quantizers import is_dequantize, is_quantize
from bevel.passes.quantize.choose_rounders import AUTO
from bevel.passes.quantize.chosen import Chosen, NodeFormat
from bevel.passes.quantize.plan import PASS
from bevel.passes.recipes import DEFAULT, read
from bevel.passes.recipes.build import Recipe, build

__all__ = ["NodeFormat", "QuantizeOptions", "QuantizeResult", "export", "export_quantized", "is_quantized", "quantize"]


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
        return Chosen(self.weights, self.activations, self.nodes, self.range)

    @property
    def recipe(self) -> Recipe:
        """`int8` with these options."""
        recipe = build(read(DEFAULT)).with_option("round-weights", "rounding", self.rounding, "rounding")
        return recipe if self.bias_correction else recipe.uncorrected()

    def wants(self, graph: gs.Graph) -> Wanted:
        """What is to be observed of the canonical float `graph` before it is quantized."""
        return self.recipe.wants(graph)


@dataclass(frozen=True)
class QuantizeResult:
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
) -> QuantizeResult:
    """`graph`, canonical and float, with quantizers in place. `statistics` has what `options` wants.

    dataset: what the statistics are of, for choices that are measured; without it those that are mostly right.
    """
    if is_quantized(graph):
        return QuantizeResult(graph, False, [Note(PASS, "model", "stays", "came quantized: its scales are kept")])
    work = Work(graph, data=dataset, observations=statistics, schemes=options.chosen)
    done = options.recipe.run("quantize", work)
    return QuantizeResult(
        done.graph, is_quantized(done.graph), list(done.notes), dict(done.formats), dict(done.rounders)
    )
