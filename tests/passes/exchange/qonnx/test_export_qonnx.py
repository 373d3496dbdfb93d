"""What Bevel quantized goes out as QONNX and computes the same there; what came in from QONNX goes out as it came."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_graphsurgeon as gs
import onnxruntime as ort
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bevel.calib.errors import UserError
from bevel.calib.formats.format import parse
from bevel.passes.canonicalize import canonicalize
from bevel.passes.exchange.qonnx import find_quantizer
from bevel.passes.exchange.qonnx.export_qonnx import export_qonnx
from bevel.passes.exchange.qonnx.import_qonnx import import_qonnx
from bevel.passes.exchange.qonnx.nodes import is_quantizer, read_quantizer
from bevel.passes.integerize.integerize import integerize
from bevel.passes.quantize import NodeFormat, QuantizeOptions
from bevel.passes.quantize.formats import activation_format

BODY = """
    a = Conv <pads = [1, 1, 1, 1]> (x, wa, ba)
    b = Relu (a)
    c = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (b)
    d = Conv <pads = [1, 1, 1, 1]> (c, wd, bd)
    e = Add (c, d)
    f = Relu (e)
    g = Flatten (f)
    y = Gemm (g, wy, by)
"""
WEIGHTS = "float[6,3,3,3] wa, float[6] ba, float[6,6,3,3] wd, float[6] bd, float[96,5] wy, float[5] by"
FORMATS = ["int8", "int6", "int4", "int2", "uint4", "ternary", "binary", "e2m1", "e2m3", "e3m2", "e4m3"]
WIDE = ["int12", "int16"]
Q = "q = QuantizeLinear (x, s, z)\n"
SCALES = "float s, int8 z, float t"


def session(model: onnx.ModelProto) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    return ort.InferenceSession(model.SerializeToString(), options, ["CPUExecutionProvider"])


def samples(count: int = 8) -> list[dict[str, np.ndarray]]:
    rng = np.random.default_rng(7)
    return [{"x": (1.5 * rng.standard_normal((1, 3, 8, 8))).astype(np.float32)} for _ in range(count)]


def exported(model: onnx.ModelProto) -> onnx.ModelProto:
    graph, _ = canonicalize(model)
    return export_qonnx(graph)


def integers(model: onnx.ModelProto) -> onnx.ModelProto:
    graph, _ = canonicalize(model)
    return integerize(graph)[0]


def widths(model: onnx.ModelProto) -> list[int]:
    graph = gs.import_onnx(model)
    quantizers = [read_quantizer(node) for node in graph.nodes if is_quantizer(node)]
    return [getattr(one, "bits", 0) for one in quantizers]


@pytest.mark.parametrize("format", FORMATS + WIDE)
def test_a_quantized_model_comes_back_with_the_same_integers(text, stages, format) -> None:
    options = QuantizeOptions(weights=parse(format), activations=parse(format))
    first = stages(text(BODY, weights=WEIGHTS), options=options).quantized
    before, after = (session(integers(one)) for one in (first, import_qonnx(exported(first))))
    for sample in samples():
        np.testing.assert_array_equal(after.run(None, sample)[0], before.run(None, sample)[0])


@pytest.mark.parametrize("format", FORMATS + WIDE)
def test_the_exported_model_computes_what_the_quantized_one_does(text, stages, execute, format) -> None:
    options = QuantizeOptions(weights=parse(format), activations=parse(format))
    quantized = stages(text(BODY, weights=WEIGHTS), options=options).quantized
    model, opened = exported(quantized), session(quantized)
    step = 0.02 * max(float(np.abs(opened.run(None, sample)[0]).max()) for sample in samples())
    for sample in samples():
        # Sums of floats in another order can tip a rounding of an activation.
        np.testing.assert_allclose(execute(model, sample)[0], opened.run(None, sample)[0], atol=step)


def test_the_zero_point_of_a_minifloat_is_added_before_it_and_taken_off_behind(text, stages) -> None:
    """What a Relu leaves uses the dense steps on both sides of the format's zero."""
    quantized = stages(text(BODY, weights=WEIGHTS), options=QuantizeOptions(activations=parse("e2m3"))).quantized
    minifloats = [node for node in gs.import_onnx(exported(quantized)).nodes if node.op == "FloatQuant"]
    around = [(node.i(), node.o()) for node in minifloats if node.inputs[0].inputs and node.o().op == "Sub"]
    assert around and all(before.op == "Add" for before, _ in around)
    for before, behind in around:
        assert before.inputs[1].values == behind.inputs[1].values < 0


def test_a_network_from_qonnx_goes_out_as_it_came(trained, execute) -> None:
    first = trained(opset=21)
    again = exported(import_qonnx(first))
    assert sorted(widths(again)) == [0, 2, 4, 4, 4, 8, 8, 12]  # the bias needs 12 of its 16 bits
    for sample in samples():
        np.testing.assert_array_equal(execute(again, sample)[0], execute(first, sample)[0])


def test_the_package_of_the_standard_agrees(text, stages) -> None:
    core = pytest.importorskip("qonnx.core.onnx_exec", reason="the qonnx package is not installed")
    wrapper = pytest.importorskip("qonnx.core.modelwrapper")
    quantized = stages(text(BODY, weights=WEIGHTS), options=QuantizeOptions(activations=parse("e2m1"))).quantized
    model, opened = wrapper.ModelWrapper(exported(quantized)), session(quantized)
    for sample in samples(2):
        np.testing.assert_array_equal(core.execute_onnx(model, sample)["y"], opened.run(None, sample)[0])


def test_no_quantizer_is_written_behind_what_only_moves_integers(text, stages) -> None:
    options = QuantizeOptions(activations=parse("int4"))
    graph = gs.import_onnx(exported(stages(text(BODY, weights=WEIGHTS), options=options).quantized))
    pool = next(node for node in graph.nodes if node.op == "MaxPool")
    assert {node.op for node in pool.outputs[0].outputs} == {"Conv", "Add"}


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (Q + "y = DequantizeLinear (q, t, z)", "at another scale"),
        (Q + "m = MaxPool <kernel_shape = [2, 2]> (q)\n y = DequantizeLinear (m, s, z)", "MaxPool makes integers"),
        (Q + "c = Clip (q, low, high)\n y = DequantizeLinear (c, s, z)", "integers from -5 to 4; QONNX has whole bits"),
        ("y = Relu (x)", "no quantizers"),
    ],
)
def test_what_qonnx_cannot_say_is_refused(text, body, message) -> None:
    values = {"s": 0.1, "z": 0, "t": 0.2, "low": -5, "high": 4}
    model = text(body, weights=f"{SCALES}, int8 low, int8 high", values=values)
    with pytest.raises(UserError, match=message):
        exported(model)


def test_blocks_of_activations_and_powers_of_two_are_refused(text, stages) -> None:
    for format, message in (("mxfp4", "blocks with scales of their own"), ("log4", "looks up values")):
        options = QuantizeOptions(activations=activation_format(format))
        with pytest.raises(UserError, match=message):
            exported(stages(text(BODY, weights=WEIGHTS), options=options).quantized)


def test_rows_with_scales_of_their_own_are_refused(text, stages) -> None:
    nodes = {"h": NodeFormat(activations=parse("int16"), rows=parse("int4"))}
    model = text("h = Add (x, x)\n y = MatMul (h, w)", "float[6,8] x", "float[] y", "float[8,5] w")
    with pytest.raises(UserError, match="rows with scales of their own"):
        exported(stages(model, options=QuantizeOptions(nodes=nodes)).quantized)


@given(low=st.integers(-300, 0), high=st.integers(0, 300))
def test_the_quantizer_of_a_range_holds_it_in_the_fewest_bits(low, high) -> None:
    found = find_quantizer.of_range(low, high, np.float32(0.5) + find_quantizer.ZERO)
    steps = np.arange(low, high + 1)
    np.testing.assert_array_equal(found(steps.astype(np.float32) * np.float32(0.5)), steps * 0.5)
    assert found.bits == max((high - low).bit_length(), 1) or (found.signed and found.bits == 2)


@given(low=st.integers(-255, 0), high=st.integers(0, 255))
def test_an_exact_quantizer_has_the_range_and_nothing_else(low, high) -> None:
    found = find_quantizer.exactly(low, high, find_quantizer.ONE)
    count = high - low + 1
    assert (found is None) == (count not in {1} | {2**bits - narrow for bits in range(1, 10) for narrow in (0, 1)})
    if found is not None:
        far = np.array([-1000.0, 1000.0], np.float32)
        np.testing.assert_array_equal(found(far), [low, high])
