"""What an operator is to Bevel: how a float ONNX operator between quantizers becomes integers, and then a kernel call.

One file of this folder is one operator. It says which float nodes it takes, which ties and fixed ranges it puts on
their quantization, how a site (the node with its quantizers) becomes integer ONNX, the bodies of the model-local
functions that define those integers in standard operators, and the kernel that computes the same on a device.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np
import onnx
import onnx_graphsurgeon as gs
from numpy.typing import NDArray

from bevel.calib.arithmetic.requantize import Output
from bevel.calib.arithmetic.round_float import FloatSteps
from bevel.calib.formats.coded import Coded
from bevel.passes.base import Note

if TYPE_CHECKING:
    from bevel.calib.observe.base import Want
    from bevel.calib.observe.statistics import Statistics
    from bevel.passes.operators.lowering import Lowering

Array = NDArray[Any]

DOMAIN = "bevel"
INT8 = (-128, 127)


@dataclass(frozen=True)
class Function:
    """A model-local function: integers defined in standard operators, and in `calls`, further functions of ours."""

    name: str
    attributes: tuple[str, ...]
    inputs: tuple[str, ...]
    body: str
    outputs: tuple[str, ...] = ("y",)
    calls: tuple[Function, ...] = ()

    def proto(self, opset: int) -> onnx.FunctionProto:
        return parsed(self, opset)

    def call(self, name: str, inputs: Sequence[gs.Tensor], attrs: Mapping[str, Any], *outputs: gs.Variable) -> gs.Node:
        """A node that calls it; an output that nobody wants is `gs.Variable.empty()`."""
        return gs.Node(self.name, name, dict(attrs), list(inputs), list(outputs), domain=DOMAIN)

    def whole(self) -> Iterator[Function]:
        """All that a model needs to have it."""
        yield self
        for one in self.calls:
            yield from one.whole()


@cache
def parsed(function: Function, opset: int) -> onnx.FunctionProto:
    names = f"<{', '.join(function.attributes)}>" if function.attributes else ""
    imports = f'"" : {opset}' + (f', "{DOMAIN}" : 1' if function.calls else "")
    head = f'<domain: "{DOMAIN}", opset_import: [{imports}]>\n{function.name} {names}'
    inputs, outputs = ", ".join(function.inputs), ", ".join(function.outputs)
    return onnx.parser.parse_function(f"{head} ({inputs}) => ({outputs})\n{{\n{function.body}\n}}")


class Reason(str):
    """Why something does not apply, in words for the report."""


class NoKernel(Reason):
    """That no operator of ours takes a float one, whatever its form."""


def stays_float(pass_: str, node: str, reason: Reason) -> Note:
    return Note(pass_, node, "no_kernel" if isinstance(reason, NoKernel) else "stays_float", str(reason))


@dataclass(frozen=True)
class Activation:
    """A tensor of the integer graph, all of it in [low, high]: real = scale * (q - zero_point).

    The tensor is int8, but int16 or int32 where a format's steps do not fit int8.
    """

    tensor: gs.Tensor
    scale: float
    zero_point: int
    low: int = INT8[0]
    high: int = INT8[1]

    @property
    def dtype(self) -> str:
        return str(np.dtype(self.tensor.dtype))

    @property
    def reach(self) -> int:
        """The largest |q - zero_point|."""
        return max(self.high - self.zero_point, self.zero_point - self.low)


@dataclass(frozen=True)
class Weight:
    """Constant integers with one scale, or one for each index along `axis`; the zero point is already subtracted.

    coded: the same integers as short codes, where they have a form of their own (factors for blocks).
    """

    codes: Array
    scale: Array  # shape () or [channels]
    axis: int
    coded: Coded | None = None

    @property
    def reals(self) -> Array:
        """The float64 values that the integers stand for."""
        others = [place for place in range(self.codes.ndim) if place != self.axis]
        scale = np.expand_dims(self.scale, others) if self.scale.ndim else self.scale
        result: Array = self.codes * scale.astype(np.float64)
        return result

    def transpose(self, axes: tuple[int, ...]) -> Weight:
        """The same integers with their axes in another order, as numpy's transpose."""
        coded = None if self.coded is None else self.coded.transpose(axes)
        return Weight(self.codes.transpose(axes), self.scale, axes.index(self.axis), coded)


class Match(NamedTuple):
    """A float operator and the tensors that its sum, product or selection reads; `others` are no reals but indices.
    before: the nodes before it that are part of it, where finding it finds them."""

    node: gs.Node
    inputs: tuple[gs.Tensor, ...]
    others: tuple[gs.Tensor, ...] = ()
    before: tuple[gs.Node, ...] = ()


class Result(NamedTuple):
    """What one output of an operator must be: where it goes, what a step is worth, and its bounds."""

    tensor: gs.Variable
    scale: float
    output: Output


class State(NamedTuple):
    """What an operator keeps from step to step, in int16 around 0: what it begins with, and what is left in the end, an
    empty tensor where nobody reads it. observed, want: what shows its range is remembered of a tensor; place: which of
    its `reaches`. The range is `headroom` times what was seen, but `least` at least, and `most` at most."""

    initial: gs.Tensor
    final: gs.Variable
    observed: str
    want: Want
    place: int
    headroom: float
    least: float
    most: float


@dataclass(frozen=True)
class Site:
    """A matched operator with its quantizers: what it reads, and what its result must be."""

    node: gs.Node
    inputs: tuple[Activation | Weight | Array, ...]
    output: gs.Variable
    scale: float
    result: Output
    index: int = 0  # which of the node's outputs
    steps: FloatSteps | None = None  # which integers the result's format has; None: all
    others: tuple[gs.Tensor, ...] = ()  # those of the match, in the integer graph
    results: tuple[Result | None, ...] = ()  # of one that makes all of its outputs at once; None: nobody reads it

    @property
    def name(self) -> str:
        several = len(self.node.outputs) > 1 and not self.results
        return f"{self.node.name}/{self.index}" if several else str(self.node.name)

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.output.shape)

    @property
    def wide(self) -> bool:
        """Whether it reads or makes integers beyond int8."""
        read = [one.dtype for one in self.inputs if isinstance(one, Activation)]
        return {*read, self.result.dtype} != {"int8"}

    def constant(self, role: str, values: Array) -> gs.Constant:
        return gs.Constant(f"{self.name}/{role}", np.asarray(values, order="C"))  # 0-d stays 0-d

    def call(self, function: Function, inputs: Sequence[gs.Tensor], attrs: Mapping[str, Any]) -> list[gs.Node]:
        """A call of `function`, under the float operator's name."""
        return [function.call(self.name, inputs, attrs, self.output)]

    def standard(self, inputs: Sequence[gs.Tensor], attrs: Mapping[str, Any] | None = None) -> list[gs.Node]:
        """The same standard operator, on integers."""
        given = dict(self.node.attrs) if attrs is None else dict(attrs)
        return [gs.Node(self.node.op, self.name, given, list(inputs), [self.output])]

    def keeps_quantization(self) -> bool:
        """Whether the first input's integers mean the same as the output's, with nothing clamped."""
        x = self.inputs[0]
        wanted = (self.scale, self.result.zero_point, self.result.dtype)
        return isinstance(x, Activation) and (x.scale, x.zero_point, x.dtype) == wanted


class IntegerOperator(ABC):
    """What may stand in an integer graph: the functions that define it, and the kernel call that computes the same.

    One operator has all widths: the nodes' dtypes, and where bodies differ their names, say which. Subclasses hold no
    state.
    """

    functions: ClassVar[tuple[Function, ...]] = ()
    standard: ClassVar[frozenset[str]] = frozenset()  # standard operators on integers that `lower` takes

    @abstractmethod
    def lower(self, node: gs.Node, lowering: Lowering) -> None:
        """Emit the kernel call that computes the integer node."""


class Operator(IntegerOperator):
    """One operator, from float ONNX to a kernel."""

    float_ops: ClassVar[frozenset[str]]
    limits: ClassVar[str] = ""  # which of its float operators have integers, for the list that people read
    clamps: ClassVar[bool] = False  # a Relu or Clip behind it costs nothing: the result is clamped anyway
    ties: ClassVar[bool] = False  # input and output share one quantization
    rescales: ClassVar[bool] = False  # it ties, but an input that has a quantization of its own is rescaled into it
    ends: ClassVar[bool] = False  # its result is no activation: indices
    wide: ClassVar[bool] = False  # int16 and int32 activations may go in and come out
    wide_codes: ClassVar[bool] = False  # int16 activations may, of which every integer is a code
    powers: ClassVar[bool] = False  # it makes powers of two, where its result's format has these alone
    linear: ClassVar[bool] = True  # its result is a sum of products by its weights, and a bias
    joint: ClassVar[bool] = False  # one call makes all of its outputs: `Site.results`

    def match(self, node: gs.Node) -> Match | Reason | None:
        """The operator at `node`, a reason why it cannot be integer, or None if it is another operator's."""
        return Match(node, tuple(node.inputs)) if node.op in self.float_ops else None

    def weight_axis(self, match: Match, index: int) -> int | None:
        """The output-channel axis of input `index` if it holds weights to be quantized per channel."""
        return None

    def bias_index(self, match: Match) -> int | None:
        """Which input is the bias, stored as int32 at the accumulator's scale."""
        return None

    def covers(self, match: Match) -> tuple[gs.Node, ...]:
        """The nodes before the matched one that are part of it."""
        return match.before

    def tied(self, match: Match) -> tuple[gs.Tensor, ...]:
        """The inputs whose quantization must equal the output's."""
        return match.inputs[:1] if self.ties else ()

    def states(self, match: Match) -> tuple[State, ...]:
        """What it keeps from step to step."""
        return ()

    def attributes(self, match: Match, statistics: Mapping[str, Statistics]) -> dict[str, Any]:
        """What its node says in a quantized graph beyond what it said before, from what was observed."""
        return {}

    def moves(self, match: Match) -> bool:
        """Whether every element of the result is an element of an input, or 0."""
        return self.ties

    def fixed_output(self, match: Match) -> tuple[float, int] | None:
        """Scale and zero point of the output where the operator's definition fixes them."""
        return None

    def requantizes(self, site: Site) -> bool:
        """Whether it brings a result whose quantization it shares with no input to that itself, though it ties."""
        return False

    @abstractmethod
    def integerize(self, site: Site) -> list[gs.Node] | Reason:
        """Integer nodes that write `site.output`, or the reason there are none."""
