"""Softmax whose shares are powers of two: a code of four bits says which, and products by shares are shifts.

For each row, with e the exponentials of `bevel.calib.arithmetic.softmax` and S their sum:

    c = the number of c' in 0 .. 13 with e * 2**(c' + 2) < 3 S, and one more where e * 2**15 < S
    share = 2**-c,  0 for c = 15

That is the nearest of 1, 1/2, ... 2**-14 and 0 to e / S: the middle of neighbours is 3/4 of the larger one, and that of
2**-14 and 0 is 2**-15. No element is divided, and none multiplied. A product sum(share * v) is sum(v << (14 - c)) in
units of 2**-14. Source: Lin et al. 2022, "FQ-ViT: Post-Training Quantization for Fully Quantized Vision Transformer",
section 3.3 (Log-Int-Softmax), which rounds the quotient S / e to a power in place of the share, and has 2**-15 in place
of 0: what a mask bars must have no share.

Price: a share is off by a third of itself at most, where codes of int8 are off by 1/512 of all; a row of them sums up
to between 2/3 and 4/3, but for what shares below 2**-14 are off by.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from bevel.calib.arithmetic.round_float import FloatSteps
from bevel.calib.arithmetic.softmax import Int64, distances, exponentials
from bevel.calib.formats.level_format import log_format

LEAST = 14  # the smallest share is 2**-LEAST
NONE = LEAST + 1  # the code of no share
FORMAT = log_format(5)  # of a tensor of shares; no share is negative, which leaves four bits
STEPS = FloatSteps(0, 2**LEAST)  # its steps


def exponents(
    x: NDArray[Any], coarse: NDArray[Any], fine: NDArray[Any], keep: NDArray[np.bool_] | None = None
) -> NDArray[np.int8]:
    """The code c of each element of x [rows, n], of those that `keep` says, if given; NONE of all others.

    coarse, fine: `bevel.calib.arithmetic.softmax.tables`.
    """
    e = exponentials(distances(x, keep), coarse, fine)
    e = e if keep is None else np.where(keep, e, 0)
    limits = thresholds(np.maximum(e.sum(axis=1, keepdims=True), 1))
    found: NDArray[np.int8] = (e[..., np.newaxis] < limits[:, np.newaxis]).sum(axis=-1).astype(np.int8)
    return found


def thresholds(total: Int64) -> Int64:
    """[rows, 15], falling: an element's code is how many of them lie above its exponential. total: [rows, 1]."""
    middles = [-(-3 * total // 2 ** (c + 2)) for c in range(LEAST)]
    return np.concatenate([*middles, -(-total // 2 ** (LEAST + 1))], axis=1)


def steps_of(codes: NDArray[Any]) -> Int64:
    """The shares of codes in units of 2**-LEAST."""
    wide = codes.astype(np.int64)
    result: Int64 = np.where(wide < NONE, 1 << np.maximum(LEAST - wide, 0), 0)
    return result
