"""QONNX models come in with what they compute, their scales and their widths; what has no integer form is refused."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from bevel.calib.errors import UserError
from bevel.passes.canonicalize import canonicalize
from bevel.passes.exchange.load import load_model
from bevel.passes.exchange.qonnx.import_qonnx import import_qonnx

SIGNED = '<signed = 1, narrow = 0, rounding_mode = "ROUND">'
UNSIGNED = '<signed = 0, narrow = 0, rounding_mode = "ROUND">'
E2M1 = {"s": 0.5, "e": 2, "m": 1, "b": 1, "top": 6}
FLOAT = "<has_inf = 0, has_nan = 0, has_subnormal = 1, saturation = 1> (x, s, e, m, b, top)"
QUANTIZED = "q = Quant <signed = 1, narrow = 0> (x, sx, z, eight)\n"
REST = {"sx": 2**-5, "z": 0, "eight": 8}
X = "float[4,5] x"


def session(model: onnx.ModelProto) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    return ort.InferenceSession(model.SerializeToString(), options, ["CPUExecutionProvider"])


def images(count: int = 6, shape: tuple[int, ...] = (1, 3, 8, 8)) -> list[dict[str, np.ndarray]]:
    rng = np.random.default_rng(3)
    return [{"x": (1.5 * rng.standard_normal(shape)).astype(np.float32)} for _ in range(count)]


def operators(model: onnx.ModelProto) -> list[str]:
    return [node.op_type for node in model.graph.node]


def initializer(model: onnx.ModelProto, name: str) -> np.ndarray:
    return next(onnx.numpy_helper.to_array(one) for one in model.graph.initializer if one.name == name)


@pytest.mark.parametrize("opset", [9, 11, 13, 21])
@pytest.mark.parametrize("domain", ["qonnx.custom_op.general", "onnx.brevitas"])
def test_an_imported_network_gives_the_answers_of_its_quantizers(trained, execute, opset, domain) -> None:
    found = session(import_qonnx(trained(opset=opset, domain=domain)))
    reference = trained(opset=21)
    for sample in images():
        np.testing.assert_array_equal(found.run(None, sample)[0], execute(reference, sample)[0])


def test_what_the_device_computes_of_an_imported_network_is_integer_and_near_it(trained, stages) -> None:
    done = stages(import_qonnx(trained()))
    assert [call for call in done.calls if call != "Transpose"] == ["Conv", "MaxPool", "Conv", "Gemm"]
    for sample in done.extremes():
        assert done.error(sample) <= 1  # a bias that is no whole number of products is rounded to one


def test_weights_keep_their_width_through_canonicalization(trained) -> None:
    graph, _ = canonicalize(import_qonnx(trained()))
    stored = {
        node.name: node.inputs[1].inputs[0].inputs[0].values for node in graph.nodes if node.op in ("Conv", "Gemm")
    }
    limits = {name: (codes.min(), codes.max()) for name, codes in stored.items()}
    assert limits == {"a": (-7, 7), "b": (-1, 1), "m": (-1, 1)}
    assert (stored["m"] != 0).all()


def test_a_model_without_quantizers_of_qonnx_is_left_alone(qonnx) -> None:
    model = qonnx("y = Relu (x)", inputs=X)
    assert import_qonnx(model) is model


def test_the_file_is_read_like_any_other(trained, tmp_path) -> None:
    onnx.save(trained(), tmp_path / "net.onnx")
    assert "Quant" not in operators(load_model(tmp_path / "net.onnx"))


def test_parameters_computed_from_constants_are_constants(qonnx, execute) -> None:
    model = qonnx(
        f"t = Add (sx, sx)\n u = Identity (t)\n k = Constant <value_float = 4.0> ()\n y = Quant {SIGNED} (x, u, z, k)",
        inputs=X,
        values=REST,
    )
    imported = import_qonnx(model)
    assert operators(imported) == ["QuantizeLinear", "Clip", "DequantizeLinear"]
    assert initializer(imported, "y/quantized/scale") == 2**-4


@st.composite
def quantizers(draw) -> dict:
    """Of activations; an odd zero point moves ties, which powers of two make often."""
    signed = draw(st.booleans())
    return {
        "bits": draw(st.integers(2 if signed else 1, 16)),
        "signed": int(signed),
        "narrow": int(draw(st.booleans())),
        "z": draw(st.sampled_from([0, 0, 2, 16])),
        "s": draw(st.sampled_from([2**-3, 0.1, 0.0371, 7.5])),
    }


FLOATS = hnp.arrays(np.float32, (4, 5), elements=st.floats(-300, 300, width=32))


@settings(max_examples=40)
@given(x=FLOATS, one=quantizers())
def test_quantizers_of_activations_are_qonnx_to_the_last_bit(qonnx, execute, x, one) -> None:
    flags = f"<signed = {one['signed']}, narrow = {one['narrow']}>"
    values = {"s": one["s"], "z": one["z"], "bits": one["bits"]}
    model = qonnx(f"y = Quant {flags} (x, s, z, bits)", inputs=X, values=values)
    for given_x in (x, np.round(x) * np.float32(one["s"]) / 2):  # and ties
        expected = execute(model, {"x": given_x})[0]
        np.testing.assert_array_equal(session(import_qonnx(model)).run(None, {"x": given_x})[0], expected)


@settings(max_examples=40)
@given(x=FLOATS, one=quantizers(), rounding=st.sampled_from(["ROUND", "CEIL", "FLOOR", "DOWN", "UP", "HALF_UP"]))
def test_quantizers_of_constants_are_qonnx_to_the_last_bit_in_every_rounding_mode(
    qonnx, execute, x, one, rounding
) -> None:
    flags = f'<signed = {one["signed"]}, narrow = {one["narrow"]}, rounding_mode = "{rounding}">'
    values = {"k": x, "s": one["s"] * np.array([1, 0.3, 2, 1.7, 0.9]), "z": one["z"], "bits": one["bits"]}
    model = qonnx(
        f"w = Quant {flags} (k, s, z, bits)\n y = Add (x, w)", X, weights="float[4,5] k, float[5] s", values=values
    )
    imported = import_qonnx(model)
    assert operators(imported) == ["DequantizeLinear", "Add"]
    zeros = {"x": np.zeros((4, 5), np.float32)}
    np.testing.assert_array_equal(session(imported).run(None, zeros)[0], execute(model, zeros)[0])


@pytest.mark.parametrize(("exponent", "mantissa", "top"), [(2, 1, 6), (2, 3, 7.5), (3, 2, 28), (4, 3, 448), (3, 3, 9)])
@pytest.mark.parametrize("rounding", ["ROUND", "FLOOR"])
def test_minifloats_of_constants_are_qonnx_to_the_last_bit(qonnx, execute, exponent, mantissa, top, rounding) -> None:
    flags = f'<has_inf = 0, has_nan = 0, has_subnormal = 1, saturation = 1, rounding_mode = "{rounding}">'
    model = qonnx(
        f"w = FloatQuant {flags} (k, s, e, m, b, top)\n y = Add (x, w)",
        inputs=X,
        weights="float[4,5] k",
        values={"s": 0.037, "e": exponent, "m": mantissa, "b": 2 ** (exponent - 1) - 1, "top": top},
    )
    sample = {"x": np.zeros((4, 5), np.float32)}
    expected = execute(model, sample)[0]
    assert len(np.unique(expected)) > 3
    np.testing.assert_array_equal(session(import_qonnx(model)).run(None, sample)[0], expected)


def test_a_minifloat_behind_an_integer_quantizer_is_exact(qonnx, execute) -> None:
    model = qonnx(QUANTIZED + f"y = FloatQuant {FLOAT.replace('(x', '(q')}", inputs=X, values=REST | E2M1)
    imported = import_qonnx(model)
    assert operators(imported) == ["QuantizeLinear", "Cast", "Gather", "DequantizeLinear"]
    codes = np.arange(-160, 160, dtype=np.float32).reshape(-1, 4, 5) * np.float32(2**-5)
    for x in codes:
        np.testing.assert_array_equal(session(imported).run(None, {"x": x})[0], execute(model, {"x": x})[0])


@pytest.mark.parametrize("start", ["", "r = Relu (x)\n"])
def test_a_minifloat_of_floats_is_rounded_twice_and_misses_near_borders_only(qonnx, execute, start) -> None:
    model = qonnx(start + f"y = FloatQuant {FLOAT.replace('(x', '(r') if start else FLOAT}", inputs=X, values=E2M1)
    opened = session(import_qonnx(model))
    missed = 0
    for sample in images(50, (4, 5)):
        missed += np.sum(opened.run(None, sample)[0] != execute(model, sample)[0])
    assert missed < 0.05 * 50 * 20


@pytest.mark.parametrize(
    ("exponent", "mantissa", "top"), [(3, 2, 28), (4, 3, 448), (4, 3, 480), (4, 2, 96), (3, 4, 31)]
)
def test_a_wide_minifloat_of_floats_is_exact(qonnx, execute, exponent, mantissa, top) -> None:
    format = {"s": 0.0371, "e": exponent, "m": mantissa, "b": 2 ** (exponent - 1) - 1, "top": top}
    model = qonnx(f"y = FloatQuant {FLOAT}", inputs=X, values=format)
    opened = session(import_qonnx(model))
    for sample in images(20, (4, 5)):
        np.testing.assert_array_equal(opened.run(None, sample)[0], execute(model, sample)[0])


def test_a_bipolar_activation_is_its_sign(qonnx, execute) -> None:
    model = qonnx("y = BipolarQuant (x, s)", inputs=X, values={"s": 0.3})
    opened = session(import_qonnx(model))
    for sample in [*images(3, (4, 5)), {"x": np.zeros((4, 5), np.float32)}]:
        np.testing.assert_array_equal(opened.run(None, sample)[0], execute(model, sample)[0])


def test_a_network_of_bipolar_weights_and_activations_runs_in_integers(qonnx, stages, execute) -> None:
    body = (
        "q = BipolarQuant (x, one)\n w = BipolarQuant (k, sk)\n a = Conv (q, w)\n b = BipolarQuant (a, one)\n"
        f"v = BipolarQuant (l, sk)\n c = Conv (b, v)\n y = Quant {SIGNED} (c, sx, z, eight)"
    )
    model = qonnx(body, weights="float[4,3,3,3] k, float[2,4,1,1] l", values=REST | {"one": 1, "sk": 0.125})
    done = stages(import_qonnx(model), inputs="float")
    assert "Conv" in done.calls and done.ops.count("Conv") == 2
    for sample in images():
        expected = execute(model, sample)[0]
        found = done.run(sample)["y"]
        np.testing.assert_array_equal(found * np.float32(REST["sx"]), expected)


def test_one_bit_around_a_half_is_bipolar_with_zero_below(qonnx, execute) -> None:
    values = REST | {"s": 0.5, "half": 0.5, "one": 1}
    model = qonnx(f"{QUANTIZED}y = Quant {UNSIGNED} (q, s, half, one)", inputs=X, values=values)
    opened = session(import_qonnx(model))
    for sample in [*images(3, (4, 5)), {"x": np.zeros((4, 5), np.float32)}]:
        expected = execute(model, sample)[0]
        assert set(np.unique(expected)) <= {-0.25, 0.25}
        np.testing.assert_array_equal(opened.run(None, sample)[0], expected)


def test_one_signed_bit_is_bipolar(qonnx) -> None:
    model = qonnx(
        f"w = Quant {SIGNED} (k, s, z, bits)\n y = Add (x, w)",
        X,
        weights="float[4,5] k",
        values=REST | {"s": 0.5, "bits": 1},
    )
    assert set(np.unique(initializer(import_qonnx(model), "w/quantized"))) == {-1, 1}


@pytest.mark.parametrize(
    ("body", "values", "message"),
    [
        (f"y = Quant {SIGNED} (x, sx, z, bits)", {"bits": 17}, "y (Quant) has 17 bits; activations of up to 16"),
        (f"y = Quant {SIGNED} (x, sx, z, bits)", {"bits": 2.5}, "y (Quant) has bits 2.5"),
        (f"y = Quant {SIGNED} (x, sx, half, eight)", {"half": 0.5}, "zero point between two integers"),
        (f"{QUANTIZED}y = Quant {SIGNED} (q, sx, third, four)", {"third": 0.3, "four": 4}, "has the zero point 0.3"),
        (f"y = Quant {SIGNED} (x, sx, far, eight)", {"far": 300}, "zero point 300, which lies outside"),
        (f"y = Quant {SIGNED} (x, minus, z, eight)", {"minus": -1}, "scale that is not finite and above 0"),
        (f"y = Quant {SIGNED} (x, x, z, eight)", {}, "y (Quant) computes its parameter x"),
        ('y = Quant <signed = 1, narrow = 0, rounding_mode = "FLOOR"> (x, sx, z, eight)', {}, "rounds by FLOOR; activ"),
        ('y = Quant <signed = 1, narrow = 0, rounding_mode = "ODD"> (x, sx, z, eight)', {}, "rounds by ODD; known"),
        ("y = Trunc (x, sx, z, eight, eight)", {}, "y (Trunc) of qonnx.custom_op.general cannot be compiled"),
        (f"y = FloatQuant {FLOAT}", E2M1 | {"e": 5, "m": 2, "b": 15, "top": 57344}, "numbers up to 3758096384 units"),
        (
            f"y = FloatQuant {FLOAT}",
            E2M1 | {"e": 4, "m": 2, "b": 7, "top": 101},
            "clips at 101, which is none of its numbers",
        ),
        (f"y = FloatQuant {FLOAT.replace('saturation = 1', 'saturation = 0')}", E2M1, "only saturation"),
        (f"y = FloatQuant {FLOAT}", E2M1 | {"e": 9}, "9 exponent bits"),
    ],
)
def test_what_has_no_integer_form_is_refused_with_the_node(qonnx, body, values, message) -> None:
    with pytest.raises(UserError) as refused:
        import_qonnx(qonnx(body, inputs=X, values=REST | values))
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


def test_scales_per_channel_of_an_activation_and_along_two_axes_are_refused(qonnx) -> None:
    with pytest.raises(UserError, match="has 5 scales; activations have one"):
        import_qonnx(
            qonnx(f"y = Quant {SIGNED} (x, s, z, eight)", X, weights="float[5] s", values=REST | {"s": np.ones(5)})
        )
    weights, values = "float[4,5] k, float[4,5] s", REST | {"s": np.ones((4, 5))}
    with pytest.raises(UserError, match="one a tensor or one a channel"):
        import_qonnx(qonnx(f"w = Quant {SIGNED} (k, s, z, eight)\n y = Add (x, w)", X, weights=weights, values=values))
