"""Float islands judged by what they compute: each beside onnxruntime, on real inputs, before anything is built.

An island may differ from onnxruntime by what float32 arithmetic explains, and not by more. The bound is in units of the
output's range, its largest magnitude:

    u * (LIBRARY + terms),   u = 2^-24

- `terms`: a sum of K products in another order, with or without fused multiply-add, moves by at most K u times the sum
  of magnitudes (Higham 2002, section 3.1); for terms of either sign that is about K u times the largest result.
- `LIBRARY`: exp, tanh, erf and their like come from the C library on one side and from polynomials of onnxruntime on
  the other, each within some ulp; 64 u covers a few of them one after the other.
- A bound beyond CAP would excuse operators that are wrong, and no sum that a float32 model survives needs it.

A product by stored weights is judged alike, by its reference, which its kernels equal bit for bit: a few rows of it.

Where a whole island differs by more, its nodes are judged one by one on onnxruntime's own inputs: a comparison or a
rounding behind a float result may tip, and what is then far apart is nobody's mistake. Of a single node that sums or
divides, numbers may cancel: it may differ by CONDITION times what onnxruntime's own result moves by where its inputs
move by one u. Results that are integers or booleans must be equal.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from math import prod
from typing import Any

import numpy as np
import onnx
import onnx_graphsurgeon as gs
from numpy.typing import NDArray

from bevel.backends.program.island import Importer, run_island
from bevel.calib.errors import UserError
from bevel.passes.canonicalize.evaluate import open_session, run_tensors
from bevel.passes.partition.islands import WAY_OUT, FloatRun, float_run, float_runs, imported
from bevel.passes.partition.partition import has_kernel, prepared
from bevel.passes.partition.weight_products import WeightProduct, weight_product

Array = NDArray[Any]
Sample = Mapping[str, Array]

UNIT = 2.0**-24
LIBRARY = 64
CAP = 1e-3
CONDITION = 32
SAMPLES = 4  # a wrong operator is wrong on each; these find what depends on the data
PERTURBED = 3
ROWS, WORK = 8, 2**24  # of a product by stored weights, whose rows are computed alike; multiplications for a sample

# Sums and quotients, whose results move little where their inputs do; a rounding or a comparison is none.
SMOOTH = (
    *("Add", "Sub", "Mul", "Div", "Reciprocal", "Sum", "Mean", "Pow", "Sqrt", "Exp", "Log", "Sin", "Cos", "Tan"),
    *("Conv", "ConvTranspose", "Gemm", "MatMul", "Einsum", "CumSum", "AveragePool", "GlobalAveragePool", "LpPool"),
    *("ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMean", "ReduceProd", "ReduceSum"),
    *("ReduceSumSquare", "Softmax", "LogSoftmax", "LRN", "Resize", "GridSample", "RoiAlign"),
    *("BatchNormalization", "GroupNormalization", "InstanceNormalization", "LayerNormalization", "LpNormalization"),
    *("MeanVarianceNormalization", "RMSNormalization"),
)


@dataclass(frozen=True)
class Verdict:
    """How far one node or island is from onnxruntime and how far it may be, both in units of the output's range."""

    difference: float
    bound: float

    @property
    def right(self) -> bool:
        return self.difference <= self.bound


def check_islands(integer: onnx.ModelProto, samples: Iterable[Sample], importer: Importer) -> None:
    """`samples`: inputs as the integer model takes them.

    Raises UserError naming the node and its operator where the float code of a CPU computes something else.
    """
    graph = prepared(integer)
    runs = float_runs(graph, has_kernel)
    products = [(node, found) for node in graph.nodes if (found := weight_product(node)) is not None]
    if not runs and not products:
        return
    nodes = [*(node for run in runs for node in run.nodes), *(node for node, _ in products)]
    names = list(dict.fromkeys(tensor.name for node in nodes for tensor in touched(node)))
    given = {tensor.name for tensor in graph.inputs}
    wanted = [name for name in names if name not in given]
    values = [{**sample, **run_tensors(integer, wanted, sample)} for sample in islice(samples, SAMPLES)]
    for run in runs:
        check_run(run, values, importer)
    for node, found in products:
        check_product(node, found, values, graph.opset)


def check_product(node: gs.Node, found: WeightProduct, values: Sequence[Sample], opset: int) -> None:
    """Raises UserError where its reference is not what float arithmetic explains."""
    (k, n), difference = found.codes.shape, 0.0
    for one in values:
        x, y = (
            np.asarray(one[tensor.name]).reshape(-1, size)
            for tensor, size in ((node.inputs[0], k), (node.outputs[0], n))
        )
        rows = min(max(WORK // (k * n), 1), ROWS, len(x))
        op, constants = found.call(rows)
        difference = max(difference, distance(y[:rows], op.reference(x[:rows], *constants)))
    bound = min(UNIT * (LIBRARY + terms(node)), CAP)
    if difference > bound:
        bound += CONDITION * movement(float_run([node], {node.outputs[0].name}, opset), values)
    if difference > bound:
        raise UserError(
            f"{node.name} ({node.op}): its product by stored weights is off by {difference:.2g} of the output's range, "
            f"where float arithmetic explains {bound:.1g}; {WAY_OUT}"
        )


def touched(node: gs.Node) -> list[gs.Tensor]:
    """What a node reads and makes, without constants and outputs that nothing reads."""
    return [one for one in (*node.inputs, *node.outputs) if isinstance(one, gs.Variable) and not one.is_empty()]


def check_run(run: FloatRun, values: Sequence[Sample], importer: Importer) -> None:
    if judge(run, values, importer).right:
        return
    ports = {tensor.name for tensor in run.outputs}
    for node in run.nodes if len(run.nodes) > 1 else ():
        alone = float_run([node], ports, run.opset)
        if alone.outputs:
            refuse_wrong(alone, values, importer)
    if len(run.nodes) == 1:
        refuse_wrong(run, values, importer)


def refuse_wrong(alone: FloatRun, values: Sequence[Sample], importer: Importer) -> None:
    """Raises UserError where the only node of `alone` is not what float arithmetic explains."""
    (node,) = alone.nodes
    verdict = judge(alone, values, importer)
    if verdict.right:
        return
    if node.op in SMOOTH:
        verdict = Verdict(verdict.difference, verdict.bound + CONDITION * movement(alone, values))
    if not verdict.right:
        raise UserError(
            f"{node.name} ({node.op}) has no integer kernel here, and its float code is wrong: off by "
            f"{verdict.difference:.2g} of the output's range, where float arithmetic explains {verdict.bound:.1g}; "
            f"{WAY_OUT}"
        )


def judge(run: FloatRun, values: Sequence[Sample], importer: Importer) -> Verdict:
    island = imported(run, importer)
    names = [tensor.name for tensor in run.outputs]
    found = [run_island(island, inputs_of(run, one), names) for one in values]
    difference = max(distance(one[name], got[name]) for one, got in zip(values, found, strict=True) for name in names)
    return Verdict(difference, min(UNIT * sum(LIBRARY + terms(node) for node in run.nodes), CAP))


def inputs_of(run: FloatRun, sample: Sample) -> dict[str, Array]:
    return {tensor.name: np.asarray(sample[tensor.name]) for tensor in run.inputs}


def distance(expected: Array, found: Array) -> float:
    """The largest difference over the largest finite magnitude; infinite where integers, infinities or NaN differ."""
    found = np.asarray(found).reshape(expected.shape)
    if expected.dtype.kind != "f":
        return 0.0 if np.array_equal(expected, found) else float("inf")
    finite = np.isfinite(expected)
    if not np.array_equal(expected[~finite], found[~finite], equal_nan=True) or not np.isfinite(found[finite]).all():
        return float("inf")
    exact = expected[finite].astype(np.float64)
    largest = float(np.abs(exact).max(initial=0.0))
    return float(np.abs(exact - found[finite]).max(initial=0.0)) / (largest or 1.0)


def terms(node: gs.Node) -> int:
    """How many numbers one element of the result sums."""
    shapes = [tuple(map(int, tensor.shape or ())) for tensor in node.inputs]
    match node.op:
        case "Conv":
            return prod(shapes[1][1:])
        case "ConvTranspose":
            return prod(shapes[1]) // shapes[1][1]
        case "MatMul" | "Gemm":
            return shapes[0][0] if node.attrs.get("transA", 0) else shapes[0][-1]
        case "Softmax" | "LogSoftmax" | "CumSum":
            return max(shapes[0])
        case "Einsum":
            return max(shapes[0]) * max(shapes[-1])
    if node.op.endswith(("Normalization", "Pool")) or node.op.startswith("Reduce"):
        return prod(shapes[0]) // (shapes[0][0] or 1) if shapes[0] else 1
    return 1


def movement(run: FloatRun, values: Sequence[Sample]) -> float:
    """How far onnxruntime's own result moves, over its range, where each float input moves by one unit, up or down."""
    session = open_session(run.model())
    names = [tensor.name for tensor in run.outputs]
    rng = np.random.default_rng(0)
    moved = 0.0
    for one in values:
        for _ in range(PERTURBED):
            given = {name: perturbed(value, rng) for name, value in inputs_of(run, one).items()}
            for name, result in zip(names, session.run(names, given), strict=True):
                away = distance(np.asarray(one[name]), np.asarray(result))
                moved = max(moved, away if np.isfinite(away) else 0.0)
    return moved


def perturbed(value: Array, rng: np.random.Generator) -> Array:
    if value.dtype.kind != "f":
        return value
    return (value * (1 + 2 * UNIT * rng.choice([-1.0, 1.0], value.shape))).astype(value.dtype)
