"""Keys of attention are smoothed against queries: what scales one channel of both cancels in their product.

    sum over k of q_k s_k  k_k / s_k        s_k = max |K_k|^(1 - alpha) / max |Q_k|^alpha

Keys have a few channels that are large for all positions, as KIVI (Liu et al. 2024) found. Where a rotary embedding
stands between, both channels of a rotated pair get one scale, so it passes through; where heads share keys, all their
queries do. The weights of the projections take the scales up, and so may gains behind them. alpha is searched: the one
that leaves the scores the least error when all that is rounded on the way to them is (`noise`), or none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from bevel.calib.data.dataset import Runs
from bevel.passes.transform.flow import Flow
from bevel.passes.transform.noise import listen
from bevel.passes.transform.scale_channels import ChosenScales
from bevel.passes.transform.sites import ScalingSite
from bevel.passes.transform.smooth import Smooth


@dataclass(frozen=True)
class SmoothKeys(Smooth):
    """Places where two activations are multiplied. alpha: one for all, or below 0: searched for each."""

    name: ClassVar[str] = "smooth-keys"

    def takes(self, site: ScalingSite) -> bool:
        return bool(site.pairs) and not site.readers

    def choose(self, flow: Flow, sites: Sequence[ScalingSite], samples: Runs) -> list[ChosenScales]:
        found = []
        for site, noise in zip(sites, listen(flow, sites, samples), strict=True):
            best = self.searched(noise, noise.reach(1), noise.reach(-1))
            if best is not None:
                text = (
                    f"keys smoothed against queries with alpha {best.alpha:.1f}: rounding both is predicted to cost "
                    f"{best.gain:.1f} dB less of the scores"
                )
                note = self.note(site.node, "changed", text, alpha=best.alpha, predicted_db=best.gain)
                found.append(ChosenScales(site, best.logs, note))
        return found
