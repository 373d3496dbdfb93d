"""Weights alone are quantized: which products take them, and the grid of their codes. Activations stay float32.

    y = x @ (scale[group] * (code - zero[group])) + b

Products by a constant matrix read most of a language model's memory for each token, and compute little with it: codes
of four bits are an eighth of that. Nothing is rounded but weights, so that no range is observed. No integer sum has to
be exact, so each group has a float32 scale of its own, with the least squared error of the group. Source: Lin et al.
2024, "AWQ: Activation-aware Weight Quantization for LLM Compression and Acceleration", section 3.1 (weight-only
quantization in groups; without its scales of channels); Frantar et al. 2023, "GPTQ: Accurate Post-Training Quantization
for Generative Pre-trained Transformers".

`int4:blockN` has a scale for every N inputs of an output, `int4:groupN` a zero point as well, `int4` a scale an output.
"""

from __future__ import annotations

import numpy as np
import onnx_graphsurgeon as gs
from numpy.typing import NDArray

from bevel.calib.formats.format import INT8, IntFormat
from bevel.calib.formats.quantized import Grid
from bevel.calib.formats.scheme import PerChannel, PerTensor, Scheme
from bevel.calib.formats.tensor_format import BlockFormat, TensorFormat
from bevel.calib.scales.block_weights import blocks_of
from bevel.calib.scales.weights import weight_quant
from bevel.passes.base import Note
from bevel.passes.operators import find_operator
from bevel.passes.operators.base import Match, Operator, Reason
from bevel.passes.quantize.plan import PASS, QuantizationPlan, covered

MATRIX = 2  # axes of weights that are quantized
STAYS = "beside float activations only weights of Gemm and MatMul are quantized: its own stay float"


def plan_weights(graph: gs.Graph) -> QuantizationPlan:
    """Takes every Gemm and MatMul by a constant matrix, with the Add behind it; notes name other nodes with weights."""
    plan = QuantizationPlan(float_activations=True)
    for node in graph.nodes:
        match find_operator(node):
            case Reason() | None:
                continue
            case (operator, match):
                weights = list(weights_of(operator, match))
                if any(one.values.ndim == MATRIX for one in weights):
                    plan.taken[node.name] = (operator, match)
                elif weights:
                    plan.notes.append(Note(PASS, node.name, "left_float", STAYS))
    for name in covered(plan.taken.values()):
        plan.taken.pop(name, None)
    return plan


def weights_of(operator: Operator, match: Match) -> list[gs.Constant]:
    """The constant float weights of a node that is linear in its input."""
    found = [one for place, one in enumerate(match.inputs) if operator.weight_axis(match, place) is not None]
    return [one for one in found if isinstance(one, gs.Constant) and one.values.dtype == np.float32]


def grid_of_groups(values: NDArray[np.float32], format: TensorFormat, axis: int) -> Grid:
    """Of a matrix with output channels along `axis`: groups of the other axis, or else channels, have free scales.

    Raises ValueError for NaN or infinity.
    """
    element = format.element if isinstance(format, BlockFormat) else format
    blocks = blocks_of(values.shape, format.size, axis, 1 - axis) if isinstance(format, BlockFormat) else PerTensor()
    unsigned = isinstance(element, IntFormat) and not element.signed
    symmetric = not unsigned and not (isinstance(format, BlockFormat) and format.scales == "progressive")
    granularity = PerChannel(axis) if isinstance(blocks, PerTensor) else blocks
    return Grid(weight_quant(values, Scheme(element, granularity, symmetric, symmetric and element == INT8)))
