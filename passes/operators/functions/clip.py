"""Relu and Clip that nothing could absorb, between equal quantizations: the integers are clamped.

Between different quantizations they are a table (`bevel.passes.operators.functions.table`).
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import onnx_graphsurgeon as gs

from bevel.backends.program.ops.clip import Clip as ClipKernel
from bevel.passes.operators.base import Activation, Match, Operator, Reason, Site
from bevel.passes.operators.functions.wide_clip import wide_clip
from bevel.passes.operators.lowering import Lowering


class Clip(Operator):
    float_ops: ClassVar[frozenset[str]] = frozenset()  # made where a Relu or Clip leaves the quantization as it is
    integer_op: ClassVar = "Clip"

    def match(self, node: gs.Node) -> Match | Reason | None:
        return None

    def integerize(self, site: Site) -> list[gs.Node] | Reason:
        x = site.inputs[0]
        if not isinstance(x, Activation) or not site.keeps_quantization():
            return Reason("its input and output are quantized differently")
        if site.wide:
            return [wide_clip(site.name, x.tensor, site.output, site.result.low, site.result.high)]
        bounds = [site.constant(role, np.array(getattr(site.result, role), np.int8)) for role in ("low", "high")]
        return [gs.Node("Clip", site.name, {}, [x.tensor, *bounds], [site.output])]

    def lower(self, node: gs.Node, lowering: Lowering) -> None:
        value = lowering.value(node.inputs[0])
        low, high = (int(lowering.constant(tensor)) for tensor in node.inputs[1:3])
        kernel = ClipKernel(size=int(np.prod(value.shape)), low=low, high=high)
        lowering.emit(node, kernel, [value.buffer], (), node.outputs[0], value.order)
