"""Normalization of rows as they come, all by the same factors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bevel.backends.fpga.node import Folding, LogicNode, Passing
from bevel.backends.fpga.stage import Stage
from bevel.backends.fpga.stages.normalize import NormalizeStage
from bevel.backends.program.op import Bounds
from bevel.backends.program.ops.normalize import Normalize
from bevel.backends.program.program import Call
from bevel.calib.arithmetic.normalize import WORD_BITS


@dataclass(frozen=True, eq=False)
class NormalizeNode(Passing):
    def stages(self, folding: Folding) -> Sequence[Stage]:
        op = self.call.kernel
        assert isinstance(op, Normalize)
        factor, offset = (array[op.places("gain")[0]] for array in self.call.constants)
        made = NormalizeStage(
            self.name,
            inputs=(self.given(1),),
            output=self.made(1),
            n=op.n,
            center=op.center,
            zero_point=op.zero_point,
            epsilon=op.epsilon,
            factor=factor,
            offset=offset,
            shift=op.shift - WORD_BITS,
            epilogue=op.output,
        )
        return [made]


def node(call: Call, name: str, inputs: tuple[Bounds, ...]) -> LogicNode | str:
    op = call.kernel
    assert isinstance(op, Normalize)
    if not np.array_equal(op.places("stride").reshape(-1), np.arange(op.size)):
        return "its rows do not lie one behind the other"
    gains = op.places("gain")
    if (gains != gains[0]).any():
        return "its rows have factors of their own"
    if op.n < 2:
        return "rows of one element"
    return NormalizeNode(call, name, inputs, channels=1)
