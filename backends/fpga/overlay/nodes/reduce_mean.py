"""ReduceMean and GlobalAveragePool: a window of all pixels."""

from __future__ import annotations

import numpy as np

from bevel.backends.fpga.overlay.layout import PixelLayout
from bevel.backends.fpga.overlay.windows import ChannelScaling, OverlaySums, WindowedImage, WindowReduction
from bevel.backends.program.ops.reduce_mean import ReduceMean
from bevel.backends.program.program import Call


def windows(call: Call, given: tuple[PixelLayout, ...]) -> OverlaySums | str:
    op = call.kernel
    assert isinstance(op, ReduceMean)
    image = WindowedImage(op.outer, op.reduced, op.inner, (1, op.reduced), (op.outer, 1))
    scaled = ChannelScaling.of(
        np.array([-op.reduced * op.x_zero_point]), np.array([op.multiplier]), np.array([op.shift]), op.output
    )
    return WindowReduction(PixelLayout(op.outer, op.inner), scaled, image)
