"""The weights of every product, rounded once: the grid that each tensor lies on, and the codes that it gets there.

Who rounds is chosen for each node (`bevel.passes.quantize.choose_rounders`), or the same for all.

A bias has the scale of its sums, sx * sw, and must fit int32 with room for the sums: where a channel's weights are so
small that it would not (depthwise channels with tiny scales, channels of zeros), the channel's weight scale is raised.
Weights of formats wider than int8, and those of wider activations, keep their scale, and the bias has a power of two of
that of its sums.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import onnx_graphsurgeon as gs
from numpy.typing import NDArray

from bevel.calib.errors import UserError
from bevel.calib.formats.format import INT8, IntFormat
from bevel.calib.formats.quantized import Grid, Quantized
from bevel.calib.formats.tensor_format import BlockFormat, TensorFormat, fits_int8
from bevel.calib.rounding.base import Rounder, SeenProduct
from bevel.calib.rounding.nearest import ROUNDER as NEAREST
from bevel.passes.operators.base import Match, Operator
from bevel.passes.quantize.choose_scales import Scales
from bevel.passes.quantize.chosen import Chosen
from bevel.passes.quantize.plan import QuantizationPlan
from bevel.passes.quantize.store_weights import StoredNote, left_out, roomy, weight_grid, without_negligible
from bevel.passes.quantize.weights_alone import grid_of_groups


@dataclass(frozen=True, eq=False)
class ProductWeights:
    """Constant weights of one product, before they are rounded.

    axis: of their output channels. values: what is rounded, which leaves out channels that are nothing beside their
    bias. format: of the grid. bias: a constant one. x_scale: what its products' steps are worth. bias_of_sums: whether
    the bias has the very scale of the sums. told: for the report. linear: whether the node's result is the product;
    where it is not, as of a recurrent network, they are rounded to the nearest. beside_floats: what they multiply, and
    the bias, stays float.
    """

    match: Match
    tensor: gs.Constant
    axis: int
    values: NDArray[np.float32]
    grid: Grid
    format: TensorFormat
    bias: gs.Constant | None = None
    x_scale: float = 0.0
    bias_of_sums: bool = True
    told: tuple[StoredNote, ...] = ()
    linear: bool = True
    beside_floats: bool = False

    @property
    def node(self) -> str:
        return str(self.match.node.name)

    @property
    def x(self) -> gs.Tensor:
        """What they multiply."""
        return self.match.inputs[0]

    @property
    def groups(self) -> int:
        return int(self.match.node.attrs.get("group", 1))

    @property
    def summed_axis(self) -> int:
        return summed_axis(self.match)

    def grid_for(self, values: NDArray[np.float32]) -> Grid:
        """The grid of other values in their place."""
        if self.beside_floats:
            return grid_of_groups(values, self.format, self.axis)
        grid = weight_grid(values, self.format, self.axis)
        if self.bias is None:
            return grid
        scale, _ = roomy(grid.quant.scale, values, self.bias.values, self.x_scale, self.axis, self.bias_of_sums)
        return grid.with_scale(scale)


@dataclass(frozen=True, eq=False)
class Rounded:
    """Weights with their codes. bias: float64, what is stored in place of the constant one; repaired: whether it makes
    up for rounding already."""

    weights: ProductWeights
    quantized: Quantized
    bias: NDArray[np.float64] | None
    repaired: bool = False

    @property
    def lost(self) -> NDArray[np.float64]:
        """What rounding took from the weights, and leaving channels out."""
        lost: NDArray[np.float64] = self.weights.tensor.values.astype(np.float64) - self.quantized.dequantize()
        return lost


def rounded_by(weights: ProductWeights, rounder: Rounder, seen: SeenProduct | None = None) -> Rounded:
    """seen: of the product, for rounders that look."""
    bias = None if weights.bias is None else weights.bias.values.astype(np.float64)
    if not weights.linear:
        return Rounded(weights, NEAREST(weights.values, weights.grid), bias)
    aimed = rounder.aim(weights.values, seen)
    grid = weights.grid if aimed is weights.values else weights.grid_for(aimed)
    return Rounded(weights, rounder(aimed, grid, seen), bias)


def find_weights(plan: QuantizationPlan, scales: Scales, chosen: Chosen) -> Iterator[ProductWeights]:
    """Of every product that is taken, in the order of the graph."""
    for operator, match in plan.taken.values():
        format = chosen.of_weights(match.node.name)
        bias = constant_bias(operator, match)
        for index, tensor in enumerate(match.inputs):
            axis = operator.weight_axis(match, index)
            if axis is None or index == operator.bias_index(match) or not is_constant(tensor):
                continue
            if plan.float_activations:
                grid = grid_of_groups(tensor.values, format, axis)
                yield ProductWeights(match, tensor, axis, tensor.values, grid, format, bias, beside_floats=True)
                continue
            yield (
                unbiased(match, tensor, axis, format, operator.linear)
                if bias is None
                else biased(match, tensor, axis, bias, scales, format)
            )


def unbiased(match: Match, tensor: gs.Constant, axis: int, format: TensorFormat, linear: bool = True) -> ProductWeights:
    told: tuple[StoredNote, ...] = ()
    if not linear and (isinstance(format, BlockFormat) or not (fits_int8(format) or isinstance(format, IntFormat))):
        told = (StoredNote("refused", f"its weights have no kernel in {format.name}: int8", {}),)
        format = INT8
    grid = weight_grid(tensor.values, format, axis)
    return ProductWeights(match, tensor, axis, tensor.values, grid, format, told=told, linear=linear)


def biased(
    match: Match, tensor: gs.Constant, axis: int, bias: gs.Constant, scales: Scales, format: TensorFormat
) -> ProductWeights:
    x = scales.quants[match.inputs[0].name]
    bias_of_sums = fits_int8(format) and x.scheme.dtype == np.int8
    heard = without_negligible(tensor.values, bias.values, x, axis)
    values = tensor.values if bias_of_sums else heard
    grid = weight_grid(values, format, axis)
    scale, raised = roomy(grid.quant.scale, values, bias.values, float(x.scale), axis, bias_of_sums)
    if not np.isfinite(scale).all():
        largest = f"{np.abs(bias.values).max():.3g}"
        raise UserError(
            f"node {match.node.name}: its bias of {largest} is beyond its products; check the model's weights"
        )
    told = (*raised, *left_out(tensor.values, values, axis))
    return ProductWeights(
        match, tensor, axis, values, grid.with_scale(scale), format, bias, float(x.scale), bias_of_sums, told
    )


def constant_bias(operator: Operator, match: Match) -> gs.Constant | None:
    index = operator.bias_index(match)
    bias = match.inputs[index] if index is not None and index < len(match.inputs) else None
    return bias if isinstance(bias, gs.Constant) else None


def is_constant(tensor: gs.Tensor) -> bool:
    return isinstance(tensor, gs.Constant) and tensor.values.dtype == np.float32


def summed_axis(match: Match) -> int:
    """The axis of its input that a product sums over."""
    return 1 if match.node.op in ("Conv", "ConvTranspose") else -1
