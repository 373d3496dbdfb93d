"""Gain-projected scaling: each channel's scale in closed form, from what rounding costs it on both sides.

    cost of channel i  =  E[dx_i^2] s_i^2 |W_i|^2  +  E[x_i^2] |dW_i|^2 / s_i^2        (X' = X / s, W' = s W)
    s_i  ~  ( E[x_i^2] |dW_i|^2 / (E[dx_i^2] |W_i|^2) )^(1/4)

where the steps of both quantizers stay what they are. Source: "PTQ4ARVG: Post-Training Quantization for AutoRegressive
Visual Generation Models" 2026, its gain-projected scaling; the constant that all channels share there, from the widest
one, is one of the tensor's own scale. SmoothQuant (`smooth`) asks the largest values instead, and searches an exponent:
steps do follow the largest channel, so this closed form is off where scales move that. A place is therefore taken only
where rounding with the scales, steps and all, is predicted to cost less. Price: nothing on the device.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from bevel.calib.data.dataset import Runs
from bevel.passes.transform.flow import Flow
from bevel.passes.transform.noise import SiteNoise, halves, listen, mean_squares, rounded_rows
from bevel.passes.transform.scale_channels import BOUND, ChosenScales, ScaleChannels
from bevel.passes.transform.sites import ScalingSite
from bevel.passes.transform.smooth import GAIN, decibels
from bevel.passes.transform.uses import Array


@dataclass(frozen=True)
class ProjectGain(ScaleChannels):
    """Places that products by weights read."""

    name: ClassVar[str] = "project-gain"

    def takes(self, site: ScalingSite) -> bool:
        return bool(site.readers) and not site.pairs

    def choose(self, flow: Flow, sites: Sequence[ScalingSite], samples: Runs) -> list[ChosenScales]:
        found = []
        for site, noise in zip(sites, listen(flow, sites, samples), strict=True):
            logs = projected(noise, self.weight_bits, self.activation_bits)
            none, after = (
                noise.error(one, self.weight_bits, self.activation_bits) for one in (np.zeros(len(logs)), logs)
            )
            gain = decibels(none, after)
            if gain >= GAIN:
                text = (
                    f"scales of {len(logs)} channels in closed form: rounding is predicted to cost {gain:.1f} dB less"
                )
                found.append(ChosenScales(site, logs, self.note(site.node, "changed", text, predicted_db=gain)))
        return found


def projected(noise: SiteNoise, weight_bits: int, bits: int) -> Array:
    """Logarithms of 1 / s, with a mean of 0; 0 where a term is."""
    count = len(noise.heard[0])
    power = np.zeros((4, count))  # of x, of its error, of the weights, of their error: of each scale
    none = np.zeros(count)
    for one in noise.carriers:
        power[0] = np.maximum(power[0], halves(mean_squares(one.values))[0])
        power[1] = np.maximum(power[1], one.errors(none, bits)[0])
    for product in noise.products:
        lost = np.square(rounded_rows(product.weights, weight_bits) - product.weights).sum((1, 3)).ravel()
        mine = product.places >= 0
        heard = np.square(product.weights).sum((1, 3)).ravel()
        power[2] += np.bincount(product.places[mine], heard[mine], count)
        power[3] += np.bincount(product.places[mine], lost[mine], count)
    alive = (power > 0).all(0)
    logs = np.zeros(count)
    if alive.any():
        of_x, of_error, of_weights, of_lost = np.log(power[:, alive])
        logs[alive] = -(of_x + of_lost - of_error - of_weights) / 4
        logs[alive] -= logs[alive].mean()
    bounded: Array = logs.clip(-BOUND, BOUND)
    return bounded
