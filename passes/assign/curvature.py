"""What a format loses, from the curvature of the loss at the float weights: trace or largest eigenvalue of its Hessian.

The loss is half the squared difference to the float model's own outputs. It is 0 at the float weights, so its Hessian
there is exactly J^T J, J being the derivative of all outputs by a node's weights (the Gauss-Newton matrix). onnxruntime
gives no gradients, but J v for any direction v is a central difference of two runs. With random signs v:

- the mean of |J v|^2 is the trace (Hutchinson's estimator), and a loss is trace / n |error|^2: Dong et al. 2020,
  "HAWQ-V2: Hessian Aware trace-Weighted Quantization of Neural Networks", equation 5;
- the mean of (J v)(J v)^T is J J^T, which has the eigenvalues of the Hessian; the largest of a mean over few directions
  estimates it (too high where the spectrum is flat), and a loss is eigenvalue |error|^2: Dong et al. 2019, "HAWQ:
  Hessian AWare Quantization of Neural Networks with Mixed-Precision", section 3.1. There it comes from power
  iteration with gradients, which a forward pass cannot do.

Both spread a node's error evenly over all directions; `output_noise` measures the one direction that rounding takes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bevel.passes.assign.output_noise import Advance
from bevel.passes.assign.probe import Constants, Floats, Place, Probe, Sample, flat

STEP = 1e-3  # of the weights' root mean square: float32 outputs keep four digits of the difference


@dataclass(frozen=True)
class Curvature:
    """Of the Hessian of each site's weights: [sites], 0 where a site has none. errors: squared weight errors,
    [sites, formats]."""

    traces: Floats
    eigenvalues: Floats
    weights: Floats  # how many
    errors: Floats

    def by_trace(self) -> Floats:
        """Losses [sites, formats]: HAWQ-V2's."""
        return (self.traces / np.maximum(self.weights, 1))[:, None] * self.errors

    def by_eigenvalue(self) -> Floats:
        """Losses [sites, formats]: HAWQ's, an upper bound on the quadratic form of the error."""
        return self.eigenvalues[:, None] * self.errors


def curvature(probe: Probe, directions: int, seed: int, advance: Advance) -> Curvature:
    """From `directions` random sign vectors for each site, each over all samples of the probe."""
    rng = np.random.default_rng(seed)
    sites = len(probe.values)
    traces, eigenvalues, weights = np.zeros(sites), np.zeros(sites), np.zeros(sites)
    errors = np.zeros((sites, len(probe.values[0])))
    for site, format, constants in probe.weights():
        errors[site, format] = squared_error(probe, constants)
    places = {site: weight_place(probe, constants) for site, _, constants in probe.weights()}
    for done, (site, place) in enumerate(places.items()):
        exact = probe.exact[place].astype(np.float64)
        step = STEP * max(float(np.sqrt(np.mean(np.square(exact)))), float(np.finfo(np.float32).tiny))
        signs = [rng.choice([-1.0, 1.0], exact.shape) for _ in range(directions)]
        products = np.zeros((directions, directions))
        for sample in probe.samples:
            slopes = np.stack([slope(probe, sample, place, step * sign) / step for sign in signs])
            products += slopes @ slopes.T
        traces[site] = np.trace(products) / directions
        eigenvalues[site] = np.linalg.eigvalsh(products / directions)[-1]
        weights[site] = exact.size
        advance(done + 1, len(places))
    return Curvature(traces, eigenvalues, weights, errors)


def slope(probe: Probe, sample: Sample, place: Place, move: Floats) -> Floats:
    """Half of what the outputs change between the weights with `move` taken away and added."""
    exact = probe.exact[place].astype(np.float64)
    above, below = (probe.run(sample, {place: (exact + sign * move).astype(np.float32)}) for sign in (1, -1))
    return (flat(above) - flat(below)) / 2


def weight_place(probe: Probe, constants: Constants) -> Place:
    """The largest constant: weights, not biases."""
    return max(constants, key=lambda place: probe.exact[place].size)


def squared_error(probe: Probe, constants: Constants) -> float:
    place = weight_place(probe, constants)
    return float(np.sum(np.square(constants[place].astype(np.float64) - probe.exact[place])))
