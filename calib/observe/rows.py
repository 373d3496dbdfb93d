"""How a product reads its input: as rows of the numbers that are multiplied with one column of weights.

    y[row, out] = sum over k of rows[row, k] * w[k, out]

A matrix product reads along the last axis. A convolution reads patches, of each group of channels apart: its rows are
those of im2col. A transposed one is a convolution of its input with zeros between the pixels, by the kernel turned
around (Dumoulin and Visin 2016, "A guide to convolution arithmetic for deep learning", section 4.6).
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Places = NDArray[np.int64]  # of rows, counted over samples and positions
Matrices = NDArray[Any]  # [groups, k, out / groups]


@dataclass(frozen=True)
class Along:
    """Rows of a matrix product. turned: its weights are [out, k], not [k, out]."""

    turned: bool = False

    def count(self, made: tuple[int, ...]) -> int:
        """How many rows make a result of that shape."""
        return prod(made[:-1])

    def read(self, x: Floats, places: Places) -> Floats:
        """Some rows of its input: [1, places, k]."""
        return x.reshape(-1, x.shape[-1])[places][np.newaxis]

    def made(self, y: Floats, places: Places) -> Floats:
        """The same rows of its result: [1, places, out]."""
        return y.reshape(-1, y.shape[-1])[places][np.newaxis]

    def matrices(self, weights: NDArray[Any]) -> Matrices:
        """[1, k, out]"""
        return (weights.T if self.turned else weights)[np.newaxis]

    def weights(self, matrices: Matrices, shape: tuple[int, ...]) -> NDArray[Any]:
        """What `matrices` made, of weights of that shape."""
        found: NDArray[Any] = matrices[0].T if self.turned else matrices[0]
        return found.reshape(shape)


@dataclass(frozen=True)
class Patches:
    """Rows of a convolution; pads are ONNX's, begins then ends, and are filled with 0; negative ones cut off.

    apart: of a transposed one, whose strides are 1 here, how far apart the pixels of its input lie; its pads are those
    of the input with its zeros.
    """

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    pads: tuple[int, ...]
    groups: int = 1
    apart: tuple[int, ...] | None = None

    def count(self, made: tuple[int, ...]) -> int:
        """How many rows make a result of that shape."""
        return made[0] * prod(made[2:])

    def read(self, x: Floats, places: Places) -> Floats:
        """Some rows of its input [samples, channels, positions...]: [groups, places, channels / groups * taps]."""
        rank = len(self.kernel)
        image = self.padded(x)
        reach = [(taps - 1) * step + 1 for taps, step in zip(self.kernel, self.dilations, strict=True)]
        windows = sliding_window_view(image, reach, axis=tuple(range(2, rank + 2)))
        every, taps = ([slice(None, None, step) for step in one] for one in (self.strides, self.dilations))
        seen = windows[(slice(None), slice(None), *every, *taps)]
        sample, *position = np.unravel_index(places, (len(x), *seen.shape[2 : rank + 2]))
        picked: tuple[Any, ...] = (sample, slice(None), *position)
        patches = seen[picked]  # [places, channels, taps...]
        return np.ascontiguousarray(patches.reshape(len(places), self.groups, -1).swapaxes(0, 1))

    def made(self, y: Floats, places: Places) -> Floats:
        """The same rows of its result: [groups, places, out / groups]."""
        sample, position = np.divmod(places, prod(y.shape[2:]))
        found = y.reshape(*y.shape[:2], -1)[sample, :, position]
        return np.ascontiguousarray(found.reshape(len(places), self.groups, -1).swapaxes(0, 1))

    def padded(self, x: Floats) -> Floats:
        if self.apart is not None:
            spread = [(size - 1) * step + 1 for size, step in zip(x.shape[2:], self.apart, strict=True)]
            image = np.zeros((*x.shape[:2], *spread), x.dtype)
            image[(slice(None), slice(None), *[slice(None, None, step) for step in self.apart])] = x
            x = image
        edges = list(zip(self.pads[: len(self.kernel)], self.pads[len(self.kernel) :], strict=True))
        padded = np.pad(x, [(0, 0), (0, 0), *[(max(begin, 0), max(end, 0)) for begin, end in edges]])
        sizes = zip(edges, padded.shape[2:], strict=True)
        cut = [slice(max(-begin, 0), size - max(-end, 0)) for (begin, end), size in sizes]
        return padded[(slice(None), slice(None), *cut)]

    def matrices(self, weights: NDArray[Any]) -> Matrices:
        """[groups, k, out / groups] of weights [out, in / groups, taps...], or, transposed, [in, out / groups, ...]."""
        if self.apart is None:
            return weights.reshape(self.groups, len(weights) // self.groups, -1).swapaxes(1, 2)
        turned = np.flip(weights, tuple(range(2, weights.ndim)))
        taps = turned.reshape(self.groups, len(weights) // self.groups, weights.shape[1], -1)
        return taps.swapaxes(2, 3).reshape(self.groups, -1, weights.shape[1])

    def weights(self, matrices: Matrices, shape: tuple[int, ...]) -> NDArray[Any]:
        """What `matrices` made, of weights of that shape."""
        if self.apart is None:
            return np.ascontiguousarray(matrices.swapaxes(1, 2)).reshape(shape)
        taps = matrices.reshape(self.groups, shape[0] // self.groups, -1, shape[1]).swapaxes(2, 3)
        return np.flip(taps.reshape(shape), tuple(range(2, len(shape))))


Rows = Along | Patches


def transposed(
    kernel: tuple[int, ...],
    strides: tuple[int, ...],
    dilations: tuple[int, ...],
    pads: tuple[int, ...],
    output_padding: tuple[int, ...],
    groups: int,
) -> Patches:
    """The rows of a ConvTranspose of those attributes."""
    reach = [step * (taps - 1) for taps, step in zip(kernel, dilations, strict=True)]
    begins = [far - pad for far, pad in zip(reach, pads[: len(kernel)], strict=True)]
    ends = [far - pad + more for far, pad, more in zip(reach, pads[len(kernel) :], output_padding, strict=True)]
    return Patches(kernel, (1,) * len(kernel), dilations, (*begins, *ends), groups, strides)
