"""What recurrent operators keep, make and refuse, beyond that they conform (`operator_cases.recurrent`)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import onnx
import onnx_graphsurgeon as gs
import onnxruntime as ort
import pytest

from bevel.passes.operators import find_operator
from bevel.passes.operators.base import Reason
from bevel.passes.quantize import NodeFormat, QuantizeOptions
from bevel.passes.quantize.formats import activation_format, weight_format

X = "float[6,1,3] x"
STATES = f"{X}, float[1,1,4] h, float[1,1,4] c"
LSTM = "float[1,16,3] w, float[1,16,4] r, float[1,32] b"
BODY = "y, hn, cn = LSTM <hidden_size = 4> (x, w, r, b, , h, c)"
OUTPUTS = "float[] y, float[] hn, float[] cn"


def small(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    return 0.4 * np.random.default_rng(seed).standard_normal(shape)


def made_of(
    text: Any, stages: Any, body: str, inputs: str, weights: str, outputs: str = "float[] y", **more: Any
) -> Any:
    return stages(text(body, inputs, outputs, weights, more.pop("values", {})), **more)


def test_states_that_come_in_and_leave_share_int16_and_a_scale(text: Any, stages: Any) -> None:
    made = made_of(text, stages, BODY, STATES, LSTM, OUTPUTS)
    ports = {port.name: port for port in (*made.program.inputs, *made.program.outputs)}
    assert {name: port.dtype for name, port in ports.items()} == {
        **{"x": "int8", "y": "int8"},
        **dict.fromkeys(("h", "c", "hn", "cn"), "int16"),
    }
    assert {ports[name].zero_point for name in ("h", "c", "hn", "cn")} == {0}
    assert ports["h"].scale == ports["hn"].scale and ports["c"].scale == ports["cn"].scale and made.calls == ["Lstm"]
    for sample in made.extremes():
        assert made.error(sample) <= 10  # of an int16 state: `operator_cases.recurrent` says why


def test_a_run_goes_on_where_the_one_before_ended(text: Any, stages: Any) -> None:
    made = made_of(text, stages, BODY, STATES, LSTM, OUTPUTS)
    x = np.random.default_rng(3).integers(-128, 128, (12, 1, 3)).astype(np.int8)
    zeros = np.zeros((1, 1, 4), np.int16)
    first = made.run({"x": x[:6], "h": zeros, "c": zeros})
    last = made.run({"x": x[6:], "h": first["hn"], "c": first["cn"]})
    (call,) = made.program.calls
    whole = replace(call.kernel, walk=replace(call.kernel.walk, steps=12))
    y, h, c = whole.results(x, zeros[0], zeros[0], *call.constants)
    np.testing.assert_array_equal(np.concatenate([first["y"], last["y"]])[:, 0], y)
    np.testing.assert_array_equal(np.concatenate([last["hn"], last["cn"]]), [h, c])


def test_only_outputs_that_are_read_are_made(text: Any, stages: Any) -> None:
    made = made_of(text, stages, "o, y = LSTM <hidden_size = 4> (x, w, r, b)", X, LSTM)
    assert made.program.calls[0].kernel.answer is None
    made = made_of(text, stages, "y = LSTM <hidden_size = 4> (x, w, r, b)", X, LSTM)
    assert made.program.calls[0].kernel.answer is not None and made.calls == ["Lstm"]


def test_an_output_with_two_quantizers_is_made_once(text: Any, stages: Any) -> None:
    body = """q = QuantizeLinear (x, s, z)
        d = DequantizeLinear (q, s, z)
        i = DequantizeLinear (k, g, n)
        o = RNN <hidden_size = 4> (d, w, r, , , i)
        qa = QuantizeLinear (o, s, z)
        y = DequantizeLinear (qa, s, z)
        qb = QuantizeLinear (o, t, z)
        v = DequantizeLinear (qb, t, z)"""
    weights = "float s, float t, int8 z, float[1,4,3] w, float[1,4,4] r, int16[1,1,4] k, float g, int16 n"
    values = {"s": 0.02, "t": 0.05, "z": 3, "k": np.zeros((1, 1, 4)), "g": 1 / 2**15, "n": 0}
    body = body.replace("RNN <hidden_size = 4> (d, w, r", "RNN <hidden_size = 4> (d, u, p").replace(
        "o = RNN", "u = DequantizeLinear <axis = 1> (w, s)\n p = DequantizeLinear <axis = 1> (r, s)\n o = RNN"
    )
    weights = weights.replace("float[1,4,3] w, float[1,4,4] r", "int8[1,4,3] w, int8[1,4,4] r")
    values |= {"w": np.rint(50 * small((1, 4, 3))), "r": np.rint(50 * small((1, 4, 4)))}
    made = made_of(text, stages, body, X, weights, "float[] y, float[] v", values=values)
    assert made.calls.count("Rnn") == 1
    for sample in made.extremes():
        assert made.error(sample) <= 1


@pytest.mark.parametrize("weights", ["int4", "int8", "int16", "ternary", "e4m3", "int4:block4"])
def test_weights_of_every_format_are_the_same_everywhere(weights: str, text: Any, stages: Any) -> None:
    options = QuantizeOptions(weights=weight_format(weights))
    made = made_of(text, stages, "y = LSTM <hidden_size = 4> (x, w, r, b)", X, LSTM, options=options)
    assert made.calls == ["Lstm"]
    for sample in made.extremes():
        assert made.error(sample) <= 1
    refused = "int8" in made.node_notes(made.integer.graph.node[0].name)
    assert refused == (weights in ("e4m3", "int4:block4"))


@pytest.mark.parametrize("activations", ["int4", "int8", "int16"])
def test_activations_of_every_width_are_the_same_everywhere(activations: str, text: Any, stages: Any) -> None:
    options = QuantizeOptions(activations=activation_format(activations))
    body = "o = GRU <hidden_size = 4> (x, w, r)\n y = Neg (o)"
    made = made_of(text, stages, body, X, "float[1,12,3] w, float[1,12,4] r", options=options)
    assert "Gru" in made.calls
    for sample in made.extremes():
        made.run(sample)


def test_an_lstm_asked_for_int16_answers_with_its_state(text: Any, stages: Any) -> None:
    nodes = {"y": NodeFormat(activations=activation_format("int16"))}
    made = made_of(
        text, stages, "y = LSTM <hidden_size = 4> (x, w, r, b)", X, LSTM, options=QuantizeOptions(nodes=nodes)
    )
    (port,) = made.program.outputs
    assert port.dtype == "int16"
    for sample in made.extremes():
        assert made.error(sample) <= 10  # of an int16 state: `operator_cases.recurrent` says why


def test_sums_beyond_int32_are_made_in_int64(text: Any, stages: Any) -> None:
    body = "y = RNN <hidden_size = 600> (x, w, r)"
    weights = "float[1,600,3] w, float[1,600,600] r"
    values = {"r": np.where(np.random.default_rng(0).random((1, 600, 600)) < 0.5, -1.0, 1.0)}
    made = made_of(text, stages, body, "float[2,1,3] x", weights, values=values)
    assert made.program.calls[0].kernel.walk.sums == "int64"
    for sample in made.extremes():
        made.run(sample)


REFUSED = {
    "lengths": ("y = RNN <hidden_size = 4> (x, w, r, , n)", X, "int32[1] n", {"n": [3]}, "lengths of their own"),
    "computed weights": (
        "v = Neg (k)\n y = RNN <hidden_size = 4> (x, v, r)",
        f"{X}, float[1,4,3] k",
        "",
        {},
        "computed",
    ),
    "computed bias": ("v = Neg (k)\n y = RNN <hidden_size = 4> (x, w, r, v)", f"{X}, float[1,8] k", "", {}, "biases"),
}


@pytest.mark.parametrize(("body", "inputs", "more", "values", "reason"), REFUSED.values(), ids=REFUSED)
def test_what_has_no_integers_says_why(
    body: str, inputs: str, more: str, values: Any, reason: str, text: Any, stages: Any
) -> None:
    weights = ", ".join(filter(None, ("float[1,4,3] w, float[1,4,4] r", more)))
    with pytest.raises(Exception, match=reason):
        made_of(text, stages, body, inputs, weights, values=values)


@pytest.mark.parametrize("clip", ["", ", clip = 2.0"])
@pytest.mark.parametrize("function", ["Relu", "Softplus", "LeakyRelu", "ThresholdedRelu", "Elu", "Softsign"])
def test_an_unbounded_function_runs_within_what_was_seen_or_a_clip(
    function: str, clip: str, text: Any, stages: Any
) -> None:
    # onnxruntime 1.28 takes 0 for what is left out; where a model is loaded, it is written out
    alpha = {"LeakyRelu": ", activation_alpha = [0.01]", "Elu": ", activation_alpha = [1.0]"}.get(function, "")
    body = f'y = RNN <hidden_size = 4, activations = ["{function}"]{alpha}{clip}> (x, w, r)'
    values = {"w": small((1, 4, 3)), "r": small((1, 4, 4), 1)}
    made = made_of(text, stages, body, X, "float[1,4,3] w, float[1,4,4] r", values=values)
    (node,) = (one for one in made.quantized.graph.node if one.op_type == "RNN")
    assert [one.name for one in node.attribute].count("clip") == 1
    for sample in made.extremes():
        assert made.error(sample) <= 1


def test_an_lstm_of_rectified_candidates_runs_within_what_was_seen(text: Any, stages: Any) -> None:
    body = 'y = LSTM <hidden_size = 4, activations = ["Sigmoid", "Relu", "Relu"]> (x, w, r)'
    values = {"w": small((1, 16, 3)), "r": small((1, 16, 4), 1)}
    made = made_of(text, stages, body, X, "float[1,16,3] w, float[1,16,4] r", values=values)
    for sample in made.extremes():
        assert made.error(sample) <= 1


def test_a_quantized_model_runs_in_stock_onnxruntime_and_says_how_states_are_scaled(text: Any, stages: Any) -> None:
    made = made_of(text, stages, "y = LSTM <hidden_size = 4> (x, w, r, b)", X, LSTM)
    ort.InferenceSession(made.shipped.SerializeToString(), providers=["CPUExecutionProvider"])
    again = stages(made.shipped)
    assert again.calls == ["Lstm"]
    for sample in again.extremes():
        assert again.error(sample) <= 1


def test_a_quantized_model_without_scales_of_states_is_refused_with_the_reason(text: Any, stages: Any) -> None:
    body = """q = QuantizeLinear (x, s, z)
        d = DequantizeLinear (q, s, z)
        u = DequantizeLinear (w, s)
        p = DequantizeLinear (r, s)
        o = RNN <hidden_size = 4> (d, u, p)
        qa = QuantizeLinear (o, s, z)
        y = DequantizeLinear (qa, s, z)"""
    weights = "float s, int8 z, int8[1,4,3] w, int8[1,4,4] r"
    values = {"s": 0.02, "z": 3, "w": np.rint(50 * small((1, 4, 3))), "r": np.rint(50 * small((1, 4, 4)))}
    with pytest.raises(Exception, match="nothing says how its states are scaled"):
        made_of(text, stages, body, X, weights, values=values)


def test_a_node_that_was_not_rewritten_is_refused_with_the_reason() -> None:
    model = onnx.parser.parse_model(
        '<ir_version: 10, opset_import: ["" : 21]> g (float[5,2,3] x, float[2,4,3] w, float[2,4,4] r) => (float[] y)'
        '{ y = RNN <hidden_size = 4, direction = "bidirectional"> (x, w, r) }'
    )
    found = find_operator(gs.import_onnx(model).nodes[0])
    assert isinstance(found, Reason) and "two directions" in found


@pytest.mark.parametrize(("h", "c"), [("h", "k"), ("k", "c"), ("k", "k"), ("", "c")])
def test_states_may_begin_as_tensors_constants_or_zeros(h: str, c: str, text: Any, stages: Any) -> None:
    inputs = ", ".join([X, *(f"float[1,1,4] {name}" for name in (h, c) if name in ("h", "c"))])
    body = f"y, hn, cn = LSTM <hidden_size = 4> (x, w, r, b, , {h}, {c})"
    made = made_of(text, stages, body, inputs, f"{LSTM}, float[1,1,4] k", OUTPUTS)
    types = {port.name: port.dtype for port in made.program.outputs}
    assert types == {"y": "int8", "hn": "int16" if h == "h" else "int8", "cn": "int16" if c == "c" else "int8"}
    for sample in made.extremes():
        made.run(sample)


def test_a_state_that_is_always_zero_runs_too(text: Any, stages: Any) -> None:
    zeros = tuple({"x": np.zeros((6, 1, 3), np.float32)} for _ in range(3))
    body, weights = "y = LSTM <hidden_size = 4> (x, w, r)", "float[1,16,3] w, float[1,16,4] r"
    made = made_of(text, stages, body, X, weights, samples=zeros)
    assert made.calls == ["Lstm"]
    for sample in made.extremes():
        made.run(sample)


def test_a_cell_s_scale_leaves_room_beyond_what_was_seen(text: Any, stages: Any) -> None:
    made = made_of(text, stages, BODY, STATES, LSTM, OUTPUTS)
    (port,) = (one for one in made.program.outputs if one.name == "cn")
    assert isinstance(port.scale, float)
    largest = max(np.abs(made.run(sample)["cn"].astype(np.int64)).max() for sample in calibrated(made))
    assert 2**11 < largest < 2**14  # a quarter of what int16 holds, but for the rounding of the formats before it


def calibrated(made: Any) -> list[dict[str, np.ndarray]]:
    """Samples like those of calibration, as integers."""
    rng, found = np.random.default_rng(1), []
    for _ in range(4):
        sample = {}
        for port in made.program.inputs:
            reals = rng.standard_normal(port.shape)
            limits = np.iinfo(port.dtype)
            codes = np.rint(reals / port.scale) + port.zero_point
            sample[port.name] = np.clip(codes, limits.min, limits.max).astype(port.dtype)
        found.append(sample)
    return found
