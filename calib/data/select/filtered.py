"""Samples as usual as most, equally many of each kind: outliers are left out, the others fall into clusters.

An outlier's mean or deviation lies more than `reach` times the quartiles' distance beyond either quartile. Clusters are
those of k-means (Lloyd), the best of `starts` that begin with samples as far apart as chance has them (Arthur and
Vassilvitskii 2007, "k-means++"); from each are drawn equally many, as far as it has some. Where too few are left,
outliers come last.

Source: Feng et al. 2026, "Quantized Visual Geometry Grounded Transformer" (QuantVGGT), its noise-filtered diverse
sampling. Price: `starts` times `rounds` times clusters times samples distances at most.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from bevel.calib.data.select.base import Rule, Vectors, distances

Places = NDArray[np.int64]


@dataclass(frozen=True)
class FilteredRule(Rule):
    """reach, clusters: as Feng et al. have them."""

    name: ClassVar[str] = "filtered"
    draws: ClassVar[bool] = True
    reach: float = 1.5
    clusters: int = 5
    starts: int = 10
    rounds: int = 50

    def best(self, vectors: Vectors, count: int, rng: np.random.Generator) -> Places:
        usual = np.flatnonzero(within(vectors.mean(1), self.reach) & within(vectors.std(1), self.reach))
        if not usual.size:  # those of usual means have unusual deviations
            usual = np.arange(len(vectors))
        others = np.setdiff1d(np.arange(len(vectors)), usual)
        labels = self.labels(vectors[usual], rng)
        kinds = [rng.permutation(usual[labels == label]) for label in np.unique(labels)]
        return np.concatenate([in_turn(kinds), rng.permutation(others)])[:count]

    def labels(self, vectors: Vectors, rng: np.random.Generator) -> Places:
        """The cluster of each."""
        runs = [self.clustered(vectors, rng) for _ in range(self.starts)]
        return min(runs, key=lambda run: run[0])[1]

    def clustered(self, vectors: Vectors, rng: np.random.Generator) -> tuple[float, Places]:
        """What is left of the squared distances, and the cluster of each."""
        centres = first_centres(vectors, min(self.clusters, len(vectors)), rng)
        labels: Places = np.full(len(vectors), -1)
        for _ in range(self.rounds):
            found = distances(vectors, centres).argmin(1)
            if np.array_equal(found, labels):
                break
            labels = found
            for label in np.unique(labels):
                centres[label] = vectors[labels == label].mean(0)
        return float(distances(vectors, centres).min(1).sum()), labels


def within(values: Vectors, reach: float) -> NDArray[np.bool_]:
    """Which lie no further beyond a quartile than `reach` times what both are apart."""
    low, high = np.quantile(values, (0.25, 0.75))
    room = reach * (high - low)
    found: NDArray[np.bool_] = (values >= low - room) & (values <= high + room)
    return found


def first_centres(vectors: Vectors, count: int, rng: np.random.Generator) -> Vectors:
    """Of samples: each further one is the likelier the further it is from those before it."""
    centres = [vectors[rng.integers(len(vectors))]]
    while len(centres) < count:
        left = distances(vectors, np.array(centres)).min(1)
        share = left / left.sum() if left.sum() > 0 else np.full(len(left), 1 / len(left))
        centres.append(vectors[rng.choice(len(vectors), p=share)])
    return np.array(centres)


def in_turn(kinds: list[Places]) -> Places:
    """One of each kind, one of each again, until all are out."""
    turns = np.concatenate([np.arange(len(kind)) for kind in kinds])
    return np.concatenate(kinds)[np.argsort(turns, kind="stable")]


RULE = FilteredRule()
