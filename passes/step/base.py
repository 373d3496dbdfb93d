"""What a rule of the step form is: how one operator's output lies in time, and how a step computes its new columns."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import onnx_graphsurgeon as gs

from bevel.passes.operators.base import Reason
from bevel.passes.step.columns import Columns, Range, Stretch, Tick
from bevel.passes.step.quantized import name_of, quantized_like

if TYPE_CHECKING:
    from bevel.passes.step.anew import AnewMaker

PASS = "step"  # whose notes these are
Role = Literal["keys", "values"]  # of attention
PAST, PRESENT = "past", "present"  # what names of states end in, before a step and behind it


@dataclass(frozen=True)
class Seen:
    """views: of the tensors that lie in time. tick: None before the period is known."""

    views: Mapping[str, Columns]
    tick: Tick | None = None

    def of(self, tensor: gs.Tensor) -> Columns | None:
        return self.views.get(tensor.name)

    def timed(self, node: gs.Node) -> list[tuple[gs.Tensor, Columns]]:
        return [(one, self.views[one.name]) for one in node.inputs if one.name in self.views]

    def begins(self, view: Columns) -> bool:
        """Whether a stream has columns from before the sequence."""
        return self.tick is not None and self.tick.before(view) > 0


class StepRule(ABC):
    """How some operators go through time. Subclasses hold no state."""

    operators: ClassVar[frozenset[str]]
    several: ClassVar = False  # whether there may be several outputs, which then lie in time alike
    first_lies_in_time: ClassVar = False  # whether of several outputs the first does, and the others are of the newest

    @abstractmethod
    def look(self, node: gs.Node, seen: Seen) -> Columns | Reason:
        """How the output lies in time, where an input does; or why a step cannot compute its new columns alone."""

    @abstractmethod
    def make(self, node: gs.Node, maker: StepMaker) -> None:
        """Add the nodes that compute the new columns."""

    def pads(self, node: gs.Node, view: Columns) -> bool:
        """Whether zeros stand before the first column of an input that lies so."""
        return False

    def reads(self, node: gs.Node, view: Columns, columns: Range) -> Stretch:
        """The columns of an input that those of the output are computed of."""
        return Stretch(columns)

    def covers(self, node: gs.Node, view: Columns, columns: Range) -> Range:
        """The same with those of padding: below 0 and beyond the window."""
        return self.reads(node, view, columns).columns

    def anew(self, node: gs.Node, maker: AnewMaker) -> None:
        """Add the nodes that compute columns of the window, out of those that it takes."""
        self.make(node, maker)


@dataclass
class StepMaker:
    """The step form under construction. Its nodes and tensors have the names of the full form's."""

    seen: Seen
    tick: Tick
    nodes: list[gs.Node] = field(default_factory=list)
    inputs: list[gs.Variable] = field(default_factory=list)
    outputs: list[gs.Tensor] = field(default_factory=list)
    states: dict[str, str] = field(default_factory=dict)
    made: dict[str, gs.Tensor] = field(default_factory=dict)
    windows: dict[tuple[str, int], gs.Tensor] = field(default_factory=dict)  # by tensor and columns kept
    cuts: dict[str, gs.Tensor] = field(default_factory=dict)
    cached: dict[str, Role] = field(default_factory=dict)  # the nodes whose results are kept row by row
    kept: Set[str] = frozenset()  # tensors of which a stream keeps all columns of the window that it has
    pieces: dict[tuple[str, Range], gs.Tensor] = field(default_factory=dict)  # columns of the window, by tensor

    def shape(self, tensor: gs.Tensor) -> list[int]:
        """What a step computes of a tensor of the full form."""
        shape, view = [int(size) for size in tensor.shape], self.seen.of(tensor)
        if view is not None:
            shape[view.axis] = self.tick.fresh(view)
        return shape

    def new(self, tensor: gs.Tensor) -> gs.Variable:
        """The tensor of the step that a tensor of the full form is."""
        found = gs.Variable(tensor.name, tensor.dtype, self.shape(tensor))
        self.made[tensor.name] = found
        return found

    def take(self, tensor: gs.Tensor) -> gs.Tensor:
        """What a step has of a tensor of the full form: its new columns, where it lies in time."""
        if isinstance(tensor, gs.Constant) or tensor.is_empty():
            return tensor
        return self.made[tensor.name]

    def same(
        self, node: gs.Node, inputs: Sequence[gs.Tensor] | None = None, attrs: Mapping[str, Any] | None = None
    ) -> None:
        """The node as it is, but for some of its inputs and attributes."""
        given = [self.take(one) for one in node.inputs] if inputs is None else list(inputs)
        outputs, every = [self.new(one) for one in node.outputs], {**node.attrs, **(attrs or {})}
        self.nodes.append(gs.Node(node.op, node.name, every, given, outputs, domain=node.domain))

    def add(self, op: str, name: str, inputs: Sequence[gs.Tensor], shape: Sequence[int], **attrs: Any) -> gs.Variable:
        """A node that the full form has not. Its output has its name, and the type of its first input."""
        made = gs.Variable(name, inputs[0].dtype, [int(size) for size in shape])
        self.nodes.append(gs.Node(op, name, attrs, list(inputs), [made]))
        return made

    def recent(self, tensor: gs.Tensor, kept: int) -> gs.Tensor:
        """`kept` columns of the steps before, then the new ones; below 0, the new ones without the first few."""
        key, view = (tensor.name, kept), self.seen.views[tensor.name]
        first, end = view.streamed
        fresh = self.tick.fresh(view)
        if key not in self.windows and tensor.name in self.kept and 0 < kept < end - first - fresh:
            whole, name = self.recent(tensor, end - first - fresh), f"{tensor.name}/recent_{kept}"
            self.windows[key] = self.cut(tensor, name, whole, view.axis, (end - first - fresh - kept, end - first))
        if key not in self.windows:
            self.windows[key] = self.keep(tensor, kept) if kept > 0 else self.newest(tensor, -kept)
        return self.windows[key]

    def delayed(self, tensor: gs.Tensor, wait: int) -> gs.Tensor:
        """As many columns as are new, but those of `wait` columns before."""
        axis, given = self.seen.views[tensor.name].axis, self.recent(tensor, wait)
        return self.cut(tensor, f"{tensor.name}/before_{wait}", given, axis, (0, given.shape[axis] - wait))

    def newest(self, tensor: gs.Tensor, skipped: int) -> gs.Tensor:
        given, axis = self.take(tensor), self.seen.views[tensor.name].axis
        if not skipped:
            return given
        return self.cut(tensor, f"{tensor.name}/newest", given, axis, (skipped, given.shape[axis]))

    def keep(self, tensor: gs.Tensor, kept: int) -> gs.Tensor:
        """The new columns behind those that a state holds, which then is the last ones of all."""
        given, axis = self.take(tensor), self.seen.views[tensor.name].axis
        others = any(name == tensor.name and more > 0 for name, more in self.windows)
        name, past, both = name_of(tensor), list(given.shape), list(given.shape)
        name = f"{name}/{kept}" if others else name
        past[axis], both[axis] = kept, kept + given.shape[axis]
        before = gs.Variable(f"{name}/{PAST}", tensor.dtype, past)
        held = quantized_like(tensor, before, self.nodes)
        joined = self.add("Concat", f"{name}/joined", [held, given], both, axis=axis)
        window = quantized_like(tensor, joined, self.nodes)
        source = given if kept <= given.shape[axis] else window
        end = source.shape[axis]
        after = self.cut(tensor, f"{name}/{PRESENT}", source, axis, (end - kept, end))
        self.inputs.append(before)
        self.outputs.append(after)
        self.states[before.name] = after.name
        return window

    def cut(self, like: gs.Tensor, name: str, given: gs.Tensor, axis: int, columns: tuple[int, int]) -> gs.Tensor:
        """The columns [first, end) of `given` along an axis, as `name`, in the quantization of `like`."""
        if name in self.cuts:
            return self.cuts[name]
        shape = list(given.shape)
        shape[axis] = columns[1] - columns[0]
        bounds = {"starts": columns[0], "ends": columns[1], "axes": axis}
        lists = [gs.Constant(f"{name}/{role}", np.array([one], np.int64)) for role, one in bounds.items()]
        raw = self.add("Slice", f"{name}/cut", [given, *lists], shape)
        found = quantized_like(like, raw, self.nodes)
        found.name = name
        self.cuts[name] = found
        return found
