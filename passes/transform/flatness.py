"""How evenly a tensor's values fill the range that their codes must cover.

peak: max |x| / rms(x), 1 of a tensor of two values +-a, large where a few values set the range
kurtosis: E[(x - m)^4] / E[(x - m)^2]^2, 3 of a Gaussian, 1.8 of a uniform tensor
QSUR, quantization space utilisation rate: the volume that the data take over that of the hypercube they are quantized
in, after Hu et al. 2025, "OSTQuant: Refining Large Language Model Quantization with Orthogonal and Scaling
Transformations for Better Distribution Fitting". Here its logarithm for one dimension, natural and relative to the
largest value, so that tensors of different sizes compare:

    log_qsur = sum over i of ln(l_i) / (2 d) - ln(max |x - m|)      l_i: the eigenvalues of the channels' covariance

of which 0 cannot be reached; a rotation that spreads the largest eigenvector and a scaling that equals eigenvalues
raise it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bevel.passes.transform.record import Flatness

LEAST = 1e-9  # of the largest eigenvalue: below it a direction holds rounding errors alone


def flatness(vectors: NDArray[np.floating]) -> Flatness:
    """vectors: [n, channels], in float64."""
    values = np.asarray(vectors, np.float64)
    centred = values - values.mean()
    power = float(np.square(centred).mean())
    if power == 0:
        return Flatness(None, None, None)
    peak = float(np.abs(values).max() / np.sqrt(np.square(values).mean()))
    return Flatness(peak, float((centred**4).mean() / power**2), log_qsur(values))


def log_qsur(vectors: NDArray[np.float64]) -> float | None:
    n, d = vectors.shape
    centred = vectors - vectors.mean(0)
    reach = float(np.abs(centred).max())
    if n <= d or reach == 0:
        return None
    eigenvalues = np.linalg.eigvalsh(centred.T @ centred / n)
    held = np.maximum(eigenvalues, eigenvalues.max() * LEAST)
    return float(np.log(held).sum() / (2 * d) - np.log(reach))
