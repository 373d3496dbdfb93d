"""Channels of an activation get ranges of nearly one width, whatever that does to the weights that read them.

    s_j = (p_j / geometric mean of p)^alpha        X' = X / s,  W' = s W

p_j: what all but `CLIPPED` of the magnitudes of channel j lie below; the largest would follow outliers, which a range
of few bits clips. At fewer than 8 bits it is where a range of least squared error ends that channel j had alone, in
integers of as many bits: what is clipped then is what each channel is better without. Where each output channel reads
one input channel (depthwise), s_j only joins the scales of weights that are there already, rounds nothing else than
before, and alpha is 1. Where a product sums over channels, the weights of loud ones get larger and those of quiet ones
smaller: rounded to the nearest they lose what the activation gains; rounded by what they read (`refit`) they do not,
and at few bits of activations it pays. A channel that has a code or two of int8 says hardly more when it is louder, and
costs the weights that a channel of one code is spared: it is left so, but where activations have fewer bits, and
nothing of it.

A Clip to [0, b] lets scales through that keep below b what was seen below it; a channel that got to b keeps scale 1. On
the calibration samples, all of which are asked, the function stays what it is; beyond them, what no sample of a channel
came near may be clipped, as any range that is taken from samples clips it.

Source: Meller et al. 2019, "Same, Same But Different: Recovering Neural Network Quantization Error Through Weight
Factorization", section 4: channels scaled to the range of the largest, made free by the homogeneity of Relu; the
exponent is SmoothQuant's (Xiao et al. 2022, equation 4), without its weights. Where a channel alone would end is the
criterion of Choukroun et al. 2019, "Low-bit Quantization of Neural Networks for Efficient Inference", section 3. Price:
nothing on the device.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from bevel.calib.data.dataset import Runs, spread_samples
from bevel.calib.formats.format import INT8
from bevel.passes.quantize.plan import make_plan
from bevel.passes.transform.flow import Flow, bound_of
from bevel.passes.transform.scale_channels import ChosenScales, ScaleChannels
from bevel.passes.transform.seen import peaks, see
from bevel.passes.transform.sites import ScalingSite
from bevel.passes.transform.uses import Array

CLIPPED = 0.001  # of a channel's values
CLIPPED_FEW = 0.256  # likewise at fewer than 8 bits, times the square of a step where all codes are 1: 0.001 at 4 bits
ENDS = np.linspace(0.15, 1.0, 30)  # of what all but those lie below: where the range of a channel may end
LOOKED = 64  # samples that reaches are of: the outermost of few values say little
LEAST = 0.01  # of the loudest channel's reach: quieter ones have two or three codes of int8 at most
VALUES = 8192  # of each channel, about
FULL = 1e-5  # of a logarithm: nearer to its bound, a channel got there; float rounding hides less


@dataclass(frozen=True)
class LevelChannels(ScaleChannels):
    """Places that products by weights make and read; what a gain makes is for `smooth`. alpha: where products sum over
    several channels."""

    name: ClassVar[str] = "level-channels"
    samples: ClassVar[int] = sys.maxsize  # what one of them shows below a Clip's bound must stay there
    opens: ClassVar[bool] = True
    alpha: float = 0.5

    def takes(self, site: ScalingSite) -> bool:
        return bool(site.makers and site.readers) and not site.pairs and not site.others

    def choose(self, flow: Flow, sites: Sequence[ScalingSite], samples: Runs) -> list[ChosenScales]:
        points = make_plan(flow.graph).points
        names = [use.x.name for site in sites for use in site.readers if use.x.name in points]
        arrays = see(flow.graph, names, spread_samples(samples, LOOKED))
        largest = peaks(flow.graph, [node.outputs[0].name for node in flow.clips], samples)
        found, wakes = [], self.activation_bits < INT8.bits
        for site in sites:
            reach = reaches(flow, site, arrays, self.activation_bits)
            if not reach.any():
                continue
            alpha = 1.0 if all(use.is_depthwise for use in site.readers) else self.alpha
            logs = below_bounds(flow, site, largest, levelled(reach, alpha, wakes), reach)
            if not logs.any():
                continue
            spread = float(np.exp(logs.max() - logs.min()))
            text = f"{len(logs)} channels levelled with alpha {alpha:.2g}: their scales span a factor of {spread:.3g}"
            note = self.note(site.node, "changed", text, alpha=alpha, spread=spread)
            found.append(ChosenScales(site, logs, note))
        return found


def reaches(flow: Flow, site: ScalingSite, arrays: Mapping[str, list[NDArray[Any]]], bits: int) -> Array:
    """Of each scale, the furthest of the channels that bear it; 0 where nothing was seen."""
    found = np.zeros(len(site.scales))
    for use in site.readers:
        if use.x.name not in arrays:  # nothing rounds it
            continue
        places, _ = site.places(use.reads, flow.gauges)
        mine = places >= 0
        np.maximum.at(found, places[mine], channel_reaches(arrays[use.x.name], use.channel_axis, bits)[mine])
    return found


def below_bounds(
    flow: Flow, site: ScalingSite, largest: Mapping[str, NDArray[Any]], logs: Array, reach: Array
) -> Array:
    """`logs`, from the loudest channel on, so that no Clip of the site clips what it did not: 0 of channels that got to
    its bound or are always 0, of others as much less as it takes."""
    room = np.full(len(logs), np.inf)
    for node in flow.clips:
        output, bound = node.outputs[0], bound_of(node)
        places, _ = site.places(flow.of(output), flow.gauges)
        mine = places >= 0
        with np.errstate(divide="ignore"):
            logarithms = np.log(largest[output.name][mine].astype(np.float64))
        np.minimum.at(room, places[mine], np.log(bound) - logarithms)
    if np.isinf(room).all():
        return logs
    found = logs - logs[int(np.argmax(reach))]
    bounded: Array = np.where((room <= FULL) | (reach == 0), 0.0, np.minimum(found, room - FULL))
    return bounded


def channel_reaches(arrays: Sequence[NDArray[Any]], axis: int, bits: int) -> Array:
    """[channels] of a tensor's runs, which is to have so many bits."""
    lines = [np.moveaxis(one, axis, 0).reshape(one.shape[axis], -1) for one in arrays]
    step = max(1, sum(one.shape[1] for one in lines) // VALUES)
    values = np.concatenate([one[:, ::step] for one in lines], 1)
    if bits < INT8.bits:
        return least_ends(values, bits)
    found: Array = np.quantile(np.abs(values), 1 - CLIPPED, axis=1)
    return found


def least_ends(values: NDArray[Any], bits: int) -> Array:
    """Where the range of least squared error ends of each row: [rows] of [rows, values].

    error = sum of step**2 / 12 over values other than 0, which has a code, + sum of (|x| - end)**2 beyond the end
    """
    most = np.where((values < 0).any(1), 2.0 ** (bits - 1) - 1, 2.0**bits - 1)  # steps on one side of 0
    sizes = np.abs(values)
    furthest, counts = np.quantile(sizes, 1 - CLIPPED_FEW * 4.0**-bits, axis=1), (sizes > 0).sum(1)
    errors = []
    for ends in np.multiply.outer(ENDS, furthest):
        beyond = np.maximum(sizes - ends[:, np.newaxis], 0)
        errors.append(counts * np.square(ends / most) / 12 + np.square(beyond).sum(1))
    found: Array = furthest * ENDS[np.argmin(errors, axis=0)]
    return found


def levelled(reach: Array, alpha: float, wakes: bool) -> Array:
    """Logarithms of 1 / s, with a mean of 0; 0 of channels that are always 0. Quiet ones get louder only if it `wakes`
    them, and no more than those of `LEAST`, which would clip what samples hide: else they have the loudest one's."""
    alive = reach > 0
    logs: Array = np.zeros(len(reach))
    if alive.any():
        quiet, loudest = reach < LEAST * reach.max(), reach.max()
        counted = np.where(quiet, LEAST * loudest if wakes else loudest, reach)
        logs[alive] = -alpha * np.log(counted[alive])
        logs[alive] -= logs[alive].mean()
    return logs
