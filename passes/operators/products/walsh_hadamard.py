"""Walsh-Hadamard transform: a product by a constant matrix of entries c and -c whose rows are orthogonal.

    y = requantize(c sx / sy * sum over j of H_ji (x_j - zx))        H of entries +-1, H H^T = n I

The matrix may have several such blocks along its diagonal, and 0 beside.

The matrix is exact whatever format weights have, so that none is chosen for it, and a device needs butterflies of sums
and differences in place of a product (`bevel.calib.arithmetic.walsh_hadamard`). Rotations that a network makes as it
runs are spelled so: Ashkboos et al. 2024, "QuaRot: Outlier-Free 4-Bit Inference in Rotated LLMs", section 4.
"""

from __future__ import annotations

from math import prod
from typing import ClassVar

import numpy as np
import onnx
import onnx_graphsurgeon as gs

from bevel.backends.program.ops.walsh_hadamard import ButterflyBlock, entries_of
from bevel.backends.program.ops.walsh_hadamard import WalshHadamard as WalshHadamardKernel
from bevel.calib.arithmetic.walsh_hadamard import HadamardForm, factored
from bevel.passes.operators.base import Activation, Function, Match, Operator, Reason, Site
from bevel.passes.operators.bodies import OUTPUT_ATTRIBUTES, REQUANTIZE, constants_of
from bevel.passes.operators.lowering import Lowering
from bevel.passes.operators.widths import dtype_of, output_attributes, rescaling, stored_output

LEAST = 4  # of the largest block: fewer make a sum and a difference
SUM_LIMIT = 2**31 - 1
# x [..., n]; matrix int8 [n, n] of +-1 and 0; multiplier, shift [n]
BODY = f"""
{constants_of(onnx.TensorProto.INT32, "x_zero_point")}
  wide = Cast <to = 6> (x)
  centered = Sub (wide, x_zero_point)
  signs = Cast <to = 6> (matrix)
  accumulator = MatMul (centered, signs)
{REQUANTIZE}
"""
WALSH_HADAMARD = Function(
    "WalshHadamard", ("x_zero_point", *OUTPUT_ATTRIBUTES), ("x", "matrix", "multiplier", "shift"), BODY
)


class WalshHadamard(Operator):
    float_ops: ClassVar = frozenset({"MatMul", "Gemm"})
    limits: ClassVar = "one factor constant"
    functions: ClassVar = (WALSH_HADAMARD,)
    clamps: ClassVar = True
    wide: ClassVar = True

    def match(self, node: gs.Node) -> Match | Reason | None:
        return None if find_transform(node) is None else Match(node, (node.inputs[0],))

    def integerize(self, site: Site) -> list[gs.Node] | Reason:
        x, found = site.inputs[0], find_transform(site.node)
        if not isinstance(x, Activation) or found is None:
            return Reason("its input is not quantized")
        if x.dtype not in ("int8", "int16"):
            return Reason("its input is wider than int16")
        form, entries = found
        reach = max(one.size for one in form.blocks) * x.reach
        if reach > SUM_LIMIT:
            return Reason(f"a sum of {max(one.size for one in form.blocks)} may leave int32")
        ratios = rescaling(form.of_blocks([c * x.scale / site.scale for c in entries]), reach)
        if isinstance(ratios, Reason):
            return ratios
        constants = [
            site.constant(role, values)
            for role, values in zip(("matrix", "multiplier", "shift"), (form.matrix(), *ratios), strict=True)
        ]
        attrs = {"x_zero_point": x.zero_point} | output_attributes(site.result)
        return site.call(WALSH_HADAMARD, [x.tensor, *constants], attrs)

    def lower(self, node: gs.Node, lowering: Lowering) -> None:
        x = node.inputs[0]
        matrix, multiplier, shift = (lowering.constant(tensor) for tensor in node.inputs[1:])
        found = factored(matrix)
        assert found is not None, "the matrix of a call is that of a form"
        form, _ = found
        source, order = lowering.rows(x, len(x.shape) - 1)
        ends = np.cumsum([one.size for one in form.blocks])
        blocks = tuple(
            ButterflyBlock(one.size, len(one.base), int(multiplier[end - 1]), int(shift[end - 1]))
            for one, end in zip(form.blocks, ends, strict=True)
        )
        zero_point, rows = int(node.attrs["x_zero_point"]), prod(x.shape) // len(matrix)
        kernel = WalshHadamardKernel(rows, blocks, zero_point, stored_output(node), dtype_of(x))
        lowering.emit(node, kernel, [source], (entries_of(form),), node.outputs[0], order)


def find_transform(node: gs.Node) -> tuple[HadamardForm, tuple[float, ...]] | None:
    """The form of the matrix that a float node multiplies its input by, and the size of the entries of each block; None
    of all other nodes."""
    if node.op not in ("MatMul", "Gemm") or node.attrs or isinstance(node.inputs[0], gs.Constant):
        return None
    matrix, rest = node.inputs[1], node.inputs[2:]
    biased = any(not isinstance(one, gs.Constant) or np.any(one.values) for one in rest if not one.is_empty())
    if biased or not isinstance(matrix, gs.Constant) or matrix.values.dtype != np.float32:
        return None
    found = factored(matrix.values)
    return found if found is not None and max(one.size for one in found[0].blocks) >= LEAST else None
