"""An orthogonal matrix that is learned: the one with which what products read, and their weights, reach least far.

    cost(R) = sum over norms   4^-a |N R|_p^2 / E|N|^2  +  4^-w sum over rows |w R|_p^2 / |W|^2
            + sum over makers  4^-w n / d  sum over columns |M R|_p^2 / |M|^2

N: what is read behind a normalization, w: rows of the products there, M: weights [n, d] of what makes the stream of d
channels, |.|_p a smooth stand-in for the largest element, which sets a quantizer's step; a, w: bits of activations and
weights. All terms are, but for a factor, the power of what rounding adds to products over their own. Gradients are in
closed form; steps stay orthogonal by Cayley's transform

    R <- (1 + t A)^-1 (1 - t A) R,  A = G R^T - R G^T  skew

(Wen and Yin 2013, "A feasible method for optimization with orthogonality constraints"), with A 1 = 0 where R has to
keep the mean. Source: Hu et al. 2025, "OSTQuant: Refining Large Language Model Quantization with Orthogonal and Scaling
Transformations for Better Distribution Fitting", which learns on the model's own answers, by gradients through all of
it; here the cost is that of the products alone, and scales are chosen behind it (`rotate_stream`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from bevel.passes.transform.orthogonal import Matrix
from bevel.passes.transform.uses import Array

POWER = 8  # p: of 64 equal elements the norm is 1.7 times the largest, of one that stands out it is that
SHORTEST = 1e-6  # a step of less is no progress
ROWS = 2048  # of what is read


@dataclass(frozen=True, eq=False)
class Read:
    """rows: of what is read behind one normalization, without its gain, [n, size]; weights: of the products there, with
    the gain, [out, size]."""

    rows: Matrix
    weights: Matrix


@dataclass(frozen=True, eq=False)
class ReachCost:
    """What a rotation changes the reach of. made: of each product that makes the stream, its weights [in, size]; bits:
    of weights and activations."""

    reads: Sequence[Read]
    made: Sequence[Matrix]
    bits: tuple[int, int]

    @property
    def multiplications(self) -> int:
        """Of one step, the cost and its gradient."""
        every = [*(one.rows for one in self.reads), *(one.weights for one in self.reads), *self.made]
        return sum(2 * one.size * one.shape[1] for one in every)

    def terms(self) -> Iterator[tuple[Matrix, float, int | None]]:
        """What is turned, a factor, and the axis along which it has one quantizer: None if that is one for all."""
        weights, activations = (4.0**-bits for bits in self.bits)
        for one in self.reads:
            yield one.rows, activations * len(one.rows) / max(float(np.square(one.rows).sum()), 1e-30), None
            yield one.weights, weights / max(float(np.square(one.weights).sum()), 1e-30), 1
        for made in self.made:
            yield made, weights * len(made) / made.shape[1] / max(float(np.square(made).sum()), 1e-30), 0


def learned(start: Matrix, given: ReachCost, keeps_mean: bool, steps: int) -> Matrix:
    """From `start`, by so many steps of descent at most, of a length that doubles where it helps and halves until it
    does."""
    rotation, length = start, 1.0
    cost, gradient = cost_of(rotation, given)
    for _ in range(steps):
        skew = gradient @ rotation.T - rotation @ gradient.T
        if keeps_mean:
            skew = without_mean(skew)
        size = float(np.abs(skew).sum(1).max())
        while size > 0 and length > SHORTEST:
            found = cayley(skew * (length / size)) @ rotation
            tried, slope = cost_of(found, given)
            if tried < cost:
                rotation, cost, gradient = found, tried, slope
                length *= 2
                break
            length /= 2
        else:
            break
    return orthonormal(rotation)


def cost_of(rotation: Matrix, given: ReachCost) -> tuple[float, Array]:
    """The cost and its gradient."""
    gradient: Array = np.zeros(rotation.shape)
    total = 0.0
    for one, factor, axis in given.terms():
        cost, slope = reach(one @ rotation, axis)
        total += factor * cost
        gradient = gradient + factor * (one.T @ slope)
    return total, gradient


def reach(values: Matrix, axis: int | None) -> tuple[float, Array]:
    """|values|_p^2, of all or summed over what has a quantizer of its own along `axis`, and its gradient."""
    largest: Array = np.maximum(np.abs(values).max(axis, keepdims=True), 1e-30)
    even = np.abs(values) / largest
    powers = even ** (POWER - 1)
    norm: Array = np.maximum((powers * even).sum(axis, keepdims=True), 1) ** (1 / POWER)  # less is a row of zeros
    slope: Array = 2 * largest * norm ** (2 - POWER) * powers * np.sign(values)
    return float(np.square(largest * norm).sum()), slope


def cayley(skew: Matrix) -> Matrix:
    one = np.eye(len(skew))
    return np.asarray(np.linalg.solve(one + skew / 2, one - skew / 2), np.float64)


def without_mean(skew: Matrix) -> Matrix:
    """The skew matrix nearest to `skew` that takes (1, ..., 1) to 0."""
    centred = skew - skew.mean(0, keepdims=True)
    found: Matrix = centred - centred.mean(1, keepdims=True)
    return found


def orthonormal(matrix: Matrix) -> Matrix:
    """The nearest orthogonal matrix: steps leave rounding errors."""
    left, _, right = np.linalg.svd(matrix)
    found: Matrix = left @ right
    return found
