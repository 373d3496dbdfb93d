"""How a product reads its input: as rows of the numbers that are multiplied with one column of weights.

    y[row, out] = sum over k of rows[row, k] * w[k, out]

A matrix product reads along one axis. A convolution reads patches, of each group of channels apart: its rows are those
of im2col, in the order of its weights [out, in / groups, taps...].
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Along:
    """Rows run along an axis of the tensor, counted as ONNX counts (axis 0 is that of samples)."""

    axis: int = -1

    def of(self, sample: NDArray[np.float32]) -> Floats:
        """The rows of one sample, which has lost axis 0: [1, rows, k]."""
        axis = self.axis - 1 if self.axis > 0 else self.axis
        return np.moveaxis(sample.astype(np.float64), axis, -1).reshape(1, -1, sample.shape[axis])

    def width(self, shape: tuple[int, ...]) -> tuple[int, int]:
        """(groups, k) for a tensor of `shape`."""
        return 1, shape[self.axis]


@dataclass(frozen=True)
class Patches:
    """Rows are what a convolution sees; pads are ONNX's, begins then ends, and are filled with 0."""

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    pads: tuple[int, ...]
    groups: int = 1

    def of(self, sample: NDArray[np.float32]) -> Floats:
        """The rows of one sample [channels, positions...]: [groups, rows, channels / groups * taps]."""
        rank = len(self.kernel)
        padded = np.pad(sample, [(0, 0), *zip(self.pads[:rank], self.pads[rank:], strict=True)])
        reach = [(taps - 1) * step + 1 for taps, step in zip(self.kernel, self.dilations, strict=True)]
        windows = sliding_window_view(padded, reach, axis=tuple(range(1, rank + 1)))
        every = tuple(slice(None, None, stride) for stride in self.strides)
        taps = tuple(slice(None, None, step) for step in self.dilations)
        seen = windows[(slice(None), *every, *taps)]  # [channels, positions..., taps...]
        channels = len(sample) // self.groups
        grouped = seen.reshape(self.groups, channels, -1, prod(self.kernel)).astype(np.float64)
        return grouped.swapaxes(1, 2).reshape(self.groups, -1, channels * prod(self.kernel))

    def width(self, shape: tuple[int, ...]) -> tuple[int, int]:
        return self.groups, shape[1] // self.groups * prod(self.kernel)


Rows = Along | Patches
