"""Networks with outlier channels that compute what they did: those that a network has not are put in, to be taken out.

Hidden channels: in every place where scales of channels are free (`bevel.passes.transform.flow`: what normalizations
and value projections make, queries and keys, the linear side of a gate), a few are made `FACTOR` times louder where
they are made, and read so much more quietly. Smoothing knows how to undo exactly that.

The residual stream bears no scale, as a normalization reads it; but it may be turned (`bevel.passes.transform.stream`).
Turned into its principal axes, a few of its channels are as loud as an orthogonal matrix can make them, and with them
what products read behind each normalization, as in language models (Ashkboos et al. 2024, QuaRot, figure 1). A scale
for each channel trades them against weights; a rotation spreads them.
"""

from __future__ import annotations

import numpy as np
import onnx_graphsurgeon as gs

from bevel.calib.data.dataset import Runs, spread_samples
from bevel.passes.transform.flow import find_flow
from bevel.passes.transform.orthogonal import keeping_mean, principal
from bevel.passes.transform.rotate_stream import covariance, fold
from bevel.passes.transform.seen import SAMPLES, see
from bevel.passes.transform.sites import apply_scales, find_sites
from bevel.passes.transform.stream import ResidualStream, find_streams

FACTOR = 30.0
SHARE = 16  # of so many channels of a place, one is made louder, and one at least


def louder(graph: gs.Graph, seed: int = 0) -> gs.Graph:
    """`graph`, canonical and float, with loud hidden channels: edited in place; it computes the same."""
    flow, rng = find_flow(graph), np.random.default_rng(seed)
    logs: dict[int, float] = {}
    for site in find_sites(flow):
        count = max(1, len(site.scales) // SHARE)
        logs |= dict.fromkeys(rng.choice(site.scales, count, replace=False).tolist(), float(np.log(FACTOR)))
    apply_scales(flow, logs)
    return graph


def concentrated(graph: gs.Graph, samples: Runs) -> gs.Graph:
    """`graph` with each residual stream in its principal axes, as far as means allow: edited in place, likewise."""
    streams = [one for one in find_streams(graph) if isinstance(one, ResidualStream)]
    names = [tensor.name for one in streams for norm in one.norms for tensor in (norm.x, norm.result)]
    seen = see(graph, names, spread_samples(samples, SAMPLES))
    for one in streams:
        axes = principal(covariance(one, seen))
        fold(graph, one, keeping_mean(axes) if one.centers else axes)
    return graph.cleanup().toposort()
