"""What rounding costs products, predicted from what they read, for two ways to write the same ones.

    cost of a product = (|(Q(x) - x) W|^2 + |x (Q(W) - W)|^2) / |x W|^2

x on one grid for the whole tensor, weights on one for each output channel, both of least squared error (`noise`). Costs
of products add up, as if each were heard alike. It tells a rotation that spreads loud channels from one that makes a
Gaussian of what was flatter before; how many dB of the model's results that is, only a trial tells.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bevel.passes.transform.noise import rounded_rows, rounded_values
from bevel.passes.transform.uses import Array

ROWS = 2048  # of what is read
LEAST_GAIN = 0.5  # dB that a rotation by name must be predicted to gain, as `--transform auto` asks of a trial


def product_cost(x: NDArray[np.floating], weights: Array, bits: tuple[int, int]) -> float:
    """x: [n, in]; weights: [out, in, taps], each tap of which reads all rows; bits: of weights and activations."""
    rows = np.asarray(x[:: max(1, len(x) // ROWS)], np.float64)
    lost = rounded_rows(weights[None], bits[0])[0] - weights
    exact, apart = (np.moveaxis(one, 1, 2).reshape(-1, weights.shape[1]).T for one in (weights, lost))
    power = float(np.square(rows @ exact).sum())
    of_inputs, of_weights = (rounded_values(rows, bits[1]) - rows) @ exact, rows @ apart
    return float(np.square(of_inputs).sum() + np.square(of_weights).sum()) / max(power, 1e-30)


def weight_cost(weights: Array, bits: int) -> float:
    """Of weights alone, [out, in, taps], over their power: of those whose inputs stay."""
    power = float(np.square(weights).sum())
    return float(np.square(rounded_rows(weights[None], bits)[0] - weights).sum()) / max(power, 1e-30)
