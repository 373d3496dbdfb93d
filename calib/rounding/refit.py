"""Weights that make the float model's output best of what the quantized model reads, rounded by GPTQ.

    w' = (E[x x^T] + damping * I)^-1 (E[x y^T] + damping * w)

x is what the product reads once all before it is quantized, y what it makes in the float model. The least squares take
up what errors of the layers before have in common with x, which is most of what rounding at few bits costs. Damping
keeps w' near w where few samples say little; the best of `DAMPINGS` on samples that are held out is taken. Where w
itself is better than all of them, it stays.

Source: Zhang, Zhou and Saab 2023, "Post-training Quantization for Neural Networks with Provable Guarantees", whose
error is that of y and not of w^T x; ridge regression towards the given weights in place of its greedy updates.
Price: k**3 multiplications for k inputs and each damping.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from bevel.calib.formats.lattice import Reals
from bevel.calib.observe.moments import Moments
from bevel.calib.rounding.base import SeenProduct
from bevel.calib.rounding.gptq import Gptq

BITS = 20  # of a refitted weight, below the largest of its output
DAMPINGS = (0.01, 0.1)  # of the mean of the diagonal; the first where nothing is held out to choose by


@dataclass(frozen=True)
class Refit(Gptq):
    name: ClassVar[str] = "refit"

    def aim(self, weights: NDArray[np.float32], seen: SeenProduct | None) -> NDArray[np.float32]:
        if seen is None:
            return weights
        given = np.ascontiguousarray(seen.rows.matrices(weights), np.float64)
        found = best_fit(given, seen)
        if found is given:
            return weights
        return np.ascontiguousarray(seen.rows.weights(found, weights.shape), np.float32)


def refitted(given: Reals, moments: Moments, damping: float) -> Reals:
    """[groups, k, out]; outputs whose weights are all 0 keep them."""
    second = moments.second
    mean = np.maximum(np.diagonal(second, axis1=1, axis2=2).mean(axis=1), np.finfo(np.float32).tiny)
    pull = (damping * mean)[:, None, None]
    found: Reals = np.linalg.solve(second + pull * np.eye(second.shape[1]), moments.cross + pull * given)
    return np.where(given.any(axis=1, keepdims=True), shortened(found), 0.0)


def shortened(values: Reals) -> Reals:
    """Without the last bits, which hang on how a machine orders its sums."""
    largest = np.abs(values).max(axis=1, initial=0.0, keepdims=True)
    unit = np.exp2(np.ceil(np.log2(np.maximum(largest, np.finfo(np.float32).tiny))) - BITS)
    found: Reals = np.rint(values / unit) * unit
    return found


def best_fit(given: Reals, seen: SeenProduct) -> Reals:
    """The weights that leave least error of the samples that are held out: refitted ones, or `given` itself."""
    if seen.held is None:
        return refitted(given, seen.fitted, DAMPINGS[0])
    found = [given, *(refitted(given, seen.fitted, damping) for damping in DAMPINGS)]
    errors = [float(seen.held.error(one).sum()) for one in found]
    return found[int(np.argmin(errors))]


ROUNDER = Refit()
