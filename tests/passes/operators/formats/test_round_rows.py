"""Rows rounded between their own ends: onnxruntime equals the reference, and so does the program."""

from __future__ import annotations

import numpy as np
import onnx
import onnx.inliner
import onnx_graphsurgeon as gs
import onnxruntime as ort
import pytest

from bevel.backends.program.ops.round_rows import RoundRows
from bevel.backends.tir import importer
from bevel.calib.arithmetic.round_rows import round_rows as reference
from bevel.passes.exchange.export import export
from bevel.passes.operators.formats.round_rows import round_rows
from bevel.passes.partition.partition import partition


def model(shape: tuple[int, ...], levels: int) -> onnx.ModelProto:
    q, y = (gs.Variable(name, np.int16, list(shape)) for name in "qy")
    return export(gs.Graph([round_rows("round", q, y, levels)], [q], [y], opset=21))


@pytest.mark.parametrize("levels", [3, 15, 255])
@pytest.mark.parametrize("shape", [(1, 65, 64), (2, 3, 5, 40), (4, 33), (7,), (1, 1)])
def test_onnxruntime_and_the_program_round_as_the_reference(shape: tuple[int, ...], levels: int) -> None:
    integer = model(shape, levels)
    (q,) = RoundRows(int(np.prod(shape[:-1])), shape[-1], levels).example(np.random.default_rng(0))
    q = q.reshape(shape)
    (found,) = ort.InferenceSession(integer.SerializeToString(), providers=["CPUExecutionProvider"]).run(None, {"q": q})
    assert np.array_equal(found, reference(q, levels))
    program, _ = partition(integer, "rows", islands=False, importer=importer)
    assert np.array_equal(program.run({"q": q})["y"].reshape(shape), found)
    assert sum(isinstance(call.kernel, RoundRows) for call in program.calls) == 1


def test_nothing_inside_is_a_float() -> None:
    opened = onnx.inliner.inline_local_functions(model((2, 40), 15))
    inferred = onnx.shape_inference.infer_shapes(opened, strict_mode=True)
    floats = (onnx.TensorProto.FLOAT, onnx.TensorProto.DOUBLE)
    assert all(value.type.tensor_type.elem_type not in floats for value in inferred.graph.value_info)
