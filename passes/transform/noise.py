"""What rounding costs the products of a site, predicted from single channels, for any scales of these.

    error of a product by weights = sum over k  E[dx_k^2] sum over n W_kn^2  +  E[x_k^2] sum over n dW_kn^2
    error of q k                  = sum over k  E[dq_k^2] E[k_k^2]  +  E[q_k^2] E[dk_k^2]

each over the power of its output, as if errors were independent. dx adds up over every tensor on the way that is
rounded and bears the scales: the terms of a residual sum as well as the sum. dx and dW are what rounding sampled values
and all weights really leaves. It orders choices for one site; whether a choice helps the model is measured
elsewhere.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bevel.calib.data.dataset import Runs
from bevel.passes.quantize.plan import make_plan
from bevel.passes.transform.flow import Flow
from bevel.passes.transform.gauges import ONE, Labels, compact
from bevel.passes.transform.seen import see, values_of_places
from bevel.passes.transform.sites import ScalingSite
from bevel.passes.transform.uses import Array, LinearUse, grouped

CLIPS = np.array([1.0, 0.85, 0.7, 0.55, 0.4, 0.25])  # fractions of the extremes that a range may reach to


@dataclass(frozen=True, eq=False)
class Carrier:
    """A tensor that is rounded and bears scales of a site. values: of each scale, of the inverse of each, and, in the
    last row, of all elements that bear none; those that bear scales of other sites, which will be chosen for
    themselves, are left out. NaN where there are none."""

    values: NDArray[np.float32]

    def squares(self) -> tuple[Array, Array]:
        """E[x^2] for each scale, and for its inverse."""
        return halves(mean_squares(self.values))

    def largest(self, exponent: int) -> Array:
        """The largest value that bears each scale with an exponent of 1 or -1; 0 where none does."""
        found = halves(np.abs(np.nan_to_num(self.values)).max(1, initial=0.0))
        return found[0] if exponent > 0 else found[1]

    def errors(self, logs: Array, bits: int) -> tuple[Array, Array]:
        """E[dx^2] for each scale, and for its inverse, as if x bore none."""
        scales = np.exp(np.concatenate([logs, -logs, [0.0]]))[:, None]
        x = self.values * scales
        return halves(mean_squares((rounded_values(x, bits) - x) / scales))


def halves(rows: Array) -> tuple[Array, Array]:
    """All but the last, as two."""
    count = len(rows) // 2
    return rows[:count], rows[count:-1]


@dataclass(frozen=True, eq=False)
class ReadingProduct:
    """weights: `uses.grouped`; places: of each input channel among the site's scales, -1 where it bears none; power: of
    each input channel."""

    weights: Array
    places: NDArray[np.int64]
    power: Array

    def heard(self, count: int) -> Array:
        """For each scale, how loud what it bears is in the output, over the output's power."""
        gains = np.square(self.weights).sum((1, 3)).ravel()
        mine = self.places >= 0
        found = np.bincount(self.places[mine], gains[mine], count)
        return found / max(float(self.power @ gains), 1e-30)

    def lost(self, logs: Array, bits: int) -> float:
        """What rounding the weights takes, over the output's power."""
        groups, _, into, _ = self.weights.shape
        scales = np.exp(np.where(self.places >= 0, logs[self.places], 0.0)).reshape(groups, 1, into, 1)
        w = self.weights / scales
        error = np.square((rounded_rows(w, bits) - w) * scales).sum((1, 3)).ravel()
        total = float(self.power @ np.square(self.weights).sum((1, 3)).ravel())
        return float(self.power @ error) / max(total, 1e-30)


@dataclass(frozen=True, eq=False)
class SiteNoise:
    """heard: how loud an error of each scale is in the outputs, where it is borne with exponent 1, and -1."""

    carriers: Sequence[Carrier]
    products: Sequence[ReadingProduct]
    heard: tuple[Array, Array]

    def error(self, logs: Array, weight_bits: int, bits: int) -> float:
        total = sum(one.lost(logs, weight_bits) for one in self.products)
        for one in self.carriers:
            total += sum(float(error @ heard) for error, heard in zip(one.errors(logs, bits), self.heard, strict=True))
        return total

    def reach(self, exponent: int) -> Array:
        """For each scale the largest value that bears it with the exponent; 0 where none does."""
        none = np.zeros(len(self.heard[0]))
        found: Array = np.max([none, *(one.largest(exponent) for one in self.carriers)], 0)
        return found


def listen(flow: Flow, sites: Sequence[ScalingSite], samples: Runs) -> list[SiteNoise]:
    """Of each site, from one run of all samples."""
    plan = make_plan(flow.graph)
    rounded = [name for name in plan.points if name in flow.labels and name not in plan.moved]
    borne = {name: set(np.unique(flow.gauges.resolved(flow.labels[name]) & ~np.int64(1)).tolist()) for name in rounded}
    carried = [[name for name in rounded if borne[name] & set(site.scales)] for site in sites]
    names = {name for one in carried for name in one}
    names |= {use.x.name for site in sites for use in site.readers}
    names |= {tensor.name for site in sites for use in site.pairs for tensor in use.node.inputs}
    arrays = see(flow.graph, sorted(names), samples)
    return [noise_of(flow, site, own, arrays) for site, own in zip(sites, carried, strict=True)]


def noise_of(
    flow: Flow, site: ScalingSite, carried: Sequence[str], arrays: Mapping[str, list[NDArray[Any]]]
) -> SiteNoise:
    count = len(site.scales)
    carriers = [carrier(flow, site, flow.labels[name], arrays[name]) for name in carried]
    products = [reading(flow, site, use, arrays[use.x.name]) for use in site.readers]
    heard = np.sum([one.heard(count) for one in products], 0) if products else np.zeros(count)
    plus, minus = heard.copy(), heard.copy()
    for use in site.pairs:
        left, right = (
            carrier(flow, site, labels, arrays[tensor.name])
            for labels, tensor in zip((use.left, use.right), use.node.inputs, strict=True)
        )
        powers = [np.sum(one.squares(), 0) for one in (left, right)]
        total = max(float(powers[0] @ powers[1]), 1e-30)
        for one, other in ((left, powers[1]), (right, powers[0])):
            plus += np.where(one.largest(1) > 0, other, 0.0) / total
            minus += np.where(one.largest(-1) > 0, other, 0.0) / total
    return SiteNoise(carriers, products, (plus, minus))


def carrier(flow: Flow, site: ScalingSite, labels: Labels, arrays: list[NDArray[Any]]) -> Carrier:
    kept = compact(labels)
    places, exponents = site.places(kept, flow.gauges)
    count = len(site.scales)
    rows = np.where(places >= 0, places + count * (exponents < 0), places)
    elsewhere = (places < 0) & (flow.gauges.resolved(kept) != ONE)
    return Carrier(values_of_places(arrays, np.broadcast_to(np.where(elsewhere, -2, rows), labels.shape), 2 * count))


def reading(flow: Flow, site: ScalingSite, use: LinearUse, arrays: list[NDArray[Any]]) -> ReadingProduct:
    places, _ = site.places(use.reads, flow.gauges)
    axis = use.channel_axis
    rows = [np.square(np.moveaxis(one, axis, 0).reshape(one.shape[axis], -1), dtype=np.float64) for one in arrays]
    return ReadingProduct(grouped(use.node), places, np.mean([one.mean(1) for one in rows], 0))


def mean_squares(values: NDArray[np.floating]) -> Array:
    """Of each row, without NaN; 0 of an empty one."""
    counts = np.maximum((~np.isnan(values)).sum(1), 1)
    found: Array = np.square(np.nan_to_num(values), dtype=np.float64).sum(1) / counts
    return found


def rounded_values(x: NDArray[np.floating], bits: int) -> NDArray[np.floating]:
    """`x` on the asymmetric grid of 2**bits steps of least squared error, its ends at one of `CLIPS`; NaN stays."""
    low, high = min(float(np.nanmin(x)), 0.0), max(float(np.nanmax(x)), 0.0)
    if low == high:
        return x
    missing = np.isnan(x)
    reals = np.where(missing, 0.0, x).astype(np.float64)  # 0 is on every grid, and adds no error
    best, least, found, error = x, np.inf, np.empty_like(reals), np.empty_like(reals)
    for clip in CLIPS:
        step = (high - low) * clip / (2**bits - 1)
        zero = np.rint(-low * clip / step)
        np.rint(np.divide(reals, step, out=found), out=found)
        np.clip(np.add(found, zero, out=found), 0, 2**bits - 1, out=found)
        np.multiply(np.subtract(found, zero, out=found), step, out=found)
        lost = float(np.square(np.subtract(found, reals, out=error), out=error).sum())
        if lost < least:
            best, least, found = found, lost, np.empty_like(reals)
    best[missing] = np.nan
    return best


def rounded_each(x: NDArray[np.floating], bits: int) -> NDArray[np.floating]:
    """`x` [rows, n], each row on an asymmetric grid of 2**bits steps between its own ends, as `row-scales` has it."""
    low, high = np.minimum(x.min(1, keepdims=True), 0), np.maximum(x.max(1, keepdims=True), 0)
    step = np.maximum(high - low, np.finfo(np.float32).tiny) / (2**bits - 1)
    zero = np.rint(-low / step)
    found: NDArray[np.floating] = (np.clip(np.rint(x / step) + zero, 0, 2**bits - 1) - zero) * step
    return found


def rounded_rows(weights: Array, bits: int) -> Array:
    """[groups, out, in, taps] with one symmetric scale for each output channel, of least squared error."""
    reach = np.abs(weights).max((2, 3), keepdims=True)
    reach = np.where(reach > 0, reach, 1.0)
    limit = 2 ** (bits - 1) - 1
    best, least = weights, np.full(reach.shape, np.inf)
    for clip in CLIPS:
        step = reach * clip / max(limit, 1)
        found = np.clip(np.rint(weights / step), -limit, limit) * step
        error = np.square(found - weights).sum((2, 3), keepdims=True)
        best, least = np.where(error < least, found, best), np.minimum(error, least)
    return best
