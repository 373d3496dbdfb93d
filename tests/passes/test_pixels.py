"""A camera's uint8 goes into a model as it is: what the model makes of it first is folded into one step on integers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest

from bevel.passes.exchange.take_pixels import float_inputs, take_pixels
from bevel.passes.quantize import QuantizeOptions
from bevel.passes.quantize.formats import activation_format

CONV = "c = Conv <pads = [1,1,1,1]> (n, w, b)\n y = Relu (c)"
WEIGHTS = "float[4,3,3,3] w, float[4] b"
MEAN, DEVIATION = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
IMAGE, FRAME = "uint8[1,3,6,5] x", "uint8[1,6,5,3] x"
FIRST, LAST = {"m": MEAN.reshape(3, 1, 1), "s": DEVIATION.reshape(3, 1, 1)}, {"m": MEAN, "s": DEVIATION}
PER_FIRST, PER_LAST = "float k, float[3,1,1] m, float[3,1,1] s", "float k, float[3] m, float[3] s"


def samples(dtype: Any, shape: tuple[int, ...]) -> tuple[dict[str, np.ndarray], ...]:
    limits = np.iinfo(dtype)
    rng = np.random.default_rng(0)
    return tuple({"x": rng.integers(limits.min, limits.max, shape, dtype, endpoint=True)} for _ in range(4))


def compiled(stages: Any, text: Any, body: str, image: str = IMAGE, weights: str = "", **rest: Any) -> Any:
    values = {"k": 255.0, "h": 127.5, "o": 1.0} | rest.pop("values", {})
    given = ", ".join(filter(None, (WEIGHTS, weights)))
    model = text(f"{body}\n {CONV}", image, weights=given, values=values)
    dtype = np.int8 if image.startswith("int8") else np.uint8
    shape = tuple(int(size) for size in image.partition("[")[2].partition("]")[0].split(","))
    made = stages(model, samples(dtype, shape), **rest)
    for sample in [*samples(dtype, shape), *made.extremes()]:
        made.run(sample)
    return made


CAST = "f = Cast <to = 1> (x)\n "
EVEN = {
    "raw": (f"{CAST}n = Identity (f)", IMAGE, ""),
    "over 255": (f"{CAST}n = Div (f, k)", IMAGE, "float k"),
    "between -1 and 1, signed": (f"{CAST}n = Div (f, k)", "int8[1,3,6,5] x", "float k"),
    "a frame, channels last": (f"{CAST}d = Div (f, k)\n n = Transpose <perm = [0,3,1,2]> (d)", FRAME, "float k"),
    "turned before the cast": (
        "t = Transpose <perm = [0,3,1,2]> (x)\n f = Cast <to = 1> (t)\n n = Div (f, k)",
        FRAME,
        "float k",
    ),
    "a flat frame": (f"{CAST}d = Div (f, k)\n n = Reshape (d, i)", "uint8[90] x", "float k, int64[4] i"),
}


@pytest.mark.parametrize("case", EVEN)
def test_even_steps_cost_a_change_of_sign_and_lose_nothing(case: str, stages: Any, text: Any) -> None:
    body, image, weights = EVEN[case]
    made = compiled(stages, text, body, image, weights, values={"i": [1, 3, 6, 5]})
    before = made.calls[: made.calls.index("Conv")]
    assert set(before) <= {"ConvertSign", "Transpose"}
    assert ("ConvertSign" in before) == image.startswith("uint8")
    assert not {"Table", "ChannelTable"} & set(made.calls)


UNEVEN = {
    "one mean": (f"{CAST}d = Sub (f, h)\n a = Mul (d, d)\n n = Div (a, k)", IMAGE, "float h, float k", {}),
    "a mean and a deviation for each channel": (
        f"{CAST}d = Div (f, k)\n a = Sub (d, m)\n n = Div (a, s)",
        IMAGE,
        PER_FIRST,
        FIRST,
    ),
    "channels last, then turned": (
        f"{CAST}d = Div (f, k)\n a = Sub (d, m)\n e = Div (a, s)\n n = Transpose <perm = [0,3,1,2]> (e)",
        FRAME,
        PER_LAST,
        LAST,
    ),
    "turned between": (
        f"{CAST}a = Sub (f, m)\n t = Transpose <perm = [0,3,1,2]> (a)\n n = Div (t, k)",
        FRAME,
        "float k, float[3] m",
        {"m": 255 * MEAN},
    ),
    "signed, a mean for each channel": (f"{CAST}n = Sub (f, m)", "int8[1,3,6,5] x", "float[1,3,1,1] m", {}),
    "the deviation first": (
        "t = Transpose <perm = [0,3,1,2]> (x)\n f = Cast <to = 1> (t)\n d = Div (f, s)\n n = Sub (d, m)",
        FRAME,
        "float[3,1,1] m, float[3,1,1] s",
        {"m": FIRST["m"], "s": 255 * FIRST["s"]},
    ),
}


@pytest.mark.parametrize("case", UNEVEN)
def test_anything_else_is_one_table_on_the_integers_that_come_in(case: str, stages: Any, text: Any) -> None:
    body, image, weights, values = UNEVEN[case]
    made = compiled(stages, text, body, image, weights, values=values)
    before = made.calls[: made.calls.index("Conv")]
    assert before.count("ChannelTable") + before.count("Table") == 1
    assert set(before) <= {"ChannelTable", "Table", "Transpose"}


def test_padding_is_the_zero_of_the_normalised_image(stages: Any, text: Any) -> None:
    body, image, weights, values = UNEVEN["a mean and a deviation for each channel"]
    made = compiled(stages, text, body, image, weights, values=values)
    for sample in samples(np.uint8, (1, 3, 6, 5)):
        assert made.error(sample) <= 1


def test_channels_that_are_too_many_for_a_table_each_stay_a_sum(stages: Any, text: Any) -> None:
    model = text("f = Cast <to = 1> (x)\n y = Sub (f, m)", "uint8[1,40,2,2] x", weights="float[1,40,1,1] m")
    made = stages(model, samples(np.uint8, (1, 40, 2, 2)))
    assert "Add" in made.calls and "ChannelTable" not in made.calls
    for sample in made.extremes():
        made.run(sample)


def test_constants_along_two_axes_are_no_table(stages: Any, text: Any) -> None:
    body = "f = Cast <to = 1> (x)\n a = Sub (f, m)\n y = Sub (a, r)"
    model = text(body, IMAGE, weights="float[3,1,1] m, float[6,1] r")
    made = stages(model, samples(np.uint8, (1, 3, 6, 5)))
    assert made.calls.count("ChannelTable") == 1 and "Add" in made.calls
    for sample in made.extremes():
        made.run(sample)


@pytest.mark.parametrize("format", ["int4", "int16"])
def test_pixels_keep_their_eight_bits_whatever_activations_have(format: str, stages: Any, text: Any) -> None:
    options = QuantizeOptions(activations=activation_format(format))
    body, image, weights = EVEN["over 255"]
    compiled(stages, text, body, image, weights, options=options, outputs="float")


def test_a_float_input_becomes_uint8(stages: Any, text: Any) -> None:
    plain = text(f"n = Div (x, k)\n {CONV}", "float[1,3,6,5] x", weights=f"{WEIGHTS}, float k", values={"k": 255.0})
    assert float_inputs(plain) == ["x"]
    model = take_pixels(plain, ["x"])
    made = stages(model, samples(np.uint8, (1, 3, 6, 5)))
    assert made.program.inputs[0].dtype == "uint8" and made.calls[0] == "ConvertSign"
    assert made.run(samples(np.uint8, (1, 3, 6, 5))[0])


def test_an_input_that_leaves_the_model_keeps_its_type(text: Callable[..., onnx.ModelProto]) -> None:
    model = text("y = Relu (x)", "float[4] x")
    model.graph.output.append(model.graph.input[0])
    assert float_inputs(model) == []
