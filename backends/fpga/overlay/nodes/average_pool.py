"""AveragePool with one divisor for all windows."""

from __future__ import annotations

import numpy as np

from bevel.backends.fpga.overlay.layout import PixelLayout
from bevel.backends.fpga.overlay.windows import ChannelScaling, OverlaySums, WindowedImage, WindowReduction
from bevel.backends.program.ops.average_pool import AveragePool
from bevel.backends.program.program import Call


def windows(call: Call, given: tuple[PixelLayout, ...]) -> OverlaySums | str:
    op = call.kernel
    assert isinstance(op, AveragePool)
    if op.batch != 1:
        return f"a batch of {op.batch}"
    multiplier, shift = (array.reshape(-1) for array in call.constants)
    if np.ptp(multiplier) or np.ptp(shift):
        return "windows at the edges have other divisors: give count_include_pad=1"
    places = (op.positions, op.strides, (1, 1), op.pads[:2], op.x_zero_point)
    image = WindowedImage(op.height, op.width, op.channels, op.kernel, *places)
    bias = np.array([-op.x_zero_point * op.kernel[0] * op.kernel[1]])
    made = PixelLayout(op.positions[0] * op.positions[1], op.channels)
    return WindowReduction(made, ChannelScaling.of(bias, multiplier[:1], shift[:1], op.output), image)
