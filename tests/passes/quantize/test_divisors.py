"""What something is divided by is never rounded to 0 where it never was 0."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime as ort
import pytest

from bevel.calib.formats.scheme import INT8_ACTIVATIONS
from bevel.calib.observe.statistics import Statistics
from bevel.calib.scales.ranges import activation_quant
from bevel.passes.quantize import QuantizeOptions
from bevel.passes.quantize.divisors import without_zero
from bevel.passes.quantize.formats import activation_format

RNG = np.random.default_rng(3)
WIDE = np.float32(10.0) ** np.linspace(-6, 0, 8, dtype=np.float32)  # most of it is far below a step of the largest


def samples(sign: Any = 1.0, **more: Any) -> list[dict[str, Any]]:
    given = [(np.roll(WIDE, place) * sign)[np.newaxis].astype(np.float32) for place in range(8)]
    return [{name: one for name in ("d", *more)} | more for one in given]


@pytest.mark.parametrize(
    "function",
    ["Reciprocal (d)", "Log (d)", "Div (one, d)", "Pow (d, minus)"],
)
def test_a_function_without_a_value_at_zero_never_reads_a_zero_and_stays_on_its_side(
    text: Any, stages: Any, function: str
) -> None:
    model = text(
        f"y = {function}", "float[1,8] d", weights="float one, float minus", values={"one": 1.0, "minus": -1.0}
    )
    given = [{"d": np.roll(np.linspace(1e-3, 1, 8, dtype=np.float32), place)[np.newaxis]} for place in range(8)]
    made = stages(model, given, QuantizeOptions(range="minmax"), inputs="float", outputs="float")
    assert "no value is rounded to 0" in made.node_notes("d")
    exact = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    smallest = made.run({"d": np.full((1, 8), 1e-3, np.float32)})["y"]
    (most,) = exact.run(None, {"d": np.full((1, 8), 1 / 255, np.float32)})
    np.testing.assert_allclose(smallest, most, rtol=0.1)  # the function of the smallest code that is not 0


@pytest.mark.parametrize("activations", ["int8", "int6", "int16"])
@pytest.mark.parametrize("sign", [1.0, -1.0, np.where(np.arange(8) % 2, 1.0, -1.0)])
def test_quotients_are_finite_wherever_the_divisor_never_was_zero(
    text: Any, stages: Any, sign: Any, activations: str
) -> None:
    model = text("y = Div (x, d)", "float[1,8] x, float[1,8] d")
    given = samples(sign, x=RNG.standard_normal((1, 8)).astype(np.float32))
    options = QuantizeOptions(activations=activation_format(activations))
    made = stages(model, given, options, inputs="float", outputs="float", islands=True)
    runs = [ort.InferenceSession(made.quantized.SerializeToString()).run(None, one)[0] for one in given]
    assert np.isfinite(runs).all() or (activations == "int16" and np.ndim(sign))  # no table of int16 leaves a code out


def test_a_divisor_that_was_zero_keeps_its_zero(text: Any, stages: Any) -> None:
    given = [{"d": np.array([[0.0, 0.5, 1.0, 2.0]], np.float32)}] * 2
    made = stages(text("e = Add (d, d)\n y = Exp (e)", "float[1,4] d"), given, inputs="float", outputs="float")
    assert "rounded to 0" not in made.node_notes("d")
    statistics = Statistics.of(given[0]["d"])
    assert without_zero(statistics, activation_quant(statistics, INT8_ACTIVATIONS)) is None


@pytest.mark.parametrize("sign", [1.0, -1.0, np.where(np.arange(8) % 2, 1.0, -1.0)])
def test_every_code_but_that_of_zero_stays_what_it_was(sign: Any) -> None:
    statistics = Statistics.of((WIDE * sign)[np.newaxis])
    quant = activation_quant(statistics, INT8_ACTIVATIONS)
    found = without_zero(statistics, quant)
    assert found is not None
    codes = np.arange(-128, 128)
    zero = int(quant.zero_point)
    inside = (codes >= found.low) & (codes <= found.high) & (codes != zero)
    np.testing.assert_array_equal(found.table[inside], codes[inside])
    assert abs(int(found.table[zero + 128]) - zero) == 1
    assert zero not in found.table


def test_a_result_is_computed_of_what_its_function_reads_not_of_another_result(text: Any, stages: Any) -> None:
    """1 / sigmoid(x) beside sigmoid(x): of x's codes, not of those of sigmoid(x), most of which are the lowest."""
    model = text("s = Sigmoid (x)\n y = Reciprocal (s)", "float[1,64] x", "float[] y, float[] s")
    given = [{"x": np.linspace(-12, 12, 64, dtype=np.float32)[np.newaxis] + RNG.uniform(-0.1, 0.1)} for _ in range(4)]
    given = [{"x": one["x"].astype(np.float32)} for one in given]
    made = stages(model, given, inputs="float", outputs="float")
    exact = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    signal = noise = 0.0
    for one in given:
        found, expected = made.run(one)["y"].astype(np.float64), exact.run(["y"], one)[0].astype(np.float64)
        signal, noise = signal + (expected**2).sum(), noise + ((found - expected) ** 2).sum()
    assert 10 * np.log10(signal / noise) > 20
    assert made.ops.count("Table") == 2
