"""Rounding to blocks: onnxruntime equals the reference, and the kernel is given the blocks side by side."""

from __future__ import annotations

import numpy as np
import onnx
import onnx.inliner
import onnx_graphsurgeon as gs
import onnxruntime as ort
import pytest

from bevel.backends.program.ops.round_mx import RoundMx
from bevel.backends.tir import importer
from bevel.calib.formats.format import parse
from bevel.calib.formats.mx import MxRounding, mx_rounding
from bevel.calib.formats.tensor_format import BlockFormat
from bevel.passes.exchange.export import export
from bevel.passes.operators.formats.quantize_fixed import quantize_fixed
from bevel.passes.operators.formats.round_mx import round_mx
from bevel.passes.partition.partition import partition

FLOATS = (onnx.TensorProto.FLOAT, onnx.TensorProto.DOUBLE)


def rounding(name: str) -> MxRounding:
    found = mx_rounding(BlockFormat(parse(name), 32, "e8m0"))
    assert found is not None
    return found


def model(made: MxRounding, shape: tuple[int, ...], axis: int) -> onnx.ModelProto:
    q, y = gs.Variable("q", np.int32, list(shape)), gs.Variable("y", np.int16, list(shape))
    return export(gs.Graph([round_mx("round", q, y, made, axis)], [q], [y], opset=21))


def parts(made: MxRounding, shape: tuple[int, ...]) -> np.ndarray:
    rng = np.random.default_rng(sum(shape))
    q = rng.standard_normal(shape) * 2.0 ** rng.uniform(0, np.log2(made.limit), (1, *shape[1:]))
    q.flat[0], q.flat[-1] = made.limit, -made.limit
    return np.clip(np.rint(q), -made.limit, made.limit).astype(np.int32)


def session(made: onnx.ModelProto) -> ort.InferenceSession:
    return ort.InferenceSession(made.SerializeToString(), providers=["CPUExecutionProvider"])


@pytest.mark.parametrize("name", ["e2m1", "e2m3", "e3m2", "int8"])
@pytest.mark.parametrize(
    ("shape", "axis"),
    [((1, 16, 5, 4), 1), ((2, 70, 3, 3), 1), ((1, 64, 9), 1), ((2, 5, 40), -1), ((3, 33), 1), ((1, 1), 1), ((), -1)],
)
def test_onnxruntime_rounds_as_the_reference(name: str, shape: tuple[int, ...], axis: int) -> None:
    made = rounding(name)
    q = parts(made, shape)
    (got,) = session(model(made, shape, axis)).run(None, {"q": q})
    assert np.array_equal(got, made.round(q.reshape(shape or (1,)), axis).reshape(shape))


def test_nothing_inside_is_a_float() -> None:
    opened = onnx.inliner.inline_local_functions(model(rounding("e2m1"), (1, 40, 2, 2), 1))
    inferred = onnx.shape_inference.infer_shapes(opened, strict_mode=True)
    assert all(value.type.tensor_type.elem_type not in FLOATS for value in inferred.graph.value_info)


@pytest.mark.parametrize(
    ("shape", "axis", "calls"), [((1, 40, 2, 3), 1, 3), ((1, 40), 1, 1), ((2, 3, 40), -1, 1), ((), -1, 1)]
)
def test_the_program_answers_as_onnxruntime(shape: tuple[int, ...], axis: int, calls: int) -> None:
    made = rounding("e2m1")
    integer = model(made, shape, axis)
    program, _ = partition(integer, "blocks", islands=False, importer=importer)
    q = parts(made, shape)
    assert np.array_equal(program.run({"q": q})["y"].reshape(shape), session(integer).run(None, {"q": q})[0])
    kernels = [call.kernel for call in program.calls if isinstance(call.kernel, RoundMx)]
    assert len(kernels) == 1
    assert len(program.calls) == calls  # with a move there and one back where blocks do not lie side by side
    assert kernels[0].channels == (shape[axis] if shape else 1)
    assert kernels[0].rounding.block == min(32, kernels[0].channels)


def test_floats_are_quantized_to_parts_as_the_reference_does_it() -> None:
    made, step = rounding("e2m1"), 2.0**-12
    x, q = gs.Variable("x", np.float32, [200]), gs.Variable("q", np.int32, [200])
    integer = export(gs.Graph([quantize_fixed("parts", x, q, step / 2**made.fraction, made.limit)], [x], [q], opset=21))
    values = np.random.default_rng(0).standard_normal(200).astype(np.float32) * 5
    values[:4] = 1e30, -1e30, np.inf, 0.5 * step / 2**made.fraction
    (got,) = session(integer).run(None, {"x": values})
    assert np.array_equal(got, made.parts(values, step))
    program, _ = partition(integer, "parts", islands=False, importer=importer)
    assert np.array_equal(program.run({"x": values})["q"], got)
