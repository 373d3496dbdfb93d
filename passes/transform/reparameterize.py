"""RepQuant's re-parameterisation: one scale and one zero point for a normalization's output, as good as one a channel.

    range of channel c: [l_c, h_c],  s_c ~ h_c - l_c        X' = (X - m) / r,  r_c = s_c / s,  W' = r W,  b' = b + W m

Every channel gets the width of the others, and then their middle, so that a scale a tensor is one a channel. Sources:
Li et al. 2024, "RepQuant: Towards Accurate Post-Training Quantization of Large Transformer Models via Scale
Reparameterization" (first in Li et al. 2023, "RepQ-ViT"): quantized channel by channel, then folded to the mean of
scales and zero points; Yang et al. 2024, "DopQ-ViT", folds to the median of the scales instead. Mean or median is one
factor for all channels, so one for the tensor's own scale, and that is chosen after the fold: both are the same here,
and there is no option.

Ends of ranges are those of least squared error at the activations' width. Price: nothing on the device; weights that
read wide channels get larger. A place is taken where rounding inputs and weights is predicted to cost less.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import onnx_graphsurgeon as gs
from numpy.typing import NDArray

from bevel.calib.data.dataset import Runs
from bevel.passes.base import Note
from bevel.passes.transform.flow import Flow
from bevel.passes.transform.noise import CLIPS, listen
from bevel.passes.transform.scale_channels import ChosenScales, ScaleChannels, largest
from bevel.passes.transform.seen import channel_values, see
from bevel.passes.transform.shift_bias import ShiftBias
from bevel.passes.transform.sites import ScalingSite
from bevel.passes.transform.smooth import GAIN, decibels
from bevel.passes.transform.transform import Changed
from bevel.passes.transform.uses import Array


@dataclass(frozen=True)
class Reparameterize(ScaleChannels):
    """Outputs of normalizations that products read. least: dB that rounding must be predicted to cost less."""

    name: ClassVar[str] = "reparameterize"
    least: float = GAIN

    def takes(self, site: ScalingSite) -> bool:
        return site.others and bool(site.readers) and not site.makers and not site.pairs

    def choose(self, flow: Flow, sites: Sequence[ScalingSite], samples: Runs) -> list[ChosenScales]:
        found = []
        axes = {use.x.name: use.channel_axis for site in sites for use in site.readers}
        arrays = see(flow.graph, axes, samples)
        reach = {name: widths(channel_values(arrays[name], axis), self.activation_bits) for name, axis in axes.items()}
        for site, noise in zip(sites, listen(flow, sites, samples), strict=True):
            width = np.max([largest(flow, site, use.reads, reach[use.x.name], 1) for use in site.readers], 0)
            logs = evening(width)
            none, after = (
                noise.error(one, self.weight_bits, self.activation_bits) for one in (np.zeros(len(logs)), logs)
            )
            gain = decibels(none, after)
            if gain >= self.least:
                text = f"{len(logs)} channels get the width of their mean: predicted to cost {gain:.1f} dB less"
                note = self.note(site.node, "changed", text, predicted_db=gain)
                found.append(ChosenScales(site, logs, note))
        return found

    def changed(self, graph: gs.Graph, samples: Runs) -> tuple[Changed | None, list[Note]]:
        """Scales first, then shifts of what they leave."""
        scaled, stays = super().changed(graph, samples)
        shift = ShiftBias(self.weights, self.activations)
        shifted, _ = shift.changed(graph if scaled is None else scaled.graph, samples)
        if scaled is None or shifted is None:
            return scaled or shifted, stays
        notes = (*scaled.notes, *shifted.notes)
        return Changed(shifted.graph, scaled.sites + shifted.sites, {**scaled.tensors, **shifted.tensors}, notes), stays


def widths(values: NDArray[np.float32], bits: int) -> Array:
    """[channels]: how wide a range of 2**bits codes each channel wants, by least squared error. values: [channels, n],
    NaN where there are fewer."""
    low, high = (np.asarray(one(values, 1), np.float64) for one in (np.nanmin, np.nanmax))
    width = high - low
    best, least = width.copy(), np.full(len(width), np.inf)
    for clip in CLIPS:
        middle, reach = (low + high) / 2, np.maximum(width * clip, 1e-30)
        start, step = (middle - reach / 2)[:, None], (reach / (2**bits - 1))[:, None]
        codes = np.clip(np.rint((values - start) / step), 0, 2**bits - 1)
        error = np.nansum(np.square(codes * step + start - values), 1)
        best, least = np.where(error < least, reach, best), np.minimum(error, least)
    return np.where(width > 0, best, 0.0)


def evening(width: Array) -> Array:
    """Logarithms of the scales that give each channel the width of the others; 0 where a channel is constant."""
    alive = width > 0
    logs = np.zeros(len(width))
    logs[alive] = -np.log(width[alive])
    logs[alive] -= logs[alive].mean() if alive.any() else 0.0
    return logs
