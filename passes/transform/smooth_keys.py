"""Keys of attention are smoothed against queries: what scales one channel of both cancels in their product.

    sum over k of q_k s_k  k_k / s_k        s_k = max |K_k|^(1 - alpha) / max |Q_k|^alpha

Keys have a few channels that are large for all positions, as KIVI (Liu et al. 2024) found. Where a rotary embedding
stands between, both channels of a rotated pair get one scale, so it passes through; where heads share keys, all their
queries do. The weights of the projections take the scales up, and so may gains behind them. alpha is searched: the one
that leaves the scores the least error when all that is rounded on the way to them is (`noise`), or none.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from bevel.passes.transform.flow import Flow
from bevel.passes.transform.noise import SiteNoise
from bevel.passes.transform.sites import ScalingSite
from bevel.passes.transform.smooth import Smooth
from bevel.passes.transform.uses import Array


@dataclass(frozen=True)
class SmoothKeys(Smooth):
    """Places where two activations are multiplied. alpha: one for all, or below 0: searched for each."""

    name: ClassVar[str] = "smooth-keys"
    told: ClassVar[str] = (
        "keys smoothed against queries with alpha {alpha:.1f}: rounding both is predicted to cost {gain:.1f} dB less "
        "of the scores"
    )

    def takes(self, site: ScalingSite) -> bool:
        return bool(site.pairs) and not site.readers

    def shrinking(self, flow: Flow, site: ScalingSite, noise: SiteNoise) -> Array:
        return noise.reach(-1)
