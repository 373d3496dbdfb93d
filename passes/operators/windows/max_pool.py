"""MaxPool: the largest integer is the largest real, so input and output share their quantization and ONNX's own MaxPool
on int8 is the definition.

ONNX has none of int16 and int32, but float32 holds every integer below 2**24: the maximum is one of the integers that
go in, and nothing is computed with the floats.
"""

from __future__ import annotations

from typing import ClassVar

import onnx_graphsurgeon as gs

from bevel.backends.program.ops.max_pool import MaxPool as MaxPoolKernel
from bevel.passes.operators.base import Activation, Function, Match, Operator, Reason, Site
from bevel.passes.operators.geometry import edges, geometry, image_shape, two_dimensional, windowed
from bevel.passes.operators.lowering import Lowering, channels_last
from bevel.passes.operators.widths import dtype_of, element_type

GEOMETRY = ("kernel_shape", "strides", "dilations", "pads")
BODY = f"""
  reals = Cast <to = 1> (x)
  largest = MaxPool <{", ".join(f"{name}: ints = @{name}" for name in GEOMETRY)}> (reals)
  y = Cast <to: int = @y_type> (largest)
"""
WIDE_MAX_POOL = Function("WideMaxPool", (*GEOMETRY, "y_type"), ("x",), BODY)


class MaxPool(Operator):
    float_ops: ClassVar = frozenset({"MaxPool", "GlobalMaxPool"})
    limits: ClassVar = "1-D, 2-D, 3-D; without indices"
    functions: ClassVar = (WIDE_MAX_POOL,)
    standard: ClassVar = frozenset({"MaxPool"})
    ties: ClassVar = True
    wide: ClassVar = True

    def match(self, node: gs.Node) -> Match | Reason | None:
        if node.op not in self.float_ops:
            return None
        if len(node.outputs) > 1:
            return Reason("its second output, the indices, has no integer kernel")
        return windowed(node, "pooling has", ("ceil_mode", "auto_pad"))

    def integerize(self, site: Site) -> list[gs.Node] | Reason:
        x, node = site.inputs[0], site.node
        if not isinstance(x, Activation):
            return Reason("its input is not quantized")
        image = {"kernel_shape": [int(size) for size in x.tensor.shape[2:]]}
        attrs = image if node.op == "GlobalMaxPool" else dict(node.attrs)
        if not site.wide:
            return [gs.Node("MaxPool", site.name, attrs, [x.tensor], [site.output])]
        window = [int(size) for size in attrs["kernel_shape"]]
        attrs = {"kernel_shape": window} | geometry(node, len(window)) | {"y_type": element_type(site.result.dtype)}
        return site.call(WIDE_MAX_POOL, [x.tensor], attrs)

    def lower(self, node: gs.Node, lowering: Lowering) -> None:
        x, y = node.inputs[0], node.outputs[0]
        batch, channels, height, width = image_shape(tuple(x.shape))
        shape = geometry(node, len(x.shape) - 2)
        kernel = MaxPoolKernel(
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
