"""How many answers changed beside the float model's, and between what bounds that leaves the truth.

Both models answer the same samples, so their right answers are compared in pairs: of `labelled` samples, `lost` are
right in the float model alone and `gained` in the other alone. The interval of the difference of both shares is the
adjusted Wald one of Agresti and Min 2005, "Simple improved confidence intervals for comparing matched proportions":
with b = lost, c = gained and n samples,

    (c - b) / (n + 2)  +-  z sqrt(b + c + 1 - (c - b)**2 / (n + 2)) / (n + 2)

Equal shares may hide many changes, which is why the changes are counted: Dutta et al. 2024, "Accuracy is Not All You
Need", calls them flips. The share of samples with the same answer has the score interval of Wilson 1927.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

Z = 1.959964  # of 95 %, two-sided
CONFIDENCE = "95 %"


@dataclass(frozen=True)
class Answers:
    """Of `labelled` samples of --eval: those that the float model has right and the integer one wrong (lost), the other
    way round (gained), and those that both have wrong, with different answers (changed)."""

    labelled: int
    lost: int
    gained: int
    changed: int
    difference: float  # of the shares of right answers, integer less float
    low: float  # the 95 % interval of that
    high: float

    @staticmethod
    def of(labelled: int, lost: int, gained: int, changed: int) -> Answers:
        """Raises ValueError for no samples."""
        if labelled < 1:
            raise ValueError("answers of no sample have no interval")
        low, high = paired_interval(labelled, lost, gained)
        return Answers(labelled, lost, gained, changed, (gained - lost) / labelled, low, high)

    def told(self) -> str:
        points = [f"{100 * one:+.2f}" for one in (self.difference, self.low, self.high)]
        return (
            f"{self.lost} lost, {self.gained} gained, {self.changed} otherwise changed of {self.labelled}: "
            f"{points[0]} points ({points[1]} to {points[2]})"
        )


def paired_interval(labelled: int, lost: int, gained: int) -> tuple[float, float]:
    """The 95 % interval of the difference of two shares of right answers on the same samples."""
    count, difference = labelled + 2, gained - lost
    middle = difference / count
    reach = Z * math.sqrt(lost + gained + 1 - difference**2 / count) / count
    return max(middle - reach, -1.0), min(middle + reach, 1.0)


def share_interval(share: float, count: int) -> tuple[float, float]:
    """The 95 % interval of a share that was counted over `count` independent samples, at least one."""
    spread = Z**2 / count
    middle = share + spread / 2
    reach = Z * math.sqrt(share * (1 - share) / count + spread / (4 * count))
    return max((middle - reach) / (1 + spread), 0.0), min((middle + reach) / (1 + spread), 1.0)
