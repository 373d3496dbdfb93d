"""Packed weights: what stock onnxruntime reads of them is what was packed, and they come back as they were."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnx_graphsurgeon as gs
import onnxruntime as ort
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bevel.calib.formats.coded import Coded, at_levels, coded
from bevel.calib.formats.float_format import E4M3
from bevel.calib.formats.levels import levels_of
from bevel.calib.formats.scheme import PerBlock
from bevel.passes.exchange.export import export
from bevel.passes.exchange.unpack_weights import unpack_weights
from bevel.passes.graph.coded_constant import CodedConstant, coded_of

CHANNELS = 6


def graph_of(weights: gs.Constant, zero_point: np.ndarray[Any, Any] | None = None) -> gs.Graph:
    """y = DequantizeLinear(weights) by channels of axis 0."""
    scale = gs.Constant("scale", np.linspace(0.25, 2, weights.values.shape[0]).astype(np.float32))
    inputs = [weights, scale] if zero_point is None else [weights, scale, gs.Constant("zero", zero_point)]
    y = gs.Variable("y", np.float32, list(weights.values.shape))
    return gs.Graph([gs.Node("DequantizeLinear", "d", {"axis": 0}, inputs, [y])], [], [y], opset=21)


def run(model: onnx.ModelProto) -> np.ndarray[Any, Any]:
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    found: np.ndarray[Any, Any] = ort.InferenceSession(model.SerializeToString(), options).run(None, {})[0]
    return found


def loaded(model: onnx.ModelProto) -> gs.Graph:
    graph = gs.import_onnx(onnx.load_from_string(model.SerializeToString()))
    unpack_weights(graph)
    return graph


def reals(graph: gs.Graph) -> np.ndarray[Any, Any]:
    weights, scale = (np.asarray(tensor.values) for tensor in graph.nodes[0].inputs[:2])
    return weights.astype(np.float32) * scale.reshape(-1, *[1] * (weights.ndim - 1))


def block_coded(seed: int, axis: int = 1, size: int = 4, zeros: tuple[int, ...] = ()) -> Coded:
    rng = np.random.default_rng(seed)
    shape = (CHANNELS, 10, 3, 3)
    factors = (CHANNELS, 3, 3, 3) if axis == 1 else (2, 10, 3, 3)
    table, block_table = np.array([-12, -3, 0, 2, 8], np.int32), np.array([1, 2, 64, 4096], np.int32)
    codes, block_codes = rng.integers(0, 5, shape).astype(np.uint8), rng.integers(0, 4, factors).astype(np.uint8)
    block_zeros = np.array(zeros, np.int32) if zeros else None
    return Coded(codes, 3, table, PerBlock(axis, size), block_codes, block_table, block_zeros)


@given(bits=st.integers(1, 8), count=st.integers(50, 120), kind=st.sampled_from(["int8", "int16", "int32"]))
def test_onnxruntime_unpacks_every_width(bits: int, count: int, kind: str) -> None:
    rng = np.random.default_rng(bits * count)
    table = rng.choice(np.arange(-128, 128) * (1 if kind == "int8" else 200), 2**bits, replace=False)
    weights = gs.Constant("w", table[rng.integers(0, 2**bits, (CHANNELS, count))].astype(kind))
    expected = reals(graph_of(weights))
    np.testing.assert_array_equal(run(export(graph_of(weights))), expected)


@pytest.mark.parametrize("bits", range(1, 8))
def test_file_holds_as_many_bits_as_there_are(bits: int) -> None:
    values = np.random.default_rng(0).integers(0, 2**bits, (CHANNELS, 4000)).astype(np.int8) * (2 if bits < 7 else 1)
    model = export(graph_of(gs.Constant("w", values)))
    bytes_of_weights = sum(len(one.raw_data) for one in model.graph.initializer)
    assert bytes_of_weights == pytest.approx(values.size * bits / 8, abs=200)


@given(seed=st.integers(0, 99), axis=st.sampled_from([1, 0]), zeros=st.sampled_from([(), (3, -1, 0, 5)]))
def test_blocks_keep_their_integers_factors_and_zero_points(seed: int, axis: int, zeros: tuple[int, ...]) -> None:
    made = block_coded(seed, axis, zeros=zeros)
    model = export(graph_of(CodedConstant("w", made)))
    assert ("Groups" if zeros else "Blocks") in {one.name for one in model.functions}
    graph = loaded(model)
    found = coded_of(graph.nodes[0].inputs[0])
    assert found is not None
    np.testing.assert_array_equal(found.values(), made.values())
    assert (found.blocks, found.bits) == (made.blocks, made.bits)
    np.testing.assert_array_equal(run(model), reals(graph))


@pytest.mark.parametrize("kind", ["int8", "uint8"])
def test_four_bits_are_of_the_standard_type_with_their_zero_point(kind: str) -> None:
    low = -8 if kind == "int8" else 0
    values = np.random.default_rng(0).integers(low, low + 16, (CHANNELS, 8)).astype(kind)
    zero = np.arange(low, low + CHANNELS).astype(kind)
    model = export(graph_of(gs.Constant("w", values), zero))
    assert not model.functions
    expected = onnx.TensorProto.INT4 if kind == "int8" else onnx.TensorProto.UINT4
    assert [one.data_type for one in model.graph.initializer if one.name != "scale"] == [expected, expected]
    graph = loaded(model)
    for found, given_ in zip((graph.nodes[0].inputs[0], graph.nodes[0].inputs[2]), (values, zero), strict=True):
        np.testing.assert_array_equal(found.values, given_)
        assert found.values.dtype == given_.dtype
    shifted = (values.astype(np.int32) - zero[:, None]).astype(np.float32) * graph.nodes[0].inputs[1].values[:, None]
    np.testing.assert_array_equal(run(model), shifted)


def test_e4m3_is_of_the_standard_type_and_comes_back_as_steps() -> None:
    levels = levels_of(E4M3)
    assert levels is not None
    steps = np.random.default_rng(0).choice(levels.array, (CHANNELS, 40))
    model = export(graph_of(CodedConstant("w", at_levels(steps, levels))))
    (weights,) = (one for one in model.graph.initializer if one.name == "w")
    assert weights.data_type == onnx.TensorProto.FLOAT8E4M3FN and not model.functions
    graph = loaded(model)
    np.testing.assert_array_equal(graph.nodes[0].inputs[0].values, steps)
    np.testing.assert_array_equal(run(model), reals(graph))
    assert run(export(graph)).tobytes() == run(model).tobytes()


def test_weights_of_many_values_and_small_ones_stay() -> None:
    rng = np.random.default_rng(0)
    for values in (rng.integers(-128, 128, (CHANNELS, 400)), rng.integers(0, 2, (CHANNELS, 8))):
        model = export(graph_of(gs.Constant("w", values.astype(np.int8))))
        assert not model.functions and [node.op_type for node in model.graph.node] == ["DequantizeLinear"]


def test_what_is_no_weight_stays() -> None:
    x, y = gs.Variable("x", np.int8, [CHANNELS, 400]), gs.Variable("y", np.int8, [CHANNELS, 400])
    table = gs.Constant("table", np.zeros(256, np.int8))
    graph = gs.Graph([gs.Node("Table", "t", {}, [x, table], [y], domain="bevel")], [x], [y], opset=21)
    assert [one.name for one in export(graph).functions] == ["Table"]


def test_exporting_leaves_the_graph_as_it_was() -> None:
    graph = graph_of(CodedConstant("w", block_coded(0)))
    first = export(graph).SerializeToString(deterministic=True)
    assert export(graph).SerializeToString(deterministic=True) == first
    assert coded(np.arange(3)).bits == 2 and isinstance(graph.nodes[0].inputs[0], CodedConstant)


def test_weights_whose_table_costs_more_than_it_saves_stay() -> None:
    values = np.random.default_rng(0).permutation(np.arange(-(2**30), 2**30, 2**24))[:128].reshape(2, 64)
    model = export(graph_of(gs.Constant("w", values.astype(np.int32))))
    assert [node.op_type for node in model.graph.node] == ["DequantizeSteps"]  # of int32: no packing, see below


def test_int32_weights_are_spelled_as_a_product_and_come_back_as_they_were() -> None:
    """onnxruntime fuses a DequantizeLinear of int32 weights into a QLinearConv, which takes none."""
    made = block_coded(seed=7)
    graph = graph_of(CodedConstant("w", made))
    model = export(graph)
    assert [node.op_type for node in model.graph.node][-1] == "DequantizeSteps"
    again = loaded(model)
    assert [node.op for node in again.nodes] == ["DequantizeLinear"] and again.nodes[0].attrs["axis"] == 0
    np.testing.assert_array_equal(reals(again), reals(graph_of(CodedConstant("w", made))))
    np.testing.assert_array_equal(run(model), reals(again))
