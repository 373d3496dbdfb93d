"""What a format loses, as noise power at the model's outputs: SQNR in a form that adds up over nodes.

With the errors of the nodes small, the output error is their sum, and its power

    |e_1 + .. + e_n|^2 = sum |e_i|^2 + 2 sum_{i<j} <e_i, e_j>.

The squares alone are the usual model (Shkolnik et al. 2020, "Robust Quantization: One Model to Rule Them All"; Lin et
al. 2016, "Fixed Point Quantization of Deep Convolutional Networks", section 3: errors of layers as independent noise).
The products say where two nodes' errors add or cancel; Deng et al. 2023, "Mixed-Precision Quantization with Cross-Layer
Dependencies", section 3, measure them with a run for each pair of nodes. Here they come from the single runs, of which
only outputs are kept: products of output errors, exact as long as the model is linear in them. Two errors that have
nothing to do with each other still correlate by about 1 / sqrt(samples) on that many: `shrunk` takes this off.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from bevel.passes.assign.probe import Floats, Probe, flat

Advance = Callable[[int, int], None]
CHANCE = 2.0  # standard deviations


@dataclass(frozen=True)
class OutputNoise:
    """Sums over samples and output elements, of several outputs each over its RMS, so that none hides behind a larger
    one. signal: of the squared float outputs.

    products: [sites * formats, sites * formats], of the products of two errors; its diagonal are the powers.
    """

    signal: float
    products: Floats
    formats: int
    samples: int

    @property
    def losses(self) -> Floats:
        """[sites, formats]"""
        return np.diag(self.products).reshape(-1, self.formats)

    @property
    def shrunk(self) -> Floats:
        """`products` with each correlation nearer to 0 by what chance makes, soft-thresholded; its diagonal is kept."""
        lengths = np.sqrt(np.maximum(np.diag(self.products), np.finfo(np.float64).tiny))
        correlations = self.products / np.outer(lengths, lengths)
        kept = np.sign(correlations) * np.maximum(np.abs(correlations) - CHANCE / np.sqrt(self.samples), 0.0)
        np.fill_diagonal(kept, 1.0)
        return np.asarray(kept * np.outer(lengths, lengths))


def output_levels(probe: Probe) -> Floats:
    """For each float of a run the RMS of its output over the samples; 1 for the only output, and where all is 0."""
    if len(probe.outputs) == 1:
        return np.ones(1)
    runs = [[one for one in probe.run(sample, {}) if one.dtype.kind == "f"] for sample in probe.samples]
    powers = np.mean([[np.mean(np.square(one, dtype=np.float64)) for one in run] for run in runs], axis=0)
    sizes = [one.size for one in runs[0]]
    return np.repeat(np.sqrt(np.where(powers > 0, powers, 1.0)), sizes)


def output_noise(probe: Probe, advance: Advance) -> OutputNoise:
    candidates = sum(map(len, probe.values))
    products = np.zeros((candidates, candidates))
    signal = 0.0
    levels = output_levels(probe)
    for done, (exact, rounded) in enumerate(probe.errors()):
        reference = flat(exact) / levels
        errors = np.stack([flat(outputs) / levels - reference for outputs in rounded])
        products += errors @ errors.T
        signal += float(reference @ reference)
        advance(done + 1, len(probe.samples))
    return OutputNoise(signal, products, len(probe.values[0]), len(probe.samples))
