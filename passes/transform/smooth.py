"""SmoothQuant: what makes a tensor hard to quantize moves from its channels into the weights that read them.

    s_j = max |X_j|^alpha / max |W_j|^(1 - alpha)        X' = X / s,  W' = s W

Source: Xiao et al. 2022, "SmoothQuant: Accurate and Efficient Post-Training Quantization for Large Language Models",
equation 4. What makes X takes 1 / s up: the gain and bias of a normalization, the rows of a product, the value
projection before attention. alpha is searched for each place: the one that leaves the products' outputs the least error
when inputs and weights are rounded (`noise`), or none.

Price: nothing on the device. Weights get larger where activations get smaller.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from bevel.calib.data.dataset import Runs
from bevel.calib.formats.format import INT8
from bevel.passes.transform.flow import Flow
from bevel.passes.transform.noise import SiteNoise, listen
from bevel.passes.transform.scale_channels import ChosenScales, ScaleChannels, balanced, columns, largest
from bevel.passes.transform.sites import ScalingSite
from bevel.passes.transform.uses import Array

ALPHAS = tuple(np.linspace(0.0, 1.0, 11).tolist())
GAIN = 1.0  # dB that the products' outputs must gain by the prediction, which is off by half of that now and then


@dataclass(frozen=True)
class Smooth(ScaleChannels):
    """Places that products by weights read. alpha: one for all, or below 0: searched for each."""

    name: ClassVar[str] = "smooth"
    told: ClassVar[str] = (
        "channels smoothed with alpha {alpha:.1f}: rounding what is read here is predicted to cost {gain:.1f} dB less "
        "of the output"
    )
    alpha: float = -1.0

    def takes(self, site: ScalingSite) -> bool:
        return bool(site.readers) and not site.pairs

    def choose(self, flow: Flow, sites: Sequence[ScalingSite], samples: Runs) -> list[ChosenScales]:
        found = []
        for site, noise in zip(sites, listen(flow, sites, samples), strict=True):
            best = self.searched(noise, noise.reach(1), self.shrinking(flow, site, noise))
            if best is not None:
                text = self.told.format(alpha=best.alpha, gain=best.gain)
                note = self.note(site.node, "changed", text, alpha=best.alpha, predicted_db=best.gain)
                found.append(ChosenScales(site, best.logs, note))
        return found

    def shrinking(self, flow: Flow, site: ScalingSite, noise: SiteNoise) -> Array:
        """For each scale how far that reaches which shrinks with it: weights."""
        found: Array = np.max([largest(flow, site, use.reads, columns(use), 1) for use in site.readers], 0)
        return found

    def searched(self, noise: SiteNoise, plus: Array, minus: Array) -> Smoothing | None:
        """The exponent that leaves least error, if that gains enough."""
        none = noise.error(np.zeros(len(plus)), self.weight_bits, self.activation_bits)
        alphas = ALPHAS if self.alpha < 0 else (self.alpha,)
        tried = [(alpha, self.leaving_dead(plus, balanced(plus, minus, alpha))) for alpha in alphas]
        errors = [noise.error(logs, self.weight_bits, self.activation_bits) for _, logs in tried]
        best = int(np.argmin(errors))
        gain = decibels(none, errors[best])
        return Smoothing(*tried[best], gain) if self.alpha >= 0 or gain >= GAIN else None

    def leaving_dead(self, reach: Array, logs: Array) -> Array:
        """Channels within a step of 8 bits of 0 beside the largest stay there: what is folded away for it is not
        revived. Steps of fewer bits would hide what smoothing is for, channels that are quiet beside a loud one."""
        top = reach.max(initial=0.0)
        dead = reach * 2 ** max(self.activation_bits, INT8.bits) < top
        if not dead.any():
            return logs
        after = (reach * np.exp(logs))[~dead].max()
        found: Array = np.where(dead, np.log(after / top), logs)
        return found


@dataclass(frozen=True, eq=False)
class Smoothing:
    """gain: predicted, in dB."""

    alpha: float
    logs: Array
    gain: float


def decibels(before: float, after: float) -> float:
    return float(10 * np.log10(before / after)) if before > 0 and after > 0 else 0.0
