"""MaxPool: padding is the least code."""

from __future__ import annotations

from bevel.backends.fpga.overlay.layout import PixelLayout
from bevel.backends.fpga.overlay.windows import AS_IT_IS, OverlaySums, WindowedImage, WindowReduction
from bevel.backends.program.ops.max_pool import MaxPool
from bevel.backends.program.program import Call


def windows(call: Call, given: tuple[PixelLayout, ...]) -> OverlaySums | str:
    op = call.kernel
    assert isinstance(op, MaxPool)
    if op.batch != 1:
        return f"a batch of {op.batch}"
    places = (op.positions, op.strides, op.dilations, op.pads[:2], op.lowest)
    image = WindowedImage(op.height, op.width, op.channels, op.kernel, *places)
    made = PixelLayout(op.positions[0] * op.positions[1], op.channels)
    return WindowReduction(made, AS_IT_IS, image, maximum=True)
