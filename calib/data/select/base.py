"""What a rule is: vectors of samples and a number go in, the places of so many samples come out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float64]  # [samples, numbers], finite


@dataclass(frozen=True)
class Rule(ABC):
    """One way to choose; fields are its options. A file of this folder holds one, as `RULE`, and bears its name.

    draws: whether another seed chooses others.
    """

    name: ClassVar[str]
    draws: ClassVar[bool] = False

    @abstractmethod
    def best(self, vectors: Vectors, count: int, rng: np.random.Generator) -> NDArray[np.int64]:
        """The places of `count` samples, of more than that, in any order."""

    def __call__(self, vectors: Vectors, count: int, seed: int = 0) -> tuple[int, ...]:
        """`count` places, ascending, or all. vectors: of the samples, [samples, numbers]; seed: of what is drawn."""
        if count >= len(vectors):
            return tuple(range(len(vectors)))
        scaled = vectors / (np.abs(vectors).max(initial=0.0) or 1.0)
        return tuple(sorted(map(int, self.best(scaled, count, np.random.default_rng(seed)))))


def distances(vectors: Vectors, others: Vectors) -> Vectors:
    """Squared, between each of both: [samples, others]."""
    squares = np.square(vectors).sum(1)[:, np.newaxis] + np.square(others).sum(1)
    found: Vectors = np.maximum(squares - 2 * vectors @ others.T, 0.0)
    return found


def ranked(scores: Vectors, count: int) -> NDArray[np.int64]:
    """The places of the largest, the first of those that are alike."""
    return np.argsort(-scores, kind="stable")[:count]
