"""A Kronecker product of two small matrices that is learned: the one behind which a product loses least by rounding.

    x W = (x P) (P^-1 W),    P = A (x) B,  A [a, a], B [b, b], a b = n

    cost(P) = 4^-activations |x P|_p^2 |P^-1 W|^2  +  4^-weights |x P|^2 sum over columns |P^-1 W|_p^2

Both terms are, but for a factor, the power of what rounding adds to the product: steps go with the largest element,
for which |.|_p is a smooth stand-in (`learned.reach`), and what is rounded on one side is heard by the other. A
row of x is a matrix of a rows and b columns, and x P is A^T x B: two small products. Gradients are in closed form,
and steps are multiplicative,

    A <- A (1 - t G_A),  B <- B (1 - t G_B),  t |G| < 1

which leaves matrices invertible; those that are near to singular are not taken. Source: Sun et al. 2025, "FlatQuant:
Flatness Matters for LLM Quantization", section 3, which learns a singular value decomposition by gradients through
whole blocks, with a scale for each channel and clipping; here scales are left to `smooth`, clipping to how ranges are
chosen, and the cost is that of the products alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bevel.passes.transform.learned import reach
from bevel.passes.transform.orthogonal import Matrix, divisors, kron

STEPS = 60
ROWS = 512  # of what is read, that one is learned from
LONGEST, SHORTEST = 0.5, 1e-4  # of a step
GAINED = 1e-4  # of the cost: a step that takes less of it is the last
SINGULAR = 30.0  # the largest condition of a factor: rounding errors grow by it


@dataclass(frozen=True, eq=False)
class Affine:
    """P = left (x) right; of one factor alone where `left` is [[1]]."""

    left: Matrix
    right: Matrix

    @property
    def matrix(self) -> Matrix:
        return kron(self.left, self.right)

    @property
    def inverse(self) -> Affine:
        return Affine(inverted(self.left), inverted(self.right))

    def of_rows(self, rows: NDArray[np.floating]) -> Matrix:
        """rows P, of [..., n]."""
        each = (rows.reshape(-1, len(self.right)) @ self.right).reshape(-1, len(self.left), len(self.right))
        return np.asarray(self.left.T @ each, np.float64).reshape(rows.shape)

    def of_weights(self, weights: Matrix) -> Matrix:
        """P^-1 weights, of [n, out]."""
        back = self.inverse
        return Affine(back.left.T, back.right.T).of_rows(weights.T).T


def factors_of(n: int) -> tuple[int, int]:
    """The two nearest to each other, the smaller one first: 1 and n of a prime."""
    left = max(one for one in divisors(n) if one * one <= n)
    return left, n // left


def learned_affine(rows: Matrix, weights: Matrix, left: int, bits: tuple[int, int], of_each_row: bool) -> Affine:
    """From the identity, by descent with a step that doubles where it helps and halves until it does.

    rows: [count, n]; weights: [n, out]; left: the size of the first factor; bits: of weights and activations;
    of_each_row: whether each row of x is rounded with a scale of its own.
    """
    found, length = Affine(np.eye(left), np.eye(rows.shape[1] // left)), LONGEST
    if not (rows.any() and weights.any()):
        return found
    cost, slopes = cost_of(found, rows, weights, bits, of_each_row)
    for _ in range(STEPS):
        size = max(float(np.linalg.norm(one, 2)) for one in slopes)
        before = cost
        while size > 0 and length > SHORTEST:
            tried = stepped(found, slopes, length / size)
            if max(map(np.linalg.cond, (tried.left, tried.right))) < SINGULAR:
                left_over, next_slopes = cost_of(tried, rows, weights, bits, of_each_row)
                if left_over < cost:
                    found, cost, slopes = tried, left_over, next_slopes
                    length = min(2 * length, LONGEST)
                    break
            length /= 2
        if cost > before * (1 - GAINED):
            break
    return found


def cost_of(
    affine: Affine, rows: Matrix, weights: Matrix, bits: tuple[int, int], of_each_row: bool
) -> tuple[float, tuple[Matrix, Matrix]]:
    """The cost, and its slopes by what both factors are multiplied with."""
    x, w = affine.of_rows(rows), affine.of_weights(weights).T
    (far, by_x), (wide, by_w) = reach(x, 1 if of_each_row else None), reach(w, 1)
    loud, heavy = float(np.square(x).sum()), float(np.square(w).sum())
    inputs = 4.0 ** -bits[1] * (1 if of_each_row else len(x))
    of_weights = 4.0 ** -bits[0]
    by_x = inputs * heavy * by_x + 2 * of_weights * wide * x
    by_w = of_weights * loud * by_w + 2 * inputs * far * w
    left, right = (across(x, by_x, affine, outer) - across(by_w, w, affine, outer) for outer in (True, False))
    return inputs * far * heavy + of_weights * wide * loud, (left, right)


def across(one: Matrix, other: Matrix, affine: Affine, outer: bool) -> Matrix:
    """The sum over rows of one^T other: each row is a matrix [left, right], and columns are summed over, or rows."""
    shape = (-1, len(affine.left), len(affine.right))
    pair = [np.moveaxis(each.reshape(shape), 1, 2) if outer else each.reshape(shape) for each in (one, other)]
    size = len(affine.left if outer else affine.right)
    return np.asarray(pair[0].reshape(-1, size).T @ pair[1].reshape(-1, size), np.float64)


def stepped(affine: Affine, slopes: tuple[Matrix, Matrix], length: float) -> Affine:
    pairs = zip((affine.left, affine.right), slopes, strict=True)
    return Affine(*(one @ (np.eye(len(one)) - length * slope) for one, slope in pairs))


def inverted(matrix: Matrix) -> Matrix:
    return np.asarray(np.linalg.inv(matrix), np.float64)
