"""Mul of two tensors, of which one may be repeated, or of one and a constant of each channel."""

from __future__ import annotations

import numpy as np

from bevel.backends.fpga.node import Held
from bevel.backends.fpga.overlay.layout import PixelLayout
from bevel.backends.fpga.overlay.pairs import channel_sums, pair_sums
from bevel.backends.fpga.overlay.windows import ChannelScaling, OverlaySums
from bevel.backends.program.ops.mul import Mul
from bevel.backends.program.program import Call

HOLDS = True


def windows(call: Call, given: tuple[PixelLayout, ...], held: Held) -> OverlaySums | str:
    op = call.kernel
    assert isinstance(op, Mul)
    zeros = (op.a_zero_point, op.b_zero_point)
    bias = np.array([zeros[0] * zeros[1]])
    scaled = ChannelScaling.of(bias, np.array([op.multiplier]), np.array([op.shift]), op.output)
    for place, values in held.items():
        factors = values.reshape((op.a_shape, op.b_shape)[place]).astype(np.int64) - zeros[place]
        return channel_sums(op, given[0], factors, -zeros[1 - place] * factors, scaled)
    return pair_sums(op, given, (-zeros[1], -zeros[0]), True, scaled)
