"""Samples that have many others near them, and yet point elsewhere than these.

    weight of i = density + diversity * spread       density: how many others lie within the median distance of two
    spread = sum over j of 1 - cos(v_i, v_j)         both from 0 to 1

Source: Liu et al. 2024, "EDA-DM: Enhanced Distribution Alignment for Post-Training Quantization of Diffusion Models",
its temporal alignment of calibration samples, which draws by these weights from the steps of a diffusion; here the
samples of most weight are taken. Its radius is a number, 3.0; the median distance knows no units.
Price: samples**2 distances.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from bevel.calib.data.select.base import Rule, Vectors, distances, ranked


@dataclass(frozen=True)
class DensityRule(Rule):
    """diversity: what the spread counts, as Liu et al. have it."""

    name: ClassVar[str] = "density"
    diversity: float = 1.2

    def best(self, vectors: Vectors, count: int, rng: np.random.Generator) -> NDArray[np.int64]:
        apart = distances(vectors, vectors)
        radius = np.median(apart[np.triu_indices(len(apart), 1)])
        near = (apart <= radius).sum(1).astype(np.float64)
        lengths = np.sqrt(np.square(vectors).sum(1, keepdims=True))
        turned = vectors / np.where(lengths > 0, lengths, 1.0)
        spread = len(turned) - turned @ turned.sum(0)
        return ranked(from_0_to_1(near) + self.diversity * from_0_to_1(spread), count)


def from_0_to_1(values: Vectors) -> Vectors:
    span = np.ptp(values)
    found: Vectors = (values - values.min()) / (span if span > 0 else 1.0)
    return found


RULE = DensityRule()
