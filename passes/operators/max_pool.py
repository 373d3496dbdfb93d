"""MaxPool: the largest integer is the largest real, so input and output share their quantization and ONNX's own MaxPool
on int8 is the definition."""

from __future__ import annotations

from typing import ClassVar

import onnx_graphsurgeon as gs

from bevel.backends.kernels.max_pool import MaxPool as MaxPoolKernel
from bevel.passes.lowering import Lowering, channels_last
from bevel.passes.operators.base import Activation, Match, Operator, Reason, Site
from bevel.passes.operators.geometry import edges, geometry, image_shape, two_dimensional


class MaxPool(Operator):
    float_ops: ClassVar = frozenset({"MaxPool", "GlobalMaxPool"})
    integer_op: ClassVar = "MaxPool"
    ties: ClassVar = True

    def match(self, node: gs.Node) -> Match | Reason | None:
        if node.op not in self.float_ops:
            return None
        if len(node.outputs) > 1:
            return Reason("its second output, the indices, has no integer kernel")
        if node.attrs.get("ceil_mode", 0) or node.attrs.get("auto_pad", "NOTSET") not in ("NOTSET", "VALID"):
            return Reason("ceil_mode or auto_pad was not resolved into pads")
        if len(node.inputs[0].shape) not in (3, 4):
            return Reason("only 1-D and 2-D pooling has an integer kernel")
        return Match(node, tuple(node.inputs))

    def integerize(self, site: Site) -> list[gs.Node] | Reason:
        x = site.inputs[0]
        if not isinstance(x, Activation):
            return Reason("its input is not quantized")
        whole_image = {"kernel_shape": list(x.tensor.shape[2:])} if site.node.op == "GlobalMaxPool" else site.node.attrs
        return [gs.Node("MaxPool", site.name, dict(whole_image), [x.tensor], [site.output])]

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
        )
        layout = channels_last(len(y.shape))
        lowering.emit(node, kernel, [lowering.read(x, layout)], (), y, layout)
