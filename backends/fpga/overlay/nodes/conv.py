"""Conv: dense, depthwise, or in groups."""

from __future__ import annotations

from bevel.backends.fpga.overlay.layout import PixelLayout
from bevel.backends.fpga.overlay.windows import ChannelScaling, OverlaySums, WindowedImage, WindowProducts
from bevel.backends.program.ops.conv import Conv
from bevel.backends.program.program import Call


def windows(call: Call, given: tuple[PixelLayout, ...]) -> OverlaySums | str:
    op = call.kernel
    assert isinstance(op, Conv)
    if op.batch != 1:
        return f"a batch of {op.batch}"
    weights, bias, multiplier, shift = call.constants
    places = (op.positions, op.strides, op.dilations, op.pads[:2], op.x_zero_point)
    image = WindowedImage(op.height, op.width, op.channels_in, op.kernel, *places)
    made = PixelLayout(op.positions[0] * op.positions[1], op.channels_out)
    shaped = weights.reshape(op.channels_out, *op.kernel, -1)
    return WindowProducts(made, ChannelScaling.of(bias, multiplier, shift, op.output), image, shaped, op.groups)
