"""The operators that run in integers, one file each; `OPERATORS` is the order in which they are asked."""

from __future__ import annotations

from functools import cache

import onnx_graphsurgeon as gs

from bevel.passes.operators.base import IntegerOperator, Match, NoKernel, Operator, Reason
from bevel.passes.operators.formats.dequantize_steps import DequantizeSteps
from bevel.passes.operators.formats.flip_sign import FlipSign
from bevel.passes.operators.formats.quantize_fixed import QuantizeFixed
from bevel.passes.operators.formats.quantize_float import QuantizeFloat
from bevel.passes.operators.formats.rescale import Rescale
from bevel.passes.operators.formats.round_even import RoundEven
from bevel.passes.operators.formats.round_float import RoundFloat
from bevel.passes.operators.formats.round_mx import RoundMx
from bevel.passes.operators.formats.round_rows import RoundRows
from bevel.passes.operators.functions.arg_max import ArgMax
from bevel.passes.operators.functions.channel_table import ChannelTable
from bevel.passes.operators.functions.clip import Clip
from bevel.passes.operators.functions.log_softmax import LogSoftmax
from bevel.passes.operators.functions.power_softmax import PowerSoftmax
from bevel.passes.operators.functions.softmax import MaskedSoftmax, Softmax
from bevel.passes.operators.functions.table import Table
from bevel.passes.operators.moves.concat import Concat
from bevel.passes.operators.moves.gather import Gather
from bevel.passes.operators.moves.identity import Identity
from bevel.passes.operators.moves.lookup import Lookup
from bevel.passes.operators.moves.pad import Pad
from bevel.passes.operators.moves.reshape import Reshape
from bevel.passes.operators.moves.scatter_row import ScatterRow
from bevel.passes.operators.moves.slice import Slice
from bevel.passes.operators.moves.tile import Tile
from bevel.passes.operators.moves.transpose import Transpose
from bevel.passes.operators.norms.normalize import Normalize
from bevel.passes.operators.norms.reduce_l2 import ReduceL2
from bevel.passes.operators.norms.written_norm import WrittenNorm
from bevel.passes.operators.products.conv import Conv
from bevel.passes.operators.products.conv_transpose import ConvTranspose
from bevel.passes.operators.products.gemm import Gemm
from bevel.passes.operators.products.mat_mul import MatMul
from bevel.passes.operators.products.rotary_embedding import RotaryEmbedding
from bevel.passes.operators.products.walsh_hadamard import WalshHadamard
from bevel.passes.operators.recurrent.gru import Gru
from bevel.passes.operators.recurrent.lstm import Lstm
from bevel.passes.operators.recurrent.rnn import Rnn
from bevel.passes.operators.sums.add import Add
from bevel.passes.operators.sums.compare import Compare
from bevel.passes.operators.sums.div import Div
from bevel.passes.operators.sums.extreme import Extreme
from bevel.passes.operators.sums.mul import Mul
from bevel.passes.operators.sums.prelu import PRelu
from bevel.passes.operators.sums.reduce_extreme import ReduceExtreme
from bevel.passes.operators.sums.reduce_mean import ReduceMean
from bevel.passes.operators.sums.where import Where
from bevel.passes.operators.windows.average_pool import AveragePool
from bevel.passes.operators.windows.max_pool import MaxPool
from bevel.passes.operators.windows.resize import Resize

OPERATORS: tuple[Operator, ...] = (
    # Several nodes that are one operator, before what would take their last
    WrittenNorm(),
    RotaryEmbedding(),
    # Products with constant weights, first those that need no weights; Gemm comes before Add because it takes MatMul +
    # Add.
    WalshHadamard(),
    Conv(),
    ConvTranspose(),
    Gemm(),
    # Products of two activations; before Mul because it takes the factor behind one
    MatMul(),
    # Loops over time
    Lstm(),
    Gru(),
    Rnn(),
    # Arithmetic on activations
    Add(),
    Mul(),
    Div(),
    Extreme(),
    PRelu(),
    Where(),
    Compare(),
    AveragePool(),
    ReduceMean(),
    ReduceL2(),
    ReduceExtreme(),
    ArgMax(),
    MaskedSoftmax(),
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
    ScatterRow(),
    Slice(),
    Tile(),
    Transpose(),
)

# Made by the integerizer, not matched to a float node
MADE: tuple[IntegerOperator, ...] = (
    ChannelTable(),
    Clip(),
    DequantizeSteps(),
    FlipSign(),
    PowerSoftmax(),
    QuantizeFixed(),
    QuantizeFloat(),
    Rescale(),
    RoundEven(),
    RoundFloat(),
    RoundMx(),
    RoundRows(),
    Table(),
)

INTEGER_OPERATORS = (*OPERATORS, *MADE)


def find_operator(node: gs.Node, alone: bool = False) -> tuple[Operator, Match] | Reason:
    """The operator that takes a float node, or the reason none does. `alone`: without nodes before it."""
    for operator in OPERATORS:
        match operator.match(node):
            case Match() as found if not alone or not operator.covers(found):
                return operator, found
            case Reason() as reason:
                return reason
    return NoKernel(f"{node.op} has no integer kernel")


def lowering_operator(node: gs.Node) -> IntegerOperator | None:
    """The operator that lowers an integer node to a kernel call."""
    return lowering_operators().get((bool(node.domain), node.op))


@cache
def lowering_operators() -> dict[tuple[bool, str], IntegerOperator]:
    """Who lowers what: (whether it is a function of ours, name of the operator)."""
    found: dict[tuple[bool, str], IntegerOperator] = {}
    for operator in INTEGER_OPERATORS:
        for function in operator.functions:
            found.setdefault((True, function.name), operator)
        for name in operator.standard:
            found.setdefault((False, name), operator)
    return found
