"""Bias correction: rounding weights shifts each output channel's mean by sum((w - w_rounded) * E[x]); add it back.

E[x] per input channel comes from the calibration statistics. At padded borders the mean is taken as if the image went
on. Source: Nagel et al. 2019, "Data-Free Quantization Through Weight Equalization and Bias Correction", section 4.2,
with the empirical means of its appendix D.

Activations add errors of their own. Pixels take few values, and the same part of a step is lost of all of them where
their zero lies between two codes. Inside the network such errors average out at eight bits, and nothing is corrected;
at fewer, ranges are clipped and steps are coarse, which moves the mean of a whole tensor: that is taken out again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from bevel.calib.formats.scheme import TensorQuant
from bevel.calib.formats.stairs import Stairs, climbed
from bevel.calib.observe.statistics import Statistics
from bevel.passes.base import Condition, Pass, PassResult, Stage, Work
from bevel.passes.conditions import PLANNED
from bevel.passes.quantize.choose_scales import Scales
from bevel.passes.quantize.round_weights import Rounded
from bevel.passes.quantize.wanted import Ask, means

PARTS = 4  # points a bin of the histogram counts for
FULL_BITS = 8  # of an activation whose mean quantization leaves alone

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class CorrectBias(Pass):
    """The graph stays as it is; the biases beside `codes` are others."""

    name: ClassVar[str] = "correct-bias"
    stage: ClassVar[Stage] = "quantize"
    follows: ClassVar[tuple[str, ...]] = ("plan-scales", "round-weights")
    requires: ClassVar[tuple[Condition, ...]] = (PLANNED,)

    @property
    def asks(self) -> tuple[Ask, ...]:
        return (means,)

    def call(self, work: Work) -> PassResult:
        return work.result(False, codes=tuple(correct_biases(work.codes, work.plan.scales, work.observations)))


def correct_biases(
    rounded: Iterable[Rounded], scales: Scales, statistics: Mapping[str, Statistics]
) -> Iterator[Rounded]:
    """`rounded` with biases less the mean errors that rounding makes, of weights and of what they multiply; those that
    are repaired stay."""
    for one in rounded:
        if one.bias is None or one.repaired:
            yield one
        else:
            yield replace(one, bias=one.bias + correction(one, scales, statistics))


def correction(one: Rounded, scales: Scales, statistics: Mapping[str, Statistics]) -> Floats:
    """What is added to the bias: [out]."""
    weights, x = one.weights, one.weights.x
    mean = statistics[x.name].channel_mean(weights.summed_axis)
    added = mean_error(one.lost, mean, weights.axis, weights.groups)
    if weights.beside_floats:
        return added
    if not x.inputs or scales.quants[x.name].scheme.format.bits < FULL_BITS:
        shift = mean_shift(statistics[x.name], scales.stairs.get(x.name, scales.quants[x.name]))
        reals = one.quantized.dequantize().astype(np.float64)
        added = added - mean_error(reals, np.full_like(mean, shift), weights.axis, weights.groups)
    return added


def mean_error(lost: Floats, mean: Floats, axis: int, groups: int) -> Floats:
    """The mean of sum(lost * x) for each output channel.

    lost: w - w_rounded. axis 0: convolution weights [out, in / groups, ...]; axis 1: Gemm [in, out], or ConvTranspose
    [in, out / groups, ...]. mean: [in].
    """
    summed = lost.reshape(*lost.shape[:2], -1).sum(axis=2)
    if axis == 0:
        per_group = np.split(mean, groups)
        blocks = np.split(summed, groups)
    else:
        per_group = np.split(mean, groups)
        blocks = [block.T for block in np.split(summed, groups)]
    return np.concatenate([block @ part for block, part in zip(blocks, per_group, strict=True)])


def mean_shift(statistics: Statistics, quant: TensorQuant | Stairs) -> float:
    """How much larger the tensor is in the mean after it was quantized."""
    points, masses = statistics.histogram.points(PARTS)
    if isinstance(quant, Stairs):
        after = climbed(points, quant)
    else:
        after = quant.fake(points.astype(np.float32)).astype(np.float64)
    return float((after - points) @ masses / masses.sum())
