"""Canonicalization: one spelling for each thing, whichever exporter wrote the model, proven by running both.

What later stages may rely on:

- Opset 21, or the newer one that an operator needs, no model-local functions, no Constant nodes, no subgraphs. Weights
  are `gs.Constant`, of integers in 8, 16 or 32 bits whatever they were packed to; in a model that was quantized before,
  a parameter may also be a DequantizeLinear of constants, and its QuantizeLinear and DequantizeLinear stand where they
  stood, as do the functions by which Bevel quantizes.
- A graph output is what a node computes, or a graph input of that name. Identity stands only between a graph input, a
  constant or an output and another output.
- Every tensor has a static shape and a type; every node and tensor a unique, readable name. Graph inputs and outputs
  keep names, order, shapes and types. No arithmetic on shapes is left.
- Conv, ConvTranspose: kernel_shape, strides, dilations, pads and group are there, auto_pad is not; three inputs. A bias
  missing before is a float constant of zeros, in quantized models too. Conv-1D has rank 3.
- A product by constant weights is `Gemm(x [M, K], w [K, N], b [N])` without attributes; inputs of higher rank pass
  through a Reshape before and after, and the second Reshape stands behind the elementwise operators that follow. A
  constant matrix on the left is a Conv.
  MatMul multiplies two activations (or has a note that says why not Gemm).
- BatchNormalization is gone: folded, or a depthwise 1x1 Conv (rank 4), or Mul and Add. Mul, Div, Add, Sub by constants
  per channel behind a linear node are folded into it.
- MaxPool, AveragePool: explicit pads, no auto_pad, no ceil_mode (or a note). MaxPool has rank 3 or 4. AveragePool of
  one window without padding and ReduceMean over all spatial axes (rank 4, 5) are GlobalAveragePool, which keeps the
  dimensions; other ReduceMean have constant axes.
- A clamp is Relu, or Clip with two scalar constants (infinite where open). Chains of clamps are one. Activations are
  not fused into other nodes; that is for the quantizer.
- An Einsum of two factors that is a product of matrices is MatMul.
- Sum and Mean are Add (and Mul); Max and Min have at most two inputs. ReduceL1, ReduceLogSum and ReduceSumSquare are
  ReduceSum with a function. The root of a sum of two squares is ReduceL2.
- DepthToSpace and SpaceToDepth are Reshape and Transpose; a Gather from floats has a list of indices, unevenly spaced
  (others are Slice); an Expand adds no axes; a Pad crops nothing; a linear Resize changes the last two axes of rank 4
  (or has a mode that is not separable).
- LSTM, GRU and RNN have one direction (or a note says why not), no lengths unless they say something, and initial
  states, constants of their own where the model has none.
- What only moves the 8-bit integers of an input stands before the Cast that makes them floats.
- A change of shape is Reshape with a static constant shape; a Transpose moves at least one dimension larger than 1.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import onnx
import onnx_graphsurgeon as gs
from numpy.typing import NDArray

from bevel.calib.errors import UserError, reason_of
from bevel.passes.base import Condition, Note, Pass, PassResult, Work
from bevel.passes.canonicalize.absorb_pad import AbsorbPad
from bevel.passes.canonicalize.absorb_transposes import AbsorbTransposes
from bevel.passes.canonicalize.balance_concat import BalanceConcat
from bevel.passes.canonicalize.begin_recurrent import BeginRecurrent
from bevel.passes.canonicalize.check_compilable import check_compilable
from bevel.passes.canonicalize.convert_opset import convert_opset, opset_of
from bevel.passes.canonicalize.convolve_by_left_matrix import ConvolveByLeftMatrix
from bevel.passes.canonicalize.crop_by_slice import CropBySlice
from bevel.passes.canonicalize.divide_by_reciprocal import DivideByReciprocal
from bevel.passes.canonicalize.evaluate import check_equivalence, open_session, random_inputs, run_given
from bevel.passes.canonicalize.flatten_pool import FlattenPool
from bevel.passes.canonicalize.fold_affine import FoldAffine
from bevel.passes.canonicalize.fold_batchnorm import FoldBatchNorm
from bevel.passes.canonicalize.fold_constants import FoldConstants
from bevel.passes.canonicalize.fold_control_flow import fold_control_flow
from bevel.passes.canonicalize.infer_shapes import InferShapes
from bevel.passes.canonicalize.lower_batchnorm import LowerBatchNorm
from bevel.passes.canonicalize.lower_statistics import LowerStatistics
from bevel.passes.canonicalize.merge_duplicates import MergeDuplicates
from bevel.passes.canonicalize.merge_transposes import MergeTransposes
from bevel.passes.canonicalize.move_before_cast import MoveBeforeCast
from bevel.passes.canonicalize.name_nodes import NameNodes
from bevel.passes.canonicalize.pair_operands import PairOperands
from bevel.passes.canonicalize.promises import PROMISES
from bevel.passes.canonicalize.remove_identity import RemoveIdentity
from bevel.passes.canonicalize.scale_before_concat import ScaleBeforeConcat
from bevel.passes.canonicalize.separate_outputs import SeparateOutputs
from bevel.passes.canonicalize.sink_reshape import SinkReshape
from bevel.passes.canonicalize.spell_depth_to_space import SpellDepthToSpace
from bevel.passes.canonicalize.spell_magnitudes import SpellMagnitudes
from bevel.passes.canonicalize.spell_reductions import SpellReductions
from bevel.passes.canonicalize.split_unlike_results import SplitUnlikeResults
from bevel.passes.canonicalize.trim_outputs import TrimOutputs
from bevel.passes.canonicalize.unify_clip import UnifyClip
from bevel.passes.canonicalize.unify_conv import UnifyConv
from bevel.passes.canonicalize.unify_einsum import UnifyEinsum
from bevel.passes.canonicalize.unify_expand import UnifyExpand
from bevel.passes.canonicalize.unify_gather import UnifyGather
from bevel.passes.canonicalize.unify_gemm import UnifyGemm
from bevel.passes.canonicalize.unify_pool import UnifyPool
from bevel.passes.canonicalize.unify_recurrent import UnifyRecurrent
from bevel.passes.canonicalize.unify_reshape import UnifyReshape
from bevel.passes.canonicalize.unify_resize import UnifyResize
from bevel.passes.exchange.qoperator.read_qoperators import ReadQOperators
from bevel.passes.exchange.unpack_weights import unpack_weights
from bevel.passes.pipeline import Pipeline, Settled

SAMPLES = 2
MORE_SAMPLES = 8

__all__ = ["canonicalize", "check_equivalence", "random_inputs"]


def prepare() -> list[Pass]:
    """Make shapes and constants known; everything after relies on them."""
    return [
        SeparateOutputs(),
        NameNodes(),
        TrimOutputs(),
        InferShapes(),
        FoldConstants(),
        ReadQOperators(),
        LowerStatistics(),
    ]


def rewrite() -> list[Pass]:
    """To be repeated until nothing changes: each may open the way for another."""
    return [
        # fewer nodes, one spelling each
        RemoveIdentity(),
        MergeDuplicates(),
        PairOperands(),
        UnifyReshape(),
        UnifyClip(),
        UnifyConv(),
        UnifyPool(),
        FlattenPool(),
        UnifyEinsum(),
        UnifyGemm(),
        ConvolveByLeftMatrix(),
        UnifyGather(),
        UnifyExpand(),
        UnifyResize(),
        UnifyRecurrent(),
        CropBySlice(),
        SpellDepthToSpace(),
        SpellReductions(),
        SpellMagnitudes(),
        # layout: Reshapes and Transposes meet and vanish
        SinkReshape(),
        MergeTransposes(),
        AbsorbTransposes(),
        # into the linear nodes
        ScaleBeforeConcat(),
        BalanceConcat(),
        AbsorbPad(),
        FoldAffine(),
        FoldBatchNorm(),
        SplitUnlikeResults(),
        # what became constant, and the shapes of what is new
        FoldConstants(),
        InferShapes(),
    ]


def finish() -> list[Pass]:
    """What must not happen before the rewrites have settled."""
    return [
        LowerBatchNorm(),
        DivideByReciprocal(),
        UnifyReshape(transposes=True),
        MoveBeforeCast(),
        RemoveIdentity(),
        BeginRecurrent(),
        InferShapes(),
        NameNodes(),
    ]


@dataclass(frozen=True)
class Canonicalization(Pipeline):
    """All of the above; what it ensures is this module's list of promises."""

    name: ClassVar[str] = "canonicalize"
    ensures: ClassVar[tuple[Condition, ...]] = PROMISES
    always_checked: ClassVar[bool] = True
    passes: Sequence[Pass] = field(default_factory=lambda: (*prepare(), Settled(rewrite()), *finish()))

    def call(self, work: Work) -> PassResult:
        """Raises UserError for what no target computes."""
        result = super().call(work)
        check_compilable(result.graph)
        return result


def canonicalize(
    model: onnx.ModelProto, samples: Iterable[Mapping[str, NDArray[Any]]] | None = None
) -> tuple[gs.Graph, list[Note]]:
    """The canonical graph of a model whose inputs have static shapes, and the notes made on the way.

    The result is run against `model` in onnxruntime on `samples` ({input name: array}; if none are given, on two seeded
    random ones).
    Raises UserError for what cannot be made static, AssertionError where the outputs differ (a bug of ours).
    """
    logging.getLogger("onnx_graphsurgeon").setLevel(logging.ERROR)
    converted = convert_opset(model)
    feeds = list(samples) if samples is not None else [random_inputs(model, seed) for seed in range(SAMPLES)]
    try:
        graph = read_graph(fold_control_flow(converted))
        unpack_weights(graph)
        result = Canonicalization()(Work(graph))
        check_equivalence(model, gs.export_onnx(result.graph), feeds)
    except UserError:
        raise
    except Exception:  # passed on, unless what came before it explains it in a line of the user's
        check_conversion(model, converted, feeds)
        check_static_outputs(model, feeds)
        check_finite_outputs(model, feeds)
        raise
    return result.graph, list(result.notes)


def read_graph(model: onnx.ModelProto) -> gs.Graph:
    """Raises UserError for what onnx-graphsurgeon cannot read."""
    try:
        return gs.import_onnx(model)
    except Exception as error:  # whatever Python raises where an attribute is not what it expects
        raise UserError(f"its graph cannot be read: {reason_of(error)}") from error


def check_conversion(
    model: onnx.ModelProto, converted: onnx.ModelProto, samples: Iterable[Mapping[str, NDArray[Any]]]
) -> None:
    """Raises UserError where onnx's version converter is what changed the model."""
    version = opset_of(model)
    if version == opset_of(converted):
        return
    try:
        check_equivalence(model, converted, samples)
    except UserError:
        raise
    except Exception as error:  # onnxruntime's exceptions share no base class but Exception
        reason = f"onnx {onnx.__version__} converts it from opset {version} to another function ({reason_of(error)})"
        raise UserError(f"{reason}; export the model with opset 17 or later") from error


def check_finite_outputs(model: onnx.ModelProto, samples: Iterable[Mapping[str, NDArray[Any]]]) -> None:
    """Raises UserError where the model as it was given answers with infinities or NaN, which no rewrite need keep."""
    session = open_session(model)
    names = [output.name for output in session.get_outputs()]
    for sample in samples:
        for name, value in zip(names, run_given(session, names, sample), strict=True):
            array = np.asarray(value)
            if array.dtype.kind == "f" and not np.isfinite(array).all():
                held = array[~np.isfinite(array)].ravel()[0]
                raise UserError(
                    f"output {name} of the model as it was given holds {held}; check its weights and samples"
                )


def check_static_outputs(model: onnx.ModelProto, samples: Iterable[Mapping[str, NDArray[Any]]]) -> None:
    """Raises UserError where the values of inputs decide the shape of an output, which two random runs may not show."""
    session = open_session(model)
    names = [output.name for output in session.get_outputs()]
    shapes: dict[str, tuple[int, ...]] = {}
    for sample in (*samples, *(random_inputs(model, seed) for seed in range(MORE_SAMPLES))):
        for name, value in zip(names, run_given(session, names, sample), strict=True):
            first = shapes.setdefault(name, np.shape(value))
            if first != np.shape(value):
                found = f"{list(first)} or {list(np.shape(value))}"
                raise UserError(
                    f"the shape of output {name} depends on the input's values ({found}): give it a constant one"
                )
