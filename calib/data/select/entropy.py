"""Samples that are furthest from the mean of all, in the units in which all vary alike: they add most entropy.

    distance of i = z_i^T (C + damping * I)^-1 z_i        z = (v - mean) / deviation of each number,   C = E[z z^T]

Source: "PTQ4ARVG: Post-Training Quantization for AutoRegressive Visual Generation Models" 2026, its distribution-guided
calibration: the largest Mahalanobis distances. Damping is ours: where numbers depend on each other, or are more than
samples, C has no inverse. Such samples show ranges at their widest, and outliers with them.
Price: numbers**3 multiplications.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from bevel.calib.data.select.base import Rule, Vectors, ranked


@dataclass(frozen=True)
class EntropyRule(Rule):
    name: ClassVar[str] = "entropy"
    damping: float = 0.01

    def best(self, vectors: Vectors, count: int, rng: np.random.Generator) -> NDArray[np.int64]:
        centred = vectors - vectors.mean(0)
        deviation = centred.std(0)
        units = centred / np.where(deviation > 0, deviation, 1.0)
        related = units.T @ units / len(units) + self.damping * np.eye(units.shape[1])
        return ranked(np.einsum("ij,ji->i", units, np.linalg.solve(related, units.T)), count)


RULE = EntropyRule()
