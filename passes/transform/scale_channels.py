"""Transforms that scale channels: they find where scales are free, choose them, and let constants take them up."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import onnx_graphsurgeon as gs

from bevel.calib.data.dataset import Runs
from bevel.passes.base import Note
from bevel.passes.transform.flow import Flow, find_flow
from bevel.passes.transform.gauges import Labels
from bevel.passes.transform.sites import ScalingSite, apply_scales, find_sites
from bevel.passes.transform.transform import Changed, Transform
from bevel.passes.transform.uses import Array, LinearUse, grouped

BOUND = float(np.log(2.0**16))  # of a scale's logarithm either way: what would need more is a channel that is dead


@dataclass(frozen=True, eq=False)
class ChosenScales:
    """logs: of the scales of a site, in its order; note: what decided."""

    site: ScalingSite
    logs: Array
    note: Note


@dataclass(frozen=True)
class ScaleChannels(Transform):
    """Subclasses say which places are theirs, and choose. tells: whether it notes where scales are blocked; opens:
    whether clamps let scales through, which it then chooses so that nothing is clamped that was not."""

    tells: ClassVar[bool] = False
    opens: ClassVar[bool] = False

    @abstractmethod
    def takes(self, site: ScalingSite) -> bool:
        """Whether the place is of the kind."""

    @abstractmethod
    def choose(self, flow: Flow, sites: Sequence[ScalingSite], samples: Runs) -> list[ChosenScales]:
        """Scales for those of `sites` that gain by it."""

    def changed(self, graph: gs.Graph, samples: Runs) -> tuple[Changed | None, list[Note]]:
        flow = find_flow(graph, self.opens)
        sites = [site for site in find_sites(flow) if self.takes(site)]
        stays = [self.note(node, "stays", text) for node, text in flow.blocked] if self.tells else []
        chosen = self.choose(flow, sites, samples) if sites else []
        logs = {
            scale: float(log)
            for one in chosen
            for scale, log in zip(one.site.scales, one.logs, strict=True)
            if log != 0
        }
        if not logs:
            return None, stays
        apply_scales(flow, logs)
        tensors = {use.x.name: use.channel_axis for one in chosen for use in one.site.readers}
        tensors |= {use.node.inputs[0].name: -1 for one in chosen for use in one.site.pairs}
        tensors |= {use.node.inputs[1].name: -2 for one in chosen for use in one.site.pairs}
        return Changed(graph, len(chosen), tensors, tuple(one.note for one in chosen)), stays


def balanced(plus: Array, minus: Array, alpha: float) -> Array:
    """Logarithms of minus^(1 - alpha) / plus^alpha for each of a site's scales, with a mean of 0; 0 where either is 0.

    plus: what grows with a scale, minus: what shrinks with it. SmoothQuant's formula, inverted: see `smooth`.
    """
    alive = (plus > 0) & (minus > 0)
    logs = np.zeros(len(plus))
    if alive.any():
        logs[alive] = (1 - alpha) * np.log(minus[alive]) - alpha * np.log(plus[alive])
        logs[alive] -= logs[alive].mean()
    bounded: Array = logs.clip(-BOUND, BOUND)
    return bounded


def largest(flow: Flow, site: ScalingSite, labels: Labels, values: Array, exponent: int) -> Array:
    """For each scale of the site the largest of `values` (not negative, in the shape of `labels`) that bears it with
    `exponent`; 0 where none does."""
    places, exponents = site.places(labels, flow.gauges)
    found = np.zeros(len(site.scales))
    mine = (places >= 0) & (exponents == exponent)
    np.maximum.at(found, places[mine], np.broadcast_to(values, labels.shape)[mine])
    return found


def columns(use: LinearUse) -> Array:
    """The largest weight that each input channel meets: [in]."""
    found: Array = np.abs(grouped(use.node)).max((1, 3)).ravel()
    return found


def rows(use: LinearUse) -> Array:
    """The largest weight that makes each output channel: [out]."""
    found: Array = np.abs(grouped(use.node)).max((2, 3)).ravel()
    return found
