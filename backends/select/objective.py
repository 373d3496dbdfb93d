"""What a choice between kernels is for: an inference that takes little, a product that is small, or both.

Weights of fewer bits are asked for to save flash, and kernels that keep them so take longer than those of bytes. How
much longer is worth it, is the rate of an objective: what one percent of a model's flash is worth, in percent of what
its inference spends. Shares of the whole model are compared, so that the bytes of a small layer buy little time. Of
kernels that save no bits the fastest is taken; that they pad weights, or have more code, is not held against them.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf


@dataclass(frozen=True)
class Objective:
    """`flash`: the percent of an inference's instructions, or time, that one percent of flash is worth which weights of
    fewer bits save; 0: nothing, and flash decides only between equals; infinite: the smallest product, whatever it
    takes."""

    name: str
    flash: float

    def score(self, work: float, flash: float, saved: float) -> tuple[float, float]:
        """Of shares of the whole model; the lowest is best. saved: by weights of fewer bits."""
        return (flash, work) if self.flash == inf else (work - self.flash * saved, flash)


# At a rate of 4 int4 and int2 keep their bytes also where kernels of a single row take twice as long for them, as every
# kernel of fewer bits did that applied, before there was a rate (weights of 6 bits to 1, MLPerf Tiny's four networks).
LATENCY, BALANCED, FLASH = Objective("latency", 0.0), Objective("balanced", 4.0), Objective("flash", inf)
OBJECTIVES = {one.name: one for one in (BALANCED, LATENCY, FLASH)}
