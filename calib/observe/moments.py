"""What least squares need to know of a product: how its inputs go with each other, and with what it should make.

    second = E[x x^T],  cross = E[x y^T],  and the means of both      x: a row that is read, y: what is to be made of it

    E[|y - w^T x|**2] = E[|y|**2] - 2 <w, cross> + <w, second w>      the error of any weights w [k, out]

x may be what a quantized model reads, y what the float one makes: that error is what the product adds to, and what it
leaves of, all errors before it. Sources: Frantar et al. 2023, "GPTQ: Accurate Post-Training Quantization for Generative
Pre-trained Transformers" (second, which is half its Hessian); Zhang, Zhou and Saab 2023, "Post-training Quantization
for Neural Networks with Provable Guarantees" (x of the quantized model, y of the float one).

Where some rows count more than others, all of these are means weighted by `counts` (Sung et al. 2025, "RSQ: Learning
from Important Tokens Leads to Better Quantized LLMs").

Values are rounded to `BITS` bits below the largest, so that sums of their products are whole numbers that float64
holds: the order in which a machine adds them changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import frexp, ldexp

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

BITS = 18  # with a row count of up to 17 bits, products of two leave none of the 53 bits of float64


@dataclass(frozen=True, eq=False)
class Moments:
    """Sums over rows that count `count` together: x_sum [groups, k], y_sum [groups, out], x_squares [groups, k, k],
    products [groups, k, out], y_squares [groups, out]."""

    count: float
    x_sum: Floats
    y_sum: Floats
    x_squares: Floats
    products: Floats
    y_squares: Floats

    @staticmethod
    def of(x: NDArray[np.float32], y: NDArray[np.float32], counts: NDArray[np.float32] | None = None) -> Moments:
        """Of rows [groups, rows, k] and [groups, rows, out]; counts: positive, how often each row counts: [rows]."""
        each = None if counts is None else counts[:, np.newaxis]
        rows = (x, y) if each is None else (x * np.sqrt(each), y * np.sqrt(each))
        (x_whole, x_unit), (y_whole, y_unit) = map(whole_numbers, rows)
        turned = x_whole.swapaxes(1, 2)
        return Moments(
            float(x.shape[1] if each is None else summed(each[np.newaxis]).item()),
            x_whole.sum(axis=1) * x_unit if each is None else summed(x * each),
            y_whole.sum(axis=1) * y_unit if each is None else summed(y * each),
            (turned @ x_whole) * x_unit**2,
            (turned @ y_whole) * (x_unit * y_unit),
            np.square(y_whole).sum(axis=1) * y_unit**2,
        )

    def __add__(self, other: Moments) -> Moments:
        return Moments(
            self.count + other.count,
            self.x_sum + other.x_sum,
            self.y_sum + other.y_sum,
            self.x_squares + other.x_squares,
            self.products + other.products,
            self.y_squares + other.y_squares,
        )

    @property
    def finite(self) -> bool:
        return bool(np.isfinite(self.x_squares).all() and np.isfinite(self.y_squares).all())

    @property
    def second(self) -> Floats:
        """E[x x^T]: [groups, k, k]."""
        return self.x_squares / (self.count or 1)

    @property
    def cross(self) -> Floats:
        """E[x y^T]: [groups, k, out]."""
        return self.products / (self.count or 1)

    @property
    def x_mean(self) -> Floats:
        return self.x_sum / (self.count or 1)

    @property
    def y_mean(self) -> Floats:
        return self.y_sum / (self.count or 1)

    @property
    def y_power(self) -> Floats:
        """E[y**2]: [groups, out]."""
        return self.y_squares / (self.count or 1)

    def error(self, weights: Floats, shift: Floats | float = 0.0) -> Floats:
        """E[(y - w^T x - shift)**2] of each output: [groups, out]. weights: [groups, k, out]; shift: [groups, out]."""
        left = self.second @ weights - 2 * self.cross
        errors = self.y_power + np.einsum("gko,gko->go", weights, left)
        mean = self.y_mean - np.einsum("gko,gk->go", weights, self.x_mean)
        found: Floats = errors - 2 * shift * mean + np.square(shift)
        return np.maximum(found, 0.0)  # below it by rounding only

    def shift(self, weights: Floats) -> Floats:
        """What is to be added to each output so that its mean is that of y: [groups, out]."""
        found: Floats = self.y_mean - np.einsum("gko,gk->go", weights, self.x_mean)
        return found


def summed(values: NDArray[np.float32]) -> Floats:
    """Over the rows of [groups, rows, k], in any order the same."""
    whole, unit = whole_numbers(values)
    found: Floats = whole.sum(axis=1) * unit
    return found


def whole_numbers(values: NDArray[np.float32]) -> tuple[Floats, float]:
    """`values` as whole numbers of at most `BITS` bits, and what each is worth: a power of two; nan, all of them, where
    one is not finite."""
    largest = float(np.maximum(values.max(initial=0.0), -values.min(initial=0.0)))  # nan if there is one
    if not np.isfinite(largest):
        return np.full(values.shape, np.nan), 1.0
    exponent = frexp(largest)[1] - BITS
    whole = np.multiply(values, ldexp(1.0, -exponent), dtype=np.float64)  # exact
    return np.rint(whole, out=whole), ldexp(1.0, exponent)
