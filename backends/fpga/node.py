"""A call of a program as hardware: how it can be folded, and the stages that it becomes then.

An operator's file in `nodes/` is named as the operator's own, and answers a LogicNode, or why it is none. One that has
HOLDS takes inputs that are constant, too.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType

from bevel.backends.fpga import nodes
from bevel.backends.fpga.logic import MultiplierBlock
from bevel.backends.fpga.stage import BeatStream, Stage
from bevel.backends.fpga.stages.dot import Multiplier
from bevel.backends.fpga.verilog.text import signed_bits
from bevel.backends.program.op import Array, Bounds, Role
from bevel.backends.program.program import Call

Held = Mapping[int, Array]


@dataclass(frozen=True, order=True)
class Folding:
    """What stands side by side: `outputs` (PE) channels of a result, and of what is summed `rows` of the kernel times
    `channels` (SIMD). Of nodes that only pass elements on, `channels` are those that pass at once, and of products of
    two streams the results that leave at once. `multiplier`: blocks or lookup tables."""

    outputs: int = 1
    rows: int = 1
    channels: int = 1
    multiplier: Multiplier = "dsp"


@dataclass(frozen=True, eq=False)
class LogicNode(ABC):
    """name: an identifier; inputs: what the elements of each input lie in; held: those that are constant, by their
    places; block: what multiplies, of the part."""

    call: Call
    name: str
    inputs: tuple[Bounds, ...]
    held: Held = field(default_factory=dict, kw_only=True)
    block: MultiplierBlock = field(default=MultiplierBlock(), kw_only=True)

    @property
    def streamed(self) -> list[int]:
        """The places of inputs that come in streams."""
        return [place for place in range(len(self.inputs)) if place not in self.held]

    @property
    def streams(self) -> int:
        return len(self.streamed)

    @abstractmethod
    def foldings(self) -> Sequence[Folding]:
        """All that there are, with multiplier blocks where it has any multipliers."""

    @abstractmethod
    def stages(self, folding: Folding) -> Sequence[Stage]:
        """One behind the other; the first takes the node's inputs."""

    @property
    def multiplies(self) -> bool:
        """Whether its multipliers can be blocks or lookup tables."""
        return False

    @property
    def result(self) -> Bounds:
        found = self.call.kernel.bounds(self.inputs, self.call.constants)
        assert found is not None  # integers have bounds
        return found

    def given(self, lanes: int, place: int = 0) -> BeatStream:
        """An input stream, so many elements a beat."""
        at = self.streamed[place]
        operand = self.call.kernel.roles(Role.INPUT)[at]
        return BeatStream(operand.size, lanes, self.inputs[at], signed_bits(*self.inputs[at]))

    def made(self, lanes: int) -> BeatStream:
        """The output."""
        (operand,) = self.call.kernel.roles(Role.OUTPUT)
        return BeatStream(operand.size, lanes, self.result, signed_bits(*self.result))


def divisors(number: int) -> list[int]:
    return [one for one in range(1, number + 1) if number % one == 0]


def lane_foldings(channels: int) -> list[Folding]:
    """Of a node that only passes channels on."""
    return [Folding(channels=lanes) for lanes in divisors(channels)]


def node_of(
    call: Call, name: str, inputs: tuple[Bounds, ...], block: MultiplierBlock | None = None, held: Held | None = None
) -> LogicNode | str:
    """The node of a call on a part with such multiplier blocks, or the reason why it has none. held: inputs that are
    constant, by their places; their bounds are among `inputs`."""
    found = file_of(type(call.kernel).__module__)
    if found is None:
        return f"{type(call.kernel).__name__} has no hardware yet"
    fixed = held or {}
    if hasattr(found, "HOLDS"):
        answer: LogicNode | str = found.node(call, name, inputs, fixed)
    else:
        answer = "one of its inputs is constant" if fixed else found.node(call, name, inputs)
    return answer if isinstance(answer, str) else replace(answer, block=block or MultiplierBlock(), held=fixed)


@cache
def file_of(operator: str) -> ModuleType | None:
    """The file of `nodes/` that is named as an operator's module is."""
    name = f"{nodes.__name__}.{operator.rpartition('.')[2]}"
    return import_module(name) if find_spec(name) else None


@dataclass(frozen=True, eq=False)
class Passing(LogicNode):
    """A node of one stage, whose channels pass some at a time."""

    channels: int = field(kw_only=True)

    def foldings(self) -> Sequence[Folding]:
        return lane_foldings(self.channels)
