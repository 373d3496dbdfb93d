"""The least that a call can take, by what a chip moves and multiplies at most: an estimate, where nothing can be timed.

    seconds >= max(bytes moved / bytes a second, products / products a second)

(Williams, Waterman and Patterson, "Roofline: An Insightful Visual Performance Model", CACM 2009, section 3.) What a
launch takes to begin is not in it, nor what threads read again: real calls, small ones above all, take longer.
"""

from __future__ import annotations

from bevel.backends.gpu.chip import Chip
from bevel.backends.gpu.kernels.words import WORD


def least_seconds(chip: Chip, moved: int, macs: int, int8: bool, matrices: bool) -> float | None:
    """None for a chip of which nothing is known. int8: whether it multiplies four at a time; matrices: or those."""
    if not chip.bytes_per_s:
        return None
    return max(moved / chip.bytes_per_s, product_seconds(chip, macs, int8, matrices))


def product_seconds(chip: Chip, macs: int, int8: bool, matrices: bool) -> float:
    """What products take at least, of a chip that is known."""
    rate = chip.matrix_macs_per_s if matrices else chip.dot_macs_per_s
    return macs / (rate if int8 else rate / WORD)
