"""What a whole tensor is held in: a format for each element, or elements in blocks that have a scale of their own.

    value = channel scale * block scale * element

Kinds of block scales: powers of two (MXFP8, MXFP6, MXFP4 and MXINT8 of the OCP Microscaling Formats (MX)
Specification v1.0, section 5); E4M3 numbers under one scale of the tensor (NVFP4); integers of 8 bits under one scale a
channel, for any element (Dai et al. 2021, "VS-Quant: Per-vector Scaled Quantization for Accurate Low-Precision Neural
Network Inference", section 4: two-level scaling). All three keep products of integers exact: a block scale is an
integer times a unit. Groups have a zero point besides, and factors so small that their integers stay within int8
(`bevel.calib.scales.group_weights`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from bevel.calib.formats.format import INT8, Format, IntFormat, parse
from bevel.calib.formats.levels import levels_of

Scales = Literal["e8m0", "e4m3", "integer", "progressive"]

SCALE_BITS = 8
MX_BLOCK, NV_BLOCK = 32, 16
LARGEST_BLOCK = 2**16
LARGEST_INTEGER = 2**31 - 1
MX_ELEMENTS = {
    "mxfp4": "e2m1",
    "mxfp6": "e2m3",
    "mxfp6e2m3": "e2m3",
    "mxfp6e3m2": "e3m2",
    "mxfp8": "e4m3",
    "mxfp8e4m3": "e4m3",
    "mxfp8e5m2": "e5m2",
    "mxint8": "int8",
}
NVFP4 = "nvfp4"


@dataclass(frozen=True)
class BlockFormat:
    """Elements with a scale for every `size` of them along the axis that is summed.

    Raises ValueError for other sizes than 2 to 65536, for elements without signs, and for groups of others than int2 to
    int7.
    """

    element: Format
    size: int
    scales: Scales = "integer"

    def __post_init__(self) -> None:
        if not 2 <= self.size <= LARGEST_BLOCK:
            raise ValueError(f"a block has 2 to {LARGEST_BLOCK} elements, not {self.size}")
        if isinstance(self.element, IntFormat) and not self.element.signed:
            raise ValueError(f"elements of blocks are symmetric around zero, which {self.element.name} is not")
        if self.scales == "progressive" and not (isinstance(self.element, IntFormat) and self.bits < SCALE_BITS):
            raise ValueError(f"groups have elements of int2 to int7, not {self.element.name}")

    @property
    def name(self) -> str:
        match self.scales:
            case "e8m0":
                known = {element: name for name, element in reversed(MX_ELEMENTS.items())}
                return known[self.element.name]
            case "e4m3":
                return NVFP4
            case "integer":
                return f"{self.element.name}:block{self.size}"
            case "progressive":
                return f"{self.element.name}:group{self.size}"

    @property
    def bits(self) -> int:
        """Of an element."""
        return self.element.bits

    @property
    def stored_bits(self) -> float:
        """Of an element and its part of the block's scale."""
        return self.element.bits + SCALE_BITS / self.size


TensorFormat = Format | BlockFormat


def parse_tensor_format(name: str) -> TensorFormat:
    """The format of a name: "mxfp4", "nvfp4", "int4:block32", "int4:group32", or what
    `bevel.calib.formats.format.parse` knows.

    Raises ValueError for anything else.
    """
    if name in MX_ELEMENTS:
        return BlockFormat(parse(MX_ELEMENTS[name]), MX_BLOCK, "e8m0")
    if name == NVFP4:
        return BlockFormat(parse("e2m1"), NV_BLOCK, "e4m3")
    if match := re.fullmatch(r"(.+):(block|group)(\d{1,6})", name):
        return BlockFormat(parse(match[1]), int(match[3]), "integer" if match[2] == "block" else "progressive")
    return parse(name)


def fits_int8(format: TensorFormat) -> bool:
    """Whether one scale a channel and integers in int8 are all there is to it."""
    if isinstance(format, BlockFormat):
        return False
    levels = levels_of(format)
    return levels is not None and INT8.low <= levels.steps[0] and levels.steps[-1] <= INT8.high
