"""The operators that run in integers, one file each; `OPERATORS` is the order in which they are asked."""

from __future__ import annotations

from functools import cache

import onnx_graphsurgeon as gs

from bevel.passes.operators.base import Match, NoKernel, Operator, Reason
from bevel.passes.operators.formats.dequantize_steps import DequantizeSteps
from bevel.passes.operators.formats.flip_sign import FlipSign
from bevel.passes.operators.formats.quantize_fixed import QuantizeFixed
from bevel.passes.operators.formats.quantize_float import QuantizeFloat
from bevel.passes.operators.formats.round_even import RoundEven
from bevel.passes.operators.formats.round_float import RoundFloat
from bevel.passes.operators.formats.round_mx import RoundMx
from bevel.passes.operators.formats.wide_rescale import WideRescale
from bevel.passes.operators.functions.arg_max import ArgMax, ArgMin
from bevel.passes.operators.functions.channel_table import ChannelTable
from bevel.passes.operators.functions.clip import Clip
from bevel.passes.operators.functions.log_softmax import LogSoftmax
from bevel.passes.operators.functions.softmax import Softmax
from bevel.passes.operators.functions.table import Table
from bevel.passes.operators.functions.wide_clip import WideClip
from bevel.passes.operators.functions.wide_softmax import WideSoftmax
from bevel.passes.operators.functions.wide_table import WideTable
from bevel.passes.operators.moves.concat import Concat
from bevel.passes.operators.moves.gather import Gather
from bevel.passes.operators.moves.identity import Identity
from bevel.passes.operators.moves.lookup import Lookup
from bevel.passes.operators.moves.pad import Pad
from bevel.passes.operators.moves.reshape import Reshape
from bevel.passes.operators.moves.slice import Slice
from bevel.passes.operators.moves.tile import Tile
from bevel.passes.operators.moves.transpose import Transpose
from bevel.passes.operators.moves.wide_pad import WidePad
from bevel.passes.operators.norms.normalize import Normalize
from bevel.passes.operators.norms.reduce_l2 import ReduceL2
from bevel.passes.operators.norms.written_norm import WrittenNorm
from bevel.passes.operators.products.conv import Conv, EvenConv
from bevel.passes.operators.products.conv_transpose import ConvTranspose, EvenConvTranspose
from bevel.passes.operators.products.gemm import EvenGemm, Gemm
from bevel.passes.operators.products.wide_conv import WideConv
from bevel.passes.operators.products.wide_conv_transpose import WideConvTranspose
from bevel.passes.operators.products.wide_gemm import WideGemm
from bevel.passes.operators.sums.add import Add
from bevel.passes.operators.sums.compare import COMPARISONS
from bevel.passes.operators.sums.div import Div
from bevel.passes.operators.sums.extreme import Max, Min
from bevel.passes.operators.sums.mul import Mul
from bevel.passes.operators.sums.prelu import PRelu
from bevel.passes.operators.sums.reduce_extreme import ReduceExtreme
from bevel.passes.operators.sums.reduce_mean import ReduceMean, ReduceSum
from bevel.passes.operators.sums.where import Where
from bevel.passes.operators.sums.wide_add import WideAdd
from bevel.passes.operators.sums.wide_div import WideDiv
from bevel.passes.operators.sums.wide_mean import WideMean
from bevel.passes.operators.sums.wide_mul import WideMul
from bevel.passes.operators.windows.average_pool import AveragePool
from bevel.passes.operators.windows.max_pool import MaxPool
from bevel.passes.operators.windows.resize import EvenResizeBilinear, Resize
from bevel.passes.operators.windows.wide_average_pool import WideAveragePool
from bevel.passes.operators.windows.wide_max_pool import WideMaxPool
from bevel.passes.operators.windows.wide_resize import WideResizeBilinear, WideResizeNearest

OPSET = 21  # of functions that are only asked for their names

OPERATORS: tuple[Operator, ...] = (
    # Several nodes that are one operator, before what would take their last
    WrittenNorm(),
    # Products with constant weights; Gemm comes before Add because it takes MatMul + Add.
    Conv(),
    ConvTranspose(),
    Gemm(),
    # Arithmetic on activations
    Add(),
    Mul(),
    Div(),
    Max(),
    Min(),
    PRelu(),
    Where(),
    *COMPARISONS,
    AveragePool(),
    ReduceMean(),
    ReduceSum(),
    ReduceL2(),
    ReduceExtreme(),
    ArgMax(),
    ArgMin(),
    Softmax(),
    LogSoftmax(),
    Normalize(),
    MaxPool(),
    # Integers only moved
    Concat(),
    Lookup(),
    Gather(),
    Identity(),
    Pad(),
    Reshape(),
    Resize(),
    Slice(),
    Tile(),
    Transpose(),
    # Made by the integerizer, not matched to a float node
    ChannelTable(),
    Clip(),
    DequantizeSteps(),
    EvenConv(),
    EvenConvTranspose(),
    EvenGemm(),
    EvenResizeBilinear(),
    FlipSign(),
    QuantizeFixed(),
    RoundMx(),
    Table(),
    WideClip(),
    WideConv(),
    WideDiv(),
    WideConvTranspose(),
    WideGemm(),
    QuantizeFloat(),
    RoundEven(),
    RoundFloat(),
    WideAdd(),
    WideAveragePool(),
    WideMaxPool(),
    WideMean(),
    WideMul(),
    WidePad(),
    WideRescale(),
    WideResizeBilinear(),
    WideResizeNearest(),
    WideSoftmax(),
    WideTable(),
)


def find_operator(node: gs.Node, alone: bool = False) -> tuple[Operator, Match] | Reason:
    """The operator that takes a float node, or the reason none does. `alone`: without nodes before it."""
    for operator in OPERATORS[1:] if alone else OPERATORS:
        found = operator.match(node)
        if isinstance(found, Match):
            return operator, found
        if found is not None:
            return found
    return NoKernel(f"{node.op} has no integer kernel")


def lowering_operator(node: gs.Node) -> Operator | None:
    """The operator that lowers an integer node to a kernel call."""
    return lowering_operators().get((bool(node.domain), node.op))


@cache
def lowering_operators() -> dict[tuple[bool, str], Operator]:
    """Who lowers what: (whether it is a function of ours, name of the operator)."""
    found: dict[tuple[bool, str], Operator] = {}
    for operator in OPERATORS:
        function = operator.function(OPSET)
        for name in (operator.integer_op, *operator.also_lowers):
            found.setdefault((function is not None and function.name == name, name), operator)
    return found
