"""Integer-only Softmax to shares that are powers of two: codes of four bits (`bevel.calib.arithmetic.power_softmax`).

The result means 0 and 2**0 .. 2**-14, in int16 steps of 2**-14, for whoever reads it; a table makes them of the codes.
A product of activations reads the codes themselves, and shifts (`bevel.passes.operators.products.mat_mul`).
"""

from __future__ import annotations

from math import prod
from typing import ClassVar

import numpy as np
import onnx_graphsurgeon as gs

from bevel.backends.program.ops.power_softmax import PowerSoftmax as PowerSoftmaxKernel
from bevel.calib.arithmetic.power_softmax import LEAST, NONE, steps_of
from bevel.calib.arithmetic.softmax import LONGEST, tables
from bevel.passes.operators.base import Activation, Array, Function, IntegerOperator, Reason, Site
from bevel.passes.operators.functions.exponentials import (
    EXPONENTIALS,
    MASK,
    factor_of,
    lowered_mask,
    mask_of,
    with_mask,
)
from bevel.passes.operators.functions.masks import Masked, find_masked
from bevel.passes.operators.functions.table import look_up
from bevel.passes.operators.lowering import Lowering
from bevel.passes.operators.widths import dtype_of

MIDDLES = "".join(
    f"""
  power{c} = Constant <value_int = {2 ** (c + 2)}> ()
  raised{c} = Mul (e, power{c})
  above{c} = Less (raised{c}, middle)
  one{c} = Cast <to = 6> (above{c})
  code{c + 1} = Add (code{c}, one{c})
"""
    for c in range(LEAST)
)
CODES = f"""
  three = Constant <value_int = 3> ()
  middle = Mul (total, three)
  code0 = Constant <value = int32 {{0}}> ()
{MIDDLES}
  least_power = Constant <value_int = {2 ** (LEAST + 1)}> ()
  raised = Mul (e, least_power)
  none = Less (raised, total)
  last = Cast <to = 6> (none)
  code = Add (code{LEAST}, last)
  y = Cast <to = 3> (code)
"""
INPUTS = ("coarse", "fine", "axes")
POWER_SOFTMAX = Function("PowerSoftmax", (), ("x", *INPUTS), EXPONENTIALS + CODES)
MASKED_POWER_SOFTMAX = Function("MaskedPowerSoftmax", MASK, ("x", "truths", *INPUTS), with_mask(EXPONENTIALS) + CODES)
OF_POWERS = frozenset({POWER_SOFTMAX.name, MASKED_POWER_SOFTMAX.name})


class PowerSoftmax(IntegerOperator):
    functions: ClassVar = (POWER_SOFTMAX, MASKED_POWER_SOFTMAX)

    def lower(self, node: gs.Node, lowering: Lowering) -> None:
        x, y = node.inputs[0], node.outputs[0]
        coarse, fine, (axis,) = (lowering.constant(tensor) for tensor in node.inputs[-3:])
        source, order = lowering.rows(x, int(axis))
        inputs, mask, constants = [source], None, [coarse, fine]
        if node.op == MASKED_POWER_SOFTMAX.name:
            mask, coming, given = lowered_mask(node, lowering, int(axis), order)
            inputs, constants = [source, *coming], [*given, coarse, fine]
        n = x.shape[int(axis)]
        kernel = PowerSoftmaxKernel(prod(x.shape) // n, n, len(coarse), dtype_of(x), mask)
        lowering.emit(node, kernel, inputs, constants, y, order)


def power_softmax(site: Site, x: Activation, axis: int) -> list[gs.Node] | Reason:
    """Codes, and what makes steps of them for the site's result."""
    if site.scale != 2.0**-LEAST or x.dtype not in ("int8", "int16"):
        return Reason(f"powers of two of {site.scale:.3g}, made of {x.dtype}, are no shares in steps of 2**-{LEAST}")
    if site.shape[axis] > LONGEST:
        return Reason(f"the exponentials of its {site.shape[axis]} classes may not fit a sum")
    coarse, fine = tables(x.scale * factor_of(site), x.high - x.low + 1)
    mask, attrs = mask_of(site, x)
    constants: dict[str, Array] = {"coarse": coarse, "fine": fine, "axes": np.array([axis], np.int64)}
    inputs = [x.tensor, *mask, *(site.constant(role, values) for role, values in constants.items())]
    codes = gs.Variable(f"{site.name}/exponents", np.int8, list(site.shape))
    function = MASKED_POWER_SOFTMAX if isinstance(find_masked(site.node), Masked) else POWER_SOFTMAX
    table = steps_of(np.clip(np.arange(-128, 128), 0, NONE)).astype(np.int16)
    return [function.call(site.name, inputs, attrs, codes), *look_up(f"{site.name}/powers", codes, table, site.output)]


def exponents_of(tensor: gs.Tensor) -> gs.Node | None:
    """The node that makes the codes of which a table makes the steps `tensor`; None of other integers."""
    table = tensor.inputs[0] if len(tensor.inputs) == 1 else None
    if table is None or table.op != "Table" or not table.domain or len(table.inputs[0].inputs) != 1:
        return None
    node: gs.Node = table.inputs[0].inputs[0]
    return node if node.domain and node.op in OF_POWERS else None
