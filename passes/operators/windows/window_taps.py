"""How many elements each place of a pooling window averages."""

from __future__ import annotations

import numpy as np

from bevel.passes.operators.base import Array


def taps(
    image: tuple[int, ...], places: tuple[int, ...], window: list[int], strides: list[int], pads: list[int]
) -> Array:
    """How many taps of the window lie inside the image at each place, shaped like `places`."""
    counts = np.ones((), np.int64)
    for axis, size in enumerate(image):
        first = np.arange(places[axis]) * strides[axis] - pads[axis]
        inside = np.minimum(first + window[axis], size) - np.maximum(first, 0)
        counts = counts[..., None] * inside
    return counts
