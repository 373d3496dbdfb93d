"""Conv: windows and a matrix-vector unit; where windows are the pixels as they come, the unit alone.

Groups of several channels are one, with weights of 0 where none were: as many multipliers as that, and the same sums.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from bevel.backends.fpga.nest import ProductShape
from bevel.backends.fpga.node import Folding, LogicNode, divisors
from bevel.backends.fpga.products import ProductNode
from bevel.backends.fpga.stage import BeatStream, Stage
from bevel.backends.fpga.stages.window import Geometry, WindowStage
from bevel.backends.program.op import Bounds
from bevel.backends.program.ops.conv import Conv
from bevel.backends.program.program import Call
from bevel.calib.arithmetic.requantize import Output


@dataclass(frozen=True, eq=False)
class ConvNode(ProductNode):
    @property
    def op(self) -> Conv:
        assert isinstance(self.call.kernel, Conv)
        return self.call.kernel

    @property
    def shape(self) -> ProductShape:
        op = self.op
        windows = op.batch * op.positions[0] * op.positions[1]
        return ProductShape(windows, op.kernel, op.channels_in, op.channels_out, op.depthwise)

    @property
    def epilogue(self) -> Output:
        return self.op.output

    @property
    def geometry(self) -> Geometry:
        op = self.op
        size = (op.height, op.width, op.channels_in)
        return Geometry(*size, op.kernel, op.strides, op.dilations, op.pads, op.positions)

    def foldings(self) -> Sequence[Folding]:
        """All rows of a kernel, or one of them, at once."""
        op = self.op
        rows = (1,) if op.kernel[0] == 1 else (1, op.kernel[0])
        if op.depthwise:
            return [Folding(pe, row, 1) for pe in divisors(op.channels_out) for row in rows]
        outputs, channels = divisors(op.channels_out), divisors(op.channels_in)
        return [Folding(pe, row, simd) for pe in outputs for row in rows for simd in channels]

    def stages(self, folding: Folding) -> Sequence[Stage]:
        op = self.op
        lanes = folding.outputs if op.depthwise else folding.channels
        x, g, shape = self.given(lanes), self.geometry, self.shape
        beats = op.taps // (folding.rows * (1 if op.depthwise else folding.channels))
        found: list[Stage] = []
        if not g.trivial:
            elements = shape.windows * op.kernel[0] * op.kernel[1] * op.channels_in
            out = BeatStream(elements, folding.rows * lanes, x.bounds, x.bits)
            made = WindowStage(
                f"{self.name}_window",
                inputs=(x,),
                output=out,
                geometry=g,
                pace=beats * (1 if op.depthwise else op.channels_out // folding.outputs),
                rows=folding.rows,
                by_channel=op.depthwise,
                fill=op.x_zero_point,
            )
            found, x = [made], out
        return [*found, self.product(x, folding)]


def node(call: Call, name: str, inputs: tuple[Bounds, ...]) -> LogicNode | str:
    op = call.kernel
    assert isinstance(op, Conv)
    if op.batch != 1:
        return f"a batch of {op.batch}"
    if op.groups != 1 and not op.depthwise:
        return node(undivided(call, op), name, inputs)
    if any(op.pads):
        low, high = inputs[0]
        inputs = ((min(low, op.x_zero_point), max(high, op.x_zero_point)),)
    if int(call.constants[3].min()) < 1:
        return "a rescaling without a shift"
    return ConvNode(replace(call, input_bounds=inputs), name, inputs)


def undivided(call: Call, op: Conv) -> Call:
    """The call as one of a single group."""
    weights, *rescaling = call.constants
    outputs, inputs = op.channels_out // op.groups, op.channels_in // op.groups
    whole = np.zeros((op.channels_out, *op.kernel, op.channels_in), np.int8)
    for group in range(op.groups):
        rows, columns = (slice(group * size, (group + 1) * size) for size in (outputs, inputs))
        whole[rows, :, :, columns] = weights[rows]
    return replace(call, kernel=replace(op, groups=1), constants=(whole, *rescaling))
