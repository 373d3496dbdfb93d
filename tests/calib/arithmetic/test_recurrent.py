"""Recurrent networks in integers against floats, and floats against onnxruntime."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import helper, numpy_helper

from bevel.calib.arithmetic.float_cell import GATES, STATES, FloatCell
from bevel.calib.arithmetic.gate_functions import FORMULAS, GateFunction, gate_functions
from bevel.calib.arithmetic.recurrent import (
    STEPS,
    GruNumbers,
    Worths,
    common_shift,
    gate_inputs,
    gate_step,
    gru_numbers,
    gru_state,
    half,
    lines_of,
    lstm_numbers,
    lstm_step,
    saturate,
)
from bevel.calib.arithmetic.requantize import RatioError

DEFAULTS = {"LSTM": ("Sigmoid", "Tanh", "Tanh"), "GRU": ("Sigmoid", "Tanh"), "RNN": ("Tanh",)}


def random_cell(op: str, scale: float = 0.5, inputs: int = 5, hidden: int = 6, **changes: Any) -> FloatCell:
    rng = np.random.default_rng(0)
    rows = GATES[op] * hidden
    shapes = ((rows, inputs), (rows, hidden), (2 * rows,))
    w, r, b = (scale * rng.standard_normal(shape).astype(np.float32) for shape in shapes)
    cell = FloatCell(op, w, r, b, np.zeros(0), gate_functions(DEFAULTS[op], (), ()))
    return replace(cell, **changes)


def onnx_run(cell: FloatCell, x: np.ndarray, initial: list[np.ndarray], attrs: dict[str, Any]) -> list[np.ndarray]:
    """What onnxruntime answers."""
    arrays = {"w": cell.w[None], "r": cell.r[None], "b": cell.b[None], "h": initial[0][None]}
    arrays |= {"c": initial[1][None]} if cell.op == "LSTM" else {}
    arrays |= {"p": cell.p[None].astype(np.float32)} if cell.p.size else {}
    names = ["x", "w", "r", "b", "", "h", "c" if "c" in arrays else "", "p" if "p" in arrays else ""]
    outputs = ["y", "y_h", "y_c"][: 1 + STATES[cell.op]]
    while not names[-1]:
        names.pop()
    node = helper.make_node(cell.op, names, outputs, hidden_size=cell.hidden, **attrs)
    graph = helper.make_graph(
        [node],
        "g",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, x.shape)],
        [helper.make_empty_tensor_value_info(name) for name in outputs],
        [numpy_helper.from_array(array, name) for name, array in arrays.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return [found[:, 0] if place == 0 else found[0] for place, found in enumerate(session.run(None, {"x": x}))]


WAYS: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "lstm": ("LSTM", {}, {}),
    "lstm back": ("LSTM", {"backward": True}, {"direction": "reverse"}),
    "lstm with peepholes": ("LSTM", {"p": np.linspace(-1, 1, 18)}, {}),
    "coupled lstm": ("LSTM", {"coupled": True}, {"input_forget": 1}),
    "clipped lstm": ("LSTM", {"clip": 0.4}, {"clip": 0.4}),
    "gru": ("GRU", {}, {}),
    "gru, linear before reset": ("GRU", {"before": True}, {"linear_before_reset": 1}),
    "clipped gru, linear before reset": ("GRU", {"before": True, "clip": 0.3}, {"linear_before_reset": 1, "clip": 0.3}),
    "rnn": ("RNN", {}, {}),
}


@pytest.mark.parametrize(("op", "changes", "attrs"), WAYS.values(), ids=WAYS)
def test_floats_are_what_onnxruntime_computes(op: str, changes: dict[str, Any], attrs: dict[str, Any]) -> None:
    cell, rng = random_cell(op, **changes), np.random.default_rng(1)
    x = rng.standard_normal((7, 2, 5)).astype(np.float32)
    initial = [rng.standard_normal((2, 6)).astype(np.float32) for _ in range(STATES[op])]
    found = replace(cell, initial=(None,) * STATES[op]).run(x, initial)
    for one, expected in zip((found.y, *found.states), onnx_run(cell, x, initial, attrs), strict=True):
        np.testing.assert_allclose(one, expected, atol=2e-6)  # float32's rounding, seven steps of it


@pytest.mark.parametrize(
    "parameters", [{}, {"activation_alpha": [0.3], "activation_beta": [0.6]}], ids=["left out", ""]
)
@pytest.mark.parametrize("name", FORMULAS)
def test_functions_are_what_onnxruntime_computes(name: str, parameters: dict[str, list[float]]) -> None:
    if not parameters and ort.__version__.startswith("1.28."):
        pytest.skip("onnxruntime 1.28 takes 0 for what is left out; bevel.passes.exchange.spell_gates writes it out")
    (function,) = gate_functions([name], *(parameters.get(key, []) for key in ("activation_alpha", "activation_beta")))
    cell = random_cell("RNN", functions=(function,))
    x = np.random.default_rng(1).standard_normal((1, 40, 5)).astype(np.float32)
    zeros = [np.zeros((40, 6), np.float32)]
    found = onnx_run(cell, x, zeros, {"activations": [name], **parameters})
    np.testing.assert_allclose(cell.run(x).y, found[0], atol=2e-6)


def test_parameters_go_to_the_functions_that_have_them_in_order() -> None:
    found = gate_functions(("Sigmoid", "HardSigmoid", "Elu"), (0.3, 0.7), (0.4,))
    single = [float(np.float32(value)) for value in (0.3, 0.4, 0.7, 0.2)]
    assert found == (GateFunction("Sigmoid"), GateFunction("HardSigmoid", *single[:2]), GateFunction("Elu", single[2]))
    assert gate_functions(("hardsigmoid",), (), ()) == (GateFunction("HardSigmoid", single[3], 0.5),)
    with pytest.raises(KeyError, match="swish"):
        gate_functions(("swish",), (), ())


@pytest.mark.parametrize("name", ["Sigmoid", "Tanh", "HardSigmoid", "ScaledTanh"])
def test_a_function_is_constant_beyond_its_domain(name: str) -> None:
    (function,) = gate_functions((name,), (0.3,), (0.6,)) if name.startswith("S") else gate_functions((name,), (), ())
    assert function.domain is not None
    beyond = function(np.array([-3.0, -1.0, 1.0, 3.0]) * function.domain)
    assert np.abs(np.diff(beyond)[[0, 2]]).max() <= np.abs(beyond).max() / STEPS
    assert gate_step(function, 0.5) == 0.5 / (STEPS - 1)


@pytest.mark.parametrize("name", ["relu", "affine", "softplus", "softsign"])
def test_a_function_that_goes_on_has_a_domain_by_a_clip_alone(name: str) -> None:
    (function,) = gate_functions((name,), (), ())
    assert gate_step(function) is None and gate_step(function, 3.0) == 3.0 / (STEPS - 1)


def whole(value: Any, step: float) -> np.ndarray:
    return saturate(np.rint(np.asarray(value) / step).astype(np.int64))


def sums(cell: FloatCell, x: np.ndarray, h: np.ndarray, steps: np.ndarray) -> tuple[int, np.ndarray, list[np.ndarray]]:
    """What goes into gates of int16 x, h and weights, whose rounding is next to nothing."""
    fine = 1 / STEPS
    w, r = whole(cell.w, 4 * fine), whole(cell.r, 4 * fine)
    ratio = 4 * fine * fine / steps
    shift, factors = common_shift([8 * ratio, ratio], [np.abs(w).sum(1) * STEPS, np.abs(r).sum(1) * STEPS], 2.0**14)
    bias = np.rint((cell.biases[0] + cell.biases[1]) / steps * 2.0**shift).astype(np.int64) + half(shift)
    x_sums, h_sums = whole(x, 8 * fine) @ w.T, h @ r.T
    return shift, gate_inputs(x_sums, h_sums, *factors, bias), factors


@pytest.mark.parametrize(("coupled", "peepholes"), [(False, False), (True, False), (False, True)])
def test_lstm_of_a_hundred_steps_stays_within_a_thousandth(coupled: bool, peepholes: bool) -> None:
    p = 0.4 * np.random.default_rng(3).standard_normal(18) if peepholes else np.zeros(0)
    cell = random_cell("LSTM", coupled=coupled, p=p)
    x = np.random.default_rng(1).standard_normal((100, 3, 5))
    true = cell.run(x)
    c_step, h_step = 4 * true.reaches[1] / STEPS, 1 / STEPS
    gate, candidate = 16 / (STEPS - 1), 8 / (STEPS - 1)
    lines = [lines_of(cell.functions[0], gate), lines_of(cell.functions[1], candidate)]
    lines.append(lines_of(cell.functions[2], c_step))
    steps = np.repeat([gate, gate, gate, candidate], 6)
    h = c = np.zeros((3, 6), np.int64)
    errors = []
    for time, true_h in enumerate(true.y):
        shift, inputs, _ = sums(cell, x[time], h, steps)
        numbers = lstm_numbers(shift, Worths(*(one.scale for one in lines), c_step, h_step), coupled)
        peephole = np.rint(p.reshape(3, 6) * c_step / gate * 2.0**shift).astype(np.int64) if peepholes else None
        h, c = lstm_step(inputs, c, peephole, numbers, lines)
        errors.append(np.abs(h * h_step - true_h).max())
    # Gates are rounded to 2**-12 and 2**-13 of what they change in, each curve to two steps of 2**-15.
    assert 0 < max(errors) < 1e-3
    assert np.abs(c * c_step - true.states[1]).max() < 2e-3


def test_gru_of_a_hundred_steps_stays_within_a_thousandth() -> None:
    cell = replace(random_cell("GRU", before=True), b=np.zeros(36))
    x = np.random.default_rng(1).standard_normal((100, 3, 5))
    true = cell.run(x)
    gate, candidate = 16 / (STEPS - 1), 8 / (STEPS - 1)
    of_gate, of_candidate = lines_of(cell.functions[0], gate), lines_of(cell.functions[1], candidate)
    h, errors = np.zeros((3, 6), np.int64), []
    for time, true_h in enumerate(true.y):
        shift, inputs, _ = sums(cell, x[time], h, np.full(18, gate))
        numbers = gru_numbers(shift, of_gate.scale, of_candidate.scale, 1 / STEPS)
        z, r = np.split(of_gate(saturate(inputs[:, :12] >> shift)), 2, axis=-1)
        share = (r * of_gate.scale) * (h / STEPS @ cell.r[12:].T)
        g = of_candidate(whole(x[time] @ cell.w[12:].T + share, candidate))
        h = gru_state(z, g, h, numbers)
        errors.append(np.abs(h / STEPS - true_h).max())
    assert 0 < max(errors) < 1e-3


def test_shares_of_one_and_nothing_keep_a_state_or_replace_it() -> None:
    numbers = GruNumbers(30, 1 << 24, 1 << 24, 39, 1 << 20, 35, STEPS)
    h, g = np.array([-32768, 100, 32767]), np.array([5, 32767, -32768])
    np.testing.assert_array_equal(gru_state(np.zeros(3), g, h, numbers), g)
    np.testing.assert_allclose(gru_state(np.full(3, STEPS - 1), g, h, numbers), h, atol=2)


def test_factors_are_as_large_as_the_room_for_sums_allows() -> None:
    shift, (factor,) = common_shift([np.array([0.01, 0.5])], [np.array([2.0**20, 2.0**20])])
    assert factor.max() < 2**31 and 2 * factor.max() >= 2**31 and shift == 31
    small, _ = common_shift([np.array(0.01)], [np.array(1.0)], rest=2.0**40)
    assert small == 20
    with pytest.raises(RatioError, match="too far"):
        common_shift([np.array(2.0**40)], [np.array(1.0)])
