"""Rounding weights one input after the other, each making up for the errors of those before it.

    sum over rows of ((q - w)^T x)**2 = |R (q - w)|**2,     E[x x^T] = R^T R,  R upper triangular

Inputs are taken from the last to the first. What the errors so far add to row i of R (q - w) is taken off weight i
before that is rounded, so that each row is as small as half a step allows. This is GPTQ, which updates all weights
left by a row of the inverse's Cholesky factor, in the order that needs no inverse: Chen et al. 2025, "The Geometry of
LLM Quantization: GPTQ as Babai's Nearest Plane Algorithm", show both to give the same codes.

Source: Frantar et al. 2023, "GPTQ: Accurate Post-Training Quantization for Generative Pre-trained Transformers", with
updates put off in blocks and damping by the mean of the diagonal; from its authors' program, the largest diagonal
first. Coordinate descent (`bevel.calib.rounding.coordinate_descent`) follows.

Price: k**3 / 3 + out * k**2 multiplications for k inputs; the squared error of single weights grows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from bevel.calib.formats.lattice import Lattice, Reals
from bevel.calib.rounding.base import MatrixRounder
from bevel.calib.rounding.coordinate_descent import descended

DAMPING = 0.01  # of the mean of the diagonal, as Frantar et al. have it
MOST_DAMPING = 1e6  # by which any matrix of finite numbers has a factor
BLOCK = 64  # inputs whose errors are handed on together


@dataclass(frozen=True)
class Gptq(MatrixRounder):
    """damping: of the mean of the diagonal; sweeps: of coordinate descent behind it."""

    name: ClassVar[str] = "gptq"
    damping: float = DAMPING
    sweeps: int = 12

    def integers(self, wanted: Reals, second: Reals, lattice: Lattice) -> Reals:
        rounded = nearest_plane(wanted, second, lattice, self.damping)
        return descended(wanted, second, lattice, rounded, self.sweeps)


def nearest_plane(wanted: Reals, second: Reals, lattice: Lattice, damping: float = DAMPING) -> Reals:
    """Integers [groups, k, out] for the weights `wanted`; second: [groups, k, k]."""
    order = np.argsort(np.diagonal(second, axis1=1, axis2=2), axis=1, kind="stable")
    turned = np.take_along_axis(np.take_along_axis(second, order[:, :, None], 1), order[:, None, :], 2)
    factor = triangle(turned, damping)
    wanted, lattice = np.take_along_axis(wanted, order[:, :, None], 1), lattice.ordered(order)
    integers, errors = np.zeros_like(wanted), np.zeros_like(wanted)
    inputs = wanted.shape[1]
    for end in range(inputs, 0, -BLOCK):
        begin = max(end - BLOCK, 0)
        carried = factor[:, begin:end, end:] @ errors[:, end:]
        for place in range(end - 1, begin - 1, -1):
            row = place - begin
            value = wanted[:, place] - carried[:, row] / factor[:, place, place, np.newaxis]
            integers[:, place] = lattice.nearest(value, place)
            errors[:, place] = integers[:, place] * lattice.steps[:, place] - wanted[:, place]
            carried[:, :row] += factor[:, begin:place, place, np.newaxis] * errors[:, place, np.newaxis]
    placed = np.empty_like(integers)
    np.put_along_axis(placed, np.broadcast_to(order[:, :, None], integers.shape), integers, 1)
    return placed


def triangle(second: Reals, damping: float) -> Reals:
    """R of R^T R = second, damped by a share of the mean of its diagonal, and by ten times it until there is one."""
    mean = np.maximum(np.diagonal(second, axis1=1, axis2=2).mean(axis=1), np.finfo(np.float32).tiny)
    identity = np.eye(second.shape[1])
    while True:
        try:
            lower: Reals = np.linalg.cholesky(second + damping * mean[:, None, None] * identity)
            return lower.swapaxes(1, 2)
        except np.linalg.LinAlgError:
            if damping > MOST_DAMPING:
                raise
            damping *= 10


ROUNDER = Gptq()
