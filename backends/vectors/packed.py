"""What kernels share that take the constants of a Conv or a Gemm packed for vectors: the way back to plain ones, an
image that is copied only where it must be, and tiles of some pixels of a row by a block of channels.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from bevel.backends.program.kernel import Kernel
from bevel.backends.program.op import Array, Op, Operand
from bevel.backends.program.ops.conv import Conv
from bevel.backends.program.ops.gemm import Gemm
from bevel.backends.program.shapes import blocks_of
from bevel.backends.tir.functions import prim_func
from bevel.backends.tir.lazy import statements
from bevel.backends.vectors.windows import Windows
from bevel.calib.arithmetic.requantize import Int8, Int32

Place = tuple[Any, Any, Any]  # image, row, column
Tile = Callable[[Place, Any, int, int], None]  # TIR of so many channels of a block, at so many pixels from a place on


@dataclass(frozen=True)
class Packed(Kernel):
    """`plain` with its constants packed."""

    plain: Conv | Gemm

    @property
    def op(self) -> Op:
        return self.plain

    @property
    def channels(self) -> int:
        """Of the output."""
        return self.plain.channels_out if isinstance(self.plain, Conv) else self.plain.n

    @abstractmethod
    def packed(self, w: Int8, bias: Int32, multiplier: Int32, shift: Int8) -> tuple[Array, ...]:
        """The constants of `plain`."""

    @abstractmethod
    def unpacked(self, *constants: Array) -> tuple[Array, ...]:
        """The way back."""

    def reference(self, *arrays: Array) -> Array:
        x, *constants = arrays
        return self.plain.reference(x, *self.unpacked(*constants))

    def example(self, rng: np.random.Generator) -> tuple[Array, ...]:
        x, *constants = self.plain.example(rng)
        return x, *self.packed(*constants)


@dataclass(frozen=True)
class PackedWindows(Packed):
    """Operands are x, w, and two more constants, y, then the image in scratch, unless windows can lie in x itself."""

    @property
    @abstractmethod
    def windows(self) -> Windows:
        """Over an image of the type that products are made of."""

    @property
    @abstractmethod
    def slack(self) -> int:
        """Elements behind the image that are read."""

    @property
    def copied(self) -> bool:
        """Whether windows reach beyond x, or it is of another type."""
        image = self.windows.image
        return bool(self.slack) or image.padded or image.dtype != self.plain.operands()[0].dtype

    @property
    def image(self) -> tuple[Operand, ...]:
        """In scratch, where it is `copied`."""
        return (self.windows.image.operand(self.slack),) if self.copied else ()

    def build(self, name: str) -> Any:
        return prim_func(name, self.operands(), self.copy_and_loop)

    def copy_and_loop(self, buffers: tuple[Any, ...]) -> None:
        x, *others, y = buffers[:5]
        for image in buffers[5:]:
            self.windows.image.copy(image, x)
        self.loops((buffers[5] if self.copied else x, *others, y))

    @abstractmethod
    def loops(self, at: tuple[Any, ...]) -> None:
        """TIR of all outputs; one buffer of one axis each for the image, w, the other constants and y."""


def of_type(windows: Windows, dtype: str) -> Windows:
    """With the image as int8 or int16."""
    return replace(windows, image=replace(windows.image, dtype=dtype, flipped=False))


def over_tiles(windows: Windows, channels: int, size: int, most: int, tile: Tile) -> None:
    """TIR of all outputs, a block of `size` channels after the other, in tiles of `most` pixels at most."""
    pixels = blocks_of(windows.columns, blocks_of(windows.columns, most))

    def rows(block: Any, count: int) -> None:
        whole, rest = divmod(windows.columns, pixels)
        with statements.grid(windows.image.batch, windows.rows) as (one, row):
            with statements.serial(whole) as column:
                tile((one, row, column * pixels), block, count, pixels)
            if rest:
                tile((one, row, whole * pixels), block, count, rest)

    whole, rest = divmod(channels, size)
    if whole:
        with statements.serial(whole) as block:
            rows(block, size)
    if rest:
        rows(whole, rest)
