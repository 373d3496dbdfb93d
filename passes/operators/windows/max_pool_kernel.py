"""The kernel call of a MaxPool on integers of any width."""

from __future__ import annotations

import onnx_graphsurgeon as gs

from bevel.backends.program.ops.max_pool import MaxPool
from bevel.passes.operators.formats.wide_values import dtype_of
from bevel.passes.operators.geometry import edges, geometry, image_shape, two_dimensional
from bevel.passes.operators.lowering import Lowering, channels_last


def lower_max_pool(node: gs.Node, lowering: Lowering) -> None:
    x, y = node.inputs[0], node.outputs[0]
    batch, channels, height, width = image_shape(tuple(x.shape))
    shape = geometry(node, len(x.shape) - 2)
    kernel = MaxPool(
        batch=batch,
        height=height,
        width=width,
        channels=channels,
        kernel=two_dimensional(node.attrs["kernel_shape"], 1),
        strides=two_dimensional(shape["strides"], 1),
        dilations=two_dimensional(shape["dilations"], 1),
        pads=edges(shape["pads"]),
        dtype=dtype_of(x),
    )
    layout = channels_last(len(y.shape))
    lowering.emit(node, kernel, [lowering.read(x, layout)], (), y, layout)
