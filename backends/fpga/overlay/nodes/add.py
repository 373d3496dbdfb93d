"""Add and Sub of two tensors, of which one may be repeated, or of one and a constant of each channel: their multipliers
are weights, in digits, and half is in the offset."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from bevel.backends.fpga.node import Held
from bevel.backends.fpga.overlay.layout import PixelLayout
from bevel.backends.fpga.overlay.pairs import channel_sums, pair_sums
from bevel.backends.fpga.overlay.windows import ChannelScaling, OverlaySums
from bevel.backends.program.ops.add import Add
from bevel.backends.program.program import Call

HOLDS = True


def windows(call: Call, given: tuple[PixelLayout, ...], held: Held) -> OverlaySums | str:
    op = call.kernel
    assert isinstance(op, Add)
    factors = (op.a_multiplier, op.b_multiplier)
    offset = op.offset - (1 << op.shift >> 1)
    output = replace(op.output, even=False)  # half is added whatever a sum is
    scaled = ChannelScaling.of(np.array([offset]), np.array([1]), np.array([op.shift]), output)
    for place, values in held.items():
        added = values.reshape((op.a_shape, op.b_shape)[place]).astype(np.int64) * factors[place]
        return channel_sums(op, given[0], np.array(factors[1 - place]), added + offset, scaled)
    return pair_sums(op, given, factors, False, scaled)
