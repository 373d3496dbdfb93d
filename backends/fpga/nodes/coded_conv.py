"""Conv with results of 16 bits, or weights in a coding of their own: as a Conv of the integers that they stand for."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from bevel.backends.fpga.node import LogicNode
from bevel.backends.fpga.nodes import conv
from bevel.backends.program.op import Bounds, Role
from bevel.backends.program.ops.coded_conv import CodedConv
from bevel.backends.program.program import Call


def node(call: Call, name: str, inputs: tuple[Bounds, ...]) -> LogicNode | str:
    op = call.kernel
    assert isinstance(op, CodedConv)
    *coded, bias, multiplier, shift = call.constants
    weights = op.weights(*coded)
    for values, dtype, what in ((weights, np.int8, "weights of more than 8 bits"), (bias, np.int32, "a wide bias")):
        if values.min() < np.iinfo(dtype).min or values.max() > np.iinfo(dtype).max:
            return what
    shaped = weights.astype(np.int8).reshape(op.plain.roles(Role.CONSTANT)[0].shape)
    constants = (shaped, bias.astype(np.int32), multiplier, shift)
    return conv.node(replace(call, kernel=op.plain, constants=constants), name, inputs)
