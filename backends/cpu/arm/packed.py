"""What kernels for 64-bit Arm share whose products are of windows: blocks of 16 channels."""

from __future__ import annotations

from dataclasses import dataclass

from bevel.backends.encodings.quads import BLOCK
from bevel.backends.program.shapes import blocks_of
from bevel.backends.vectors.packed import PackedWindows


@dataclass(frozen=True)
class PackedArm(PackedWindows):
    """Operands are x, w, bias and rescaling in blocks (`channels.py`), y, then the image as int8 in scratch, unless
    windows can lie in x itself."""

    @property
    def blocks(self) -> int:
        """Of 16 channels."""
        return blocks_of(self.channels, BLOCK)
