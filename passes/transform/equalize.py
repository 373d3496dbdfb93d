"""Cross-layer equalisation: weights that make a channel and weights that read it reach equally far.

    r1_i = max |W1[i, :]|,  r2_i = max |W2[:, i]|        s_i = sqrt(r1_i r2_i) / r1_i

Channel i is scaled by s_i where it is made and by 1 / s_i where it is read. Source: Nagel et al. 2019, "Data-Free
Quantization Through Weight Equalization and Bias Correction", section 4.1. It looks at weights alone, needs no data,
and is for weights with one scale for a whole tensor; here weights have one for each channel that they make, and what
gains is the activation between, or loses.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from bevel.calib.data.dataset import Runs
from bevel.passes.transform.flow import Flow
from bevel.passes.transform.scale_channels import ChosenScales, ScaleChannels, balanced, columns, largest, rows
from bevel.passes.transform.sites import ScalingSite


@dataclass(frozen=True)
class Equalize(ScaleChannels):
    """Places that products alone make and read; branches and residual sums are one place. least: the factor that the
    scales of a place span at least; less is not worth a change."""

    name: ClassVar[str] = "equalize"
    tells: ClassVar[bool] = True
    least: float = 1.01

    def takes(self, site: ScalingSite) -> bool:
        return bool(site.makers and site.readers) and not site.pairs and not site.others

    def choose(self, flow: Flow, sites: Sequence[ScalingSite], samples: Runs) -> list[ChosenScales]:
        found = []
        for site in sites:
            made = np.max([largest(flow, site, use.makes, rows(use), 1) for use in site.makers], 0)
            read = np.max([largest(flow, site, use.reads, columns(use), 1) for use in site.readers], 0)
            logs = balanced(made, read, 0.5)
            spread = float(np.exp(logs.max() - logs.min()))
            if spread < self.least:
                continue
            text = f"channels equalised: scales of {len(logs)} channels span a factor of {spread:.3g}"
            found.append(ChosenScales(site, logs, self.note(site.node, "changed", text, spread=spread)))
        return found
