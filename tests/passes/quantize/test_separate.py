"""A part of a Concat or Pad that others read keeps its own scale where one scale would cost it its codes."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from bevel.passes.quantize import QuantizeOptions
from bevel.passes.quantize.formats import activation_format

RNG = np.random.default_rng(5)
PRODUCT = "float[6,3] w"


def samples(large: float, shape: tuple[int, ...] = (1, 6), count: int = 8) -> list[dict[str, Any]]:
    def drawn(size: float) -> Any:
        return (size * RNG.standard_normal(shape)).astype(np.float32)

    return [{"x": drawn(1.0), "z": drawn(large)} for _ in range(count)]


def sqnr(made: Any, model: onnx.ModelProto, given: list[dict[str, Any]], output: str) -> float:
    exact = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    signal = noise = 0.0
    for one in given:
        feeds = {value.name: one[value.name] for value in exact.get_inputs()}
        expected = exact.run([output], feeds)[0].astype(np.float64)
        found = made.run(feeds)[output]
        signal, noise = signal + (expected**2).sum(), noise + ((found - expected) ** 2).sum()
    return float(10 * np.log10(signal / noise))


BRANCHES = "g = Gemm (x, w)\n c = Concat <axis = 1> (x, z)\n y = Tanh (c)"


@pytest.mark.parametrize("activations", ["int8", "int6"])
@pytest.mark.parametrize("large", [30.0, 1000.0])
def test_a_part_that_others_read_is_rescaled_into_the_concat(
    text: Any, stages: Any, large: float, activations: str
) -> None:
    model = text(BRANCHES, "float[1,6] x, float[1,6] z", "float[] g, float[] y", PRODUCT)
    given = samples(large)
    options = QuantizeOptions(activations=activation_format(activations))
    made = stages(model, given, options, inputs="float", outputs="float")
    assert "keeps its own scale and is rescaled into c" in made.node_notes("x")
    assert sqnr(made, model, given, "g") > 20
    codes = stages(model, given, options)
    assert max(codes.error(one) for one in codes.extremes()) <= 1


@pytest.mark.parametrize("activations", ["int12", "int16"])
def test_wide_integers_are_rescaled_into_a_concat_too(text: Any, stages: Any, activations: str) -> None:
    body = "g = Gemm (x, w)\n c = Concat <axis = 1> (x, z)\n y = Gemm (c, v)"
    model = text(body, "float[1,6] x, float[1,6] z", "float[] g, float[] y", f"{PRODUCT}, float[12,2] v")
    given = samples(1000.0)
    made = stages(
        model, given, QuantizeOptions(activations=activation_format(activations)), inputs="float", outputs="float"
    )
    assert "Rescale" in made.ops
    assert sqnr(made, model, given, "g") > 35  # int8 results


def test_parts_of_like_ranges_share_one_scale(text: Any, stages: Any) -> None:
    model = text(BRANCHES, "float[1,6] x, float[1,6] z", "float[] g, float[] y", PRODUCT)
    made = stages(model, samples(1.2))
    assert len({port.scale for port in made.program.inputs}) == 1
    assert "rescaled" not in made.node_notes("x")


def test_a_part_that_only_the_concat_reads_is_rounded_once(text: Any, stages: Any) -> None:
    body = "h = Reshape (x, s)\n c = Concat <axis = 1> (h, z)\n y = Tanh (c)"
    model = text(body, "float[1,2,3] x, float[1,6] z", weights="int64[2] s", values={"s": [1, 6]})
    given = [one | {"x": one["x"].reshape(1, 2, 3)} for one in samples(1000.0)]
    made = stages(model, given)
    assert made.ops == ["Reshape", "Concat", "Table"]


def test_padding_far_beyond_the_data_leaves_other_readers_their_scale(text: Any, stages: Any) -> None:
    body = "p = Pad (x, n, far)\n t = Flatten (p)\n y = Conv (x, w)"
    weights = "int64[8] n, float far, float[2,3,1,1] w"
    values = {"n": [0, 0, 1, 1, 0, 0, 1, 1], "far": 1000.0}
    model = text(body, "float[1,3,6,6] x", "float[] y, float[] t", weights, values)
    given = [{"x": RNG.standard_normal((1, 3, 6, 6)).astype(np.float32)} for _ in range(4)]
    made = stages(model, given, inputs="float", outputs="float")
    assert sqnr(made, model, given, "y") > 30
    assert sqnr(made, model, given, "t") > 30  # 1000 is padded as it was
    assert "is rescaled into p" in made.node_notes("x")


def test_a_pad_between_two_scales_of_an_imported_model_pads_with_its_value(text: Any, stages: Any) -> None:
    body = """
        q = QuantizeLinear (x, s, z)
        d = DequantizeLinear (q, s, z)
        p = Pad (d, n, far)
        r = QuantizeLinear (p, t, z)
        y = DequantizeLinear (r, t, z)
    """
    values = {"s": 0.01, "t": 0.1, "z": 0, "far": 5.0, "n": [0, 1, 0, 1]}
    model = text(body, "float[1,4] x", weights="float s, float t, int8 z, float far, int64[4] n", values=values)
    made = stages(model)
    assert max(made.error(one) for one in made.extremes()) == 0
    assert made.run(next(iter(made.extremes())))["y"][0, 0] == 50


def test_quantities_of_unlike_units_that_one_product_reads_keep_their_accuracy(text: Any, stages: Any) -> None:
    weights = RNG.standard_normal((12, 4))
    weights[6:] /= 1000
    model = text(
        "c = Concat <axis = 1> (x, z)\n y = Gemm (c, w)",
        "float[1,6] x, float[1,6] z",
        weights="float[12,4] w",
        values={"w": weights},
    )
    given = samples(1000.0, count=16)
    assert sqnr(stages(model, given, inputs="float", outputs="float"), model, given, "y") > 30
