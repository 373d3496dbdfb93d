"""MaxPool: the largest integer is the largest real, so input and output share their quantization and ONNX's own MaxPool
on int8 is the definition."""

from __future__ import annotations

from typing import ClassVar

import onnx_graphsurgeon as gs

from bevel.passes.operators.base import Activation, Match, Operator, Reason, Site
from bevel.passes.operators.lowering import Lowering
from bevel.passes.operators.windows.max_pool_kernel import lower_max_pool
from bevel.passes.operators.windows.wide_max_pool import WideMaxPool


class MaxPool(Operator):
    float_ops: ClassVar = frozenset({"MaxPool", "GlobalMaxPool"})
    limits: ClassVar = "1-D, 2-D, 3-D; without indices"
    integer_op: ClassVar = "MaxPool"
    ties: ClassVar = True
    wide: ClassVar = True

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
        if site.wide:
            return WideMaxPool().integerize(site)
        whole_image = {"kernel_shape": list(x.tensor.shape[2:])} if site.node.op == "GlobalMaxPool" else site.node.attrs
        return [gs.Node("MaxPool", site.name, dict(whole_image), [x.tensor], [site.output])]

    def lower(self, node: gs.Node, lowering: Lowering) -> None:
        lower_max_pool(node, lowering)
