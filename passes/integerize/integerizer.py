"""The integer graph under construction, and what of the source its tensors stand for."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import onnx_graphsurgeon as gs

from bevel.passes.base import Note
from bevel.passes.operators.base import Activation

PASS = "integerize"  # whose notes these are


class Meaning(NamedTuple):
    """What the integers of a port mean; for each index along `axis` where there are several scales."""

    scale: float | tuple[float, ...]
    zero_point: int | tuple[int, ...]
    axis: int = 0

    @property
    def written(self) -> list[Any]:
        """As it stands in the model's metadata."""
        return list(self) if isinstance(self.scale, tuple) else [self.scale, self.zero_point]


@dataclass
class Integerizer:
    """The integer graph under construction."""

    source: gs.Graph
    nodes: list[gs.Node] = field(default_factory=list)
    codes: dict[str, gs.Variable] = field(default_factory=dict)  # integer tensor of the source: the one here
    reals: dict[str, Activation] = field(default_factory=dict)  # dequantized tensor of the source: its codes here
    floats: dict[str, gs.Variable] = field(default_factory=dict)  # any other tensor of the source: the same here
    ports: dict[str, Meaning] = field(default_factory=dict)
    arriving: set[str] = field(default_factory=set)  # integer tensors of the source that are graph inputs here
    read: list[gs.Tensor] = field(default_factory=list)  # of the source, which integer nodes read as they are
    notes: list[Note] = field(default_factory=list)
    made: set[str] = field(default_factory=set)  # nodes of the source all of whose outputs are made

    def other(self, tensor: gs.Tensor) -> gs.Tensor:
        """A tensor that is not quantized, in the new graph."""
        if isinstance(tensor, gs.Constant) or tensor.is_empty():
            return tensor
        return self.floats.setdefault(tensor.name, gs.Variable(tensor.name, tensor.dtype, tensor.shape))
