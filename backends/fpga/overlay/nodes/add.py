"""Add and Sub of two tensors of one shape: their multipliers are weights, in digits, and half is in the offset."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from bevel.backends.fpga.overlay.layout import PixelLayout
from bevel.backends.fpga.overlay.windows import ChannelScaling, ElementSums, OverlaySums
from bevel.backends.program.ops.add import Add
from bevel.backends.program.program import Call


def windows(call: Call, given: tuple[PixelLayout, ...]) -> OverlaySums | str:
    op = call.kernel
    assert isinstance(op, Add)
    if op.a_shape != op.shape or op.b_shape != op.shape:
        return "one of its inputs is repeated along an axis"
    half = 1 << op.shift >> 1
    output = replace(op.output, even=False)  # half is added whatever a sum is
    scaled = ChannelScaling.of(np.array([op.offset - half]), np.array([1]), np.array([op.shift]), output)
    return ElementSums(given[0], scaled, (op.a_multiplier, op.b_multiplier))
