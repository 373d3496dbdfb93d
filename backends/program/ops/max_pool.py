"""MaxPool, channels last: y = max over the window's taps inside the image."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from bevel.backends.program.bands import Band, Banding, Laid, Piece, Window, in_windows
from bevel.backends.program.examples import random_values
from bevel.backends.program.op import Array, Bounds, Op, Operand, activation, output
from bevel.backends.program.shapes import image_positions


@dataclass(frozen=True)
class MaxPool(Op):
    """x: dtype [N, H, W, C]; y: dtype [N, OH, OW, C]. pads are (top, left, bottom, right); padding never wins."""

    batch: int
    height: int
    width: int
    channels: int
    kernel: tuple[int, int]
    strides: tuple[int, int]
    dilations: tuple[int, int]
    pads: tuple[int, int, int, int]
    dtype: str = "int8"

    @property
    def positions(self) -> tuple[int, int]:
        """(OH, OW)."""
        return image_positions((self.height, self.width), self.kernel, self.strides, self.dilations, self.pads)

    @property
    def lowest(self) -> int:
        """What the maximum starts from."""
        return int(np.iinfo(self.dtype).min)

    def operands(self) -> tuple[Operand, ...]:
        return (
            activation("x", (self.batch, self.height, self.width, self.channels), self.dtype),
            output("y", (self.batch, *self.positions, self.channels), self.dtype),
        )

    def reference(self, *arrays: Array) -> Array:
        (x,) = arrays
        top, left, bottom, right = self.pads
        rows, columns = self.positions
        padded = np.pad(x, ((0, 0), (top, bottom), (left, right), (0, 0)), constant_values=self.lowest)
        taps = [
            padded[:, i * self.dilations[0] :: self.strides[0], j * self.dilations[1] :: self.strides[1]]
            for i, j in np.ndindex(*self.kernel)
        ]
        result: Array = np.max([tap[:, :rows, :columns] for tap in taps], axis=0)
        return result

    def bounds(self, inputs: Sequence[Bounds | None], constants: Sequence[Array]) -> Bounds | None:
        return inputs[0] if self.has_a_pixel else super().bounds(inputs, constants)

    @property
    def has_a_pixel(self) -> bool:
        """Whether no window lies wholly in the padding."""
        top, left, bottom, right = self.pads
        (kh, kw), undilated = self.kernel, self.dilations == (1, 1)
        return not any(self.pads) or (undilated and max(top, bottom) < kh and max(left, right) < kw)

    def banding(self, laid: Laid) -> Banding | None:
        window = Window(self.height, (self.kernel[0] - 1) * self.dilations[0] + 1, self.strides[0], self.pads[0])

        def piece(band: Band) -> Piece:
            return Piece(replace(self, height=band.height, pads=band.pads), laid.constants)

        return in_windows(self.batch, window, self.pads, self.positions[0], piece)

    def example(self, rng: np.random.Generator) -> tuple[Array, ...]:
        x = random_values(rng, self.operands()[0].shape, self.dtype)
        x[:, :2] = self.lowest  # windows in which nothing is above what padding would hold
        return (x,)


def cases() -> Iterable[MaxPool]:
    yield MaxPool(1, 1, 1, 1, (1, 1), (1, 1), (1, 1), (0, 0, 0, 0))
    yield MaxPool(2, 6, 5, 3, (2, 2), (2, 2), (1, 1), (0, 0, 0, 0))
    yield MaxPool(1, 7, 8, 16, (3, 3), (2, 2), (1, 1), (1, 1, 1, 1))
    yield MaxPool(1, 9, 7, 5, (3, 2), (1, 3), (2, 3), (2, 0, 1, 1))
    yield MaxPool(1, 1, 11, 4, (1, 3), (1, 2), (1, 1), (0, 1, 0, 1))
    yield MaxPool(1, 7, 6, 3, (3, 3), (2, 2), (1, 1), (1, 1, 1, 1), "int16")
    yield MaxPool(1, 5, 4, 2, (2, 2), (1, 1), (1, 1), (0, 0, 1, 1), "int32")
