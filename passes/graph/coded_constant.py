"""Constants of a graph that know how their integers are coded, so that a file and a flash can hold them as codes."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_graphsurgeon as gs

from bevel.calib.formats.coded import MAX_CODES, Coded, coded, counted, narrowest
from bevel.calib.formats.scheme import PerTensor


class CodedConstant(gs.Constant):  # type: ignore[misc]
    """`coded` as a constant: its values are the integers, of `dtype`, or in the narrowest of int8, int16 and int32.

    With factors for blocks they are int32, the only type of these that standard operators multiply.
    """

    def __init__(self, name: str, coded: Coded, dtype: np.dtype[Any] | None = None) -> None:
        integers = coded.values()
        if dtype is None:
            dtype = narrowest(integers) if isinstance(coded.blocks, PerTensor) else np.dtype(np.int32)
        super().__init__(name, integers.astype(dtype))
        self.coded = coded


def coded_of(tensor: gs.Constant) -> Coded | None:
    """The codes of a constant, by its own tables or, where it has none, by the values it holds.

    None for what are no integers, or more different ones than codes of 8 bits can tell apart.
    """
    if isinstance(tensor, CodedConstant):
        return tensor.coded
    values = np.asarray(tensor.values)
    if values.dtype.kind not in "iu" or values.size == 0:
        return None
    occurring = counted(values)
    return coded(values, occurring) if len(occurring) <= MAX_CODES else None
