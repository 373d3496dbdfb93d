"""Which factors the channels of tensors may bear: unknown scales above 0, of which some must be equal, inverse, or 1.

A label names a scale: an even number 2n the n-th, 2n + 1 its inverse; 0 is the number 1. Tying labels is union-find
(Tarjan 1975, "Efficiency of a Good But Not Linear Set Union Algorithm") in which a and b meet together with 1/a and
1/b. A scale that meets its own inverse is 1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Labels = NDArray[np.int64]  # in the shape of a tensor; axes along which labels are the same may have stride 0
ONE = 0


class Gauges:
    """The labels of a graph, and what is known of them."""

    def __init__(self) -> None:
        self.leaders = [ONE, ONE]

    def fresh(self, *shape: int) -> Labels:
        """New scales, bound to nothing."""
        count = int(np.prod(shape))
        first = len(self.leaders)
        self.leaders += range(first, first + 2 * count)
        return np.arange(first, first + 2 * count, 2).reshape(shape)

    def leader(self, label: int) -> int:
        """The label that stands for all that are tied to this one: the smallest."""
        while self.leaders[label] != label:
            self.leaders[label] = self.leaders[self.leaders[label]]  # halves the way for who comes next
            label = self.leaders[label]
        return label

    def tie(self, a: Labels, b: Labels) -> None:
        """Let each label of `a` be the one of `b` at its place."""
        for one, other in distinct(a, b):
            self.join(one, other)
            self.join(one ^ 1, other ^ 1)
            if self.leader(one) == self.leader(one ^ 1):
                self.join(one, ONE)

    def join(self, one: int, other: int) -> None:
        first, second = sorted((self.leader(one), self.leader(other)))
        self.leaders[second] = first

    def tie_along(self, labels: Labels, axes: Sequence[int]) -> Labels:
        """Let labels be the same along `axes`; these then have one element."""
        found = labels[tuple(slice(0, 1) if axis in axes else slice(None) for axis in range(labels.ndim))]
        if labels.size:
            self.tie(np.broadcast_to(found, labels.shape), labels)
        return found

    def is_one(self, labels: Labels) -> bool:
        """Whether all of them are known to be 1."""
        return all(self.leader(one) == ONE for one in np.unique(compact(labels)).tolist())

    def resolved(self, labels: Labels) -> Labels:
        """Leaders in place of labels, without strides of 0."""
        kept = compact(labels)
        known, places = np.unique(kept, return_inverse=True)
        leaders = np.array([self.leader(one) for one in known.tolist()], np.int64)
        return np.broadcast_to(leaders[places].reshape(kept.shape), labels.shape)

    def scales(self, labels: Labels, logs: Mapping[int, float]) -> NDArray[np.float64]:
        """The scales of `labels`, where `logs` has the logarithms of those of even leaders that are not 1."""
        resolved = self.resolved(labels)
        known = np.unique(compact(resolved))
        exponents = np.array([log_of(self.leader(one), self.leader(one ^ 1), logs) for one in known.tolist()])
        found: NDArray[np.float64] = np.exp(exponents)[np.searchsorted(known, resolved)]
        return found


def log_of(leader: int, inverse: int, logs: Mapping[int, float]) -> float:
    return logs[leader] if leader in logs else -logs.get(inverse, 0.0)


def compact(labels: NDArray[Any]) -> NDArray[Any]:
    """Without repetition along axes of stride 0."""
    return labels[tuple(slice(0, 1) if stride == 0 else slice(None) for stride in labels.strides)]


def distinct(a: Labels, b: Labels) -> list[tuple[int, int]]:
    """The different pairs of labels at equal places."""
    a, b = np.broadcast_arrays(a, b)
    within = tuple(
        slice(0, 1) if not (one or other) else slice(None) for one, other in zip(a.strides, b.strides, strict=True)
    )
    pairs = np.unique(np.stack([a[within].ravel(), b[within].ravel()]), axis=1)
    return [(one, other) for one, other in pairs.T.tolist() if one != other]
