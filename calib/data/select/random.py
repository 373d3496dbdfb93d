"""Samples drawn at random: what other rules are to be better than. The price is none."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from bevel.calib.data.select.base import Rule, Vectors


@dataclass(frozen=True)
class RandomRule(Rule):
    name: ClassVar[str] = "random"
    draws: ClassVar[bool] = True

    def best(self, vectors: Vectors, count: int, rng: np.random.Generator) -> NDArray[np.int64]:
        return rng.choice(len(vectors), count, replace=False)


RULE = RandomRule()
