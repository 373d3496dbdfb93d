"""What a format loses, as the Kullback-Leibler divergence of class probabilities: sum p ln(p / q).

p are the float model's softmax probabilities, q those with one node's weights rounded. Unlike noise power it counts
only errors that change probabilities. Small divergences add up over nodes as noise power does: to second order they are
a quadratic form of the logits' error. Source: Cai et al. 2020, "ZeroQ: A Novel Zero Shot Quantization Framework",
section 3.2, equation 4.
"""

from __future__ import annotations

import numpy as np

from bevel.calib.errors import UserError
from bevel.passes.assign.output_noise import Advance
from bevel.passes.assign.probe import Array, Floats, Probe


def divergence(probe: Probe, advance: Advance) -> Floats:
    """[sites, formats] in nats, the sum over samples. UserError unless the first output is [batch, classes]."""
    total = np.zeros(sum(map(len, probe.values)))
    for done, (exact, rounded) in enumerate(probe.errors()):
        expected = log_probabilities(exact[0])
        total += [float(np.sum(np.exp(expected) * (expected - log_probabilities(outputs[0])))) for outputs in rounded]
        advance(done + 1, len(probe.samples))
    return np.maximum(total, 0.0).reshape(len(probe.values), -1)


def log_probabilities(output: Array) -> Floats:
    """Of logits; an output that is probabilities already is taken as it is."""
    from scipy.special import log_softmax  # SciPy takes long to import, and no other pass needs it

    if output.ndim != 2 or output.shape[1] < 2:
        raise UserError(
            f"--sensitivity kl compares class probabilities [batch, classes]; this model's first output is "
            f"{list(output.shape)}: leave the option out"
        )
    wide = output.astype(np.float64)
    if wide.min() >= 0 and np.allclose(wide.sum(axis=1), 1.0, atol=1e-3):
        return np.asarray(np.log(np.maximum(wide, 1e-30)))
    return np.asarray(log_softmax(wide, axis=1))
