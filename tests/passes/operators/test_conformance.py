"""Every operator: kernels equal onnxruntime bit for bit, stay near the float operator, and leave no float inside."""

from __future__ import annotations

import re
from typing import Any

import onnxruntime as ort
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from bevel.passes.base import FLOAT_KINDS
from bevel.passes.graph.regions import ONE_INPUT
from bevel.passes.partition.listed_operators import Listed, listed_operators
from bevel.passes.quantize import QuantizeOptions
from bevel.passes.quantize.formats import activation_format, weight_format
from operator_cases import ALL, CASES
from operator_cases.case import Case

# In test_arg_max.py, in test_compare.py, and among the tests of canonicalization
ELSEWHERE = {"ArgMax", "ArgMin", "BatchNormalization", "Dropout", "Identity"}
ELSEWHERE |= {"Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual"}
# Around these means all calibration data is negative, mixed, positive: zero points at the top, inside, at the bottom.
MEANS = (-6.0, 0.0, 6.0)


def test_no_two_cases_have_one_name() -> None:
    assert len(CASES) == sum(map(len, ALL))


@pytest.mark.parametrize("row", listed_operators(), ids=lambda row: row.ops[0])
def test_every_operator_of_the_list_has_a_case(row: Listed) -> None:
    tested = " ".join(case.body for case in CASES.values())
    without = {op for op in row.ops if not re.search(rf"\b{op} ?[<(]", tested)}
    assert without <= ONE_INPUT | ELSEWHERE


def conforms(case: Case, mean: float, text: Any, stages: Any, floats: Any, around: Any) -> None:
    model = case.model(text)
    made = stages(model, around(model, mean))
    assert floats(made.integer) == set(), made.notes
    assert {port.dtype for port in (*made.program.inputs, *made.program.outputs)} == {"int8"}
    for sample in made.extremes():
        assert made.error(sample) <= case.steps


@pytest.mark.parametrize("mean", MEANS)
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_operator_on_integers_is_the_same_everywhere(
    case: Case, mean: float, text: Any, stages: Any, floats: Any, around: Any
) -> None:
    conforms(case, mean, text, stages, floats, around)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_operator_between_floats_is_the_same_everywhere(case: Case, text: Any, stages: Any, floats: Any) -> None:
    model = case.model(text)
    made = stages(model, inputs="float", outputs="float")
    assert floats(made.integer) == set(), made.notes
    for sample in made.extremes():
        made.run(sample)


# Weights and activations; every case runs in one of them.
FORMATS = (
    ("int4", "int4"),
    ("e2m1", "e2m1"),
    ("ternary", "e2m3"),
    ("uint4", "uint4"),
    ("int2", "int6"),
    ("log4", "log3"),
)
FORMAT_CASES = [(case, *FORMATS[index % len(FORMATS)]) for index, case in enumerate(CASES.values())]


@pytest.mark.parametrize(("case", "weights", "activations"), FORMAT_CASES, ids=CASES)
def test_operator_in_other_formats_is_the_same_everywhere(
    case: Case, weights: str, activations: str, text: Any, stages: Any, floats: Any, around: Any
) -> None:
    options = QuantizeOptions(weights=weight_format(weights), activations=activation_format(activations))
    model = case.model(text)
    made = stages(model, around(model, 0.5), options)
    assert floats(made.integer) == set(), made.notes
    for sample in made.extremes():
        made.run(sample)


# Activations wider than int8, next to weights of either kind; every case runs in one of them.
WIDE = (
    ("int8", "int16"),
    ("int4", "e3m2"),
    ("int8", "e4m3"),
    ("e2m1", "mxfp4"),
    ("int8", "int12"),
    ("e2m1", "e3m4"),
    ("int8", "mxint8"),
    ("int8", "log5"),
)
WIDE_CASES = [(case, *WIDE[index % len(WIDE)]) for index, case in enumerate(CASES.values())]


@pytest.mark.parametrize(("case", "weights", "activations"), WIDE_CASES, ids=CASES)
def test_operator_on_wide_activations_is_the_same_everywhere(
    case: Case, weights: str, activations: str, text: Any, stages: Any, around: Any
) -> None:
    options = QuantizeOptions(weights=weight_format(weights), activations=activation_format(activations))
    model = case.model(text)
    made = stages(model, around(model, 0.5), options)
    assert not [note for note in made.notes if note.kind in FLOAT_KINDS]
    for sample in made.extremes():
        made.run(sample)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_operator_asked_for_int16_reads_and_makes_nothing_narrower(
    case: Case, text: Any, stages: Any, around: Any
) -> None:
    options = QuantizeOptions(activations=activation_format("int16"))
    model = case.model(text)
    made = stages(model, around(model, -0.5), options)
    assert not [note for note in made.notes if note.kind in FLOAT_KINDS]
    buffers = made.program.buffers.items()
    kinds = {buffer.dtype for name, buffer in buffers if name not in made.program.constants}
    assert kinds == {"int16"} | ({"int64"} if "ArgMax" in case.body else set())  # which makes indices
    for sample in made.extremes():
        assert made.error(sample) <= (case.int16_steps or case.steps + 1)


@pytest.mark.parametrize(("weights", "activations"), FORMATS)
def test_product_in_other_formats_is_near_the_quantized_model(
    weights: str, activations: str, text: Any, stages: Any, around: Any
) -> None:
    options = QuantizeOptions(weights=weight_format(weights), activations=activation_format(activations))
    for name in ("conv relu", "conv depthwise", "conv transpose stride 2", "gemm transB", "add", "mul", "max pool"):
        case = CASES[name]
        model = case.model(text)
        made = stages(model, around(model), options)
        for sample in made.extremes():
            assert made.error(sample) <= 1


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_quantized_model_of_every_operator_loads_in_stock_onnxruntime(case: Case, text: Any, stages: Any) -> None:
    model = case.model(text)
    made = stages(model)
    opened = ort.InferenceSession(made.shipped.SerializeToString(), providers=["CPUExecutionProvider"])
    assert [port.name for port in opened.get_outputs()] == [port.name for port in model.graph.output]


WINDOWS = st.tuples(st.integers(1, 4), st.integers(1, 3), st.integers(1, 2), st.integers(0, 2), st.integers(0, 2))


@st.composite
def windows(draw: st.DrawFn) -> tuple[int, int, str]:
    """Height and width of an image, and the attributes of a window that fits it; pads are smaller than the window."""
    sizes, axes = [], [draw(WINDOWS) for _ in range(2)]
    fitting = []
    for kernel, stride, dilation, before, after in axes:
        reach = dilation * (kernel - 1) + 1
        before, after = min(before, kernel - 1), min(after, kernel - 1)
        sizes.append(draw(st.integers(max(1, reach - before - after), 7)))
        fitting.append((kernel, stride, dilation, before, after))
    kernels, strides, dilations, begins, ends = (list(values) for values in zip(*fitting, strict=True))
    given = f"kernel_shape = {kernels}, strides = {strides}, dilations = {dilations}, pads = {begins + ends}"
    return sizes[0], sizes[1], given


@settings(max_examples=40)
@given(windows(), st.integers(1, 3), st.integers(1, 2), st.integers(1, 2), st.sampled_from(MEANS))
def test_convolution_of_any_shape_conforms(
    text: Any, stages: Any, floats: Any, around: Any, window: Any, groups: int, per_in: int, per_out: int, mean: float
) -> None:
    height, width, given = window
    kernel = given.split("[")[1].split("]")[0]
    channels = groups * per_out
    body = f"y = Conv <{given}, group = {groups}> (x, w, b)"
    weights = f"float[{channels},{per_in},{kernel}] w, float[{channels}] b"
    conforms(Case(body, f"float[1,{groups * per_in},{height},{width}] x", weights), mean, text, stages, floats, around)


@settings(max_examples=30)
@given(windows(), st.integers(1, 3), st.sampled_from(MEANS))
def test_pooling_of_any_shape_conforms(
    text: Any, stages: Any, floats: Any, around: Any, window: Any, channels: int, mean: float
) -> None:
    height, width, given = window
    case = Case(f"y = MaxPool <{given}> (x)", f"float[2,{channels},{height},{width}] x")
    conforms(case, mean, text, stages, floats, around)


@settings(max_examples=40)
@given(windows(), st.integers(1, 2), st.integers(1, 2), st.integers(0, 1), st.sampled_from(MEANS))
def test_transposed_convolution_of_any_shape_conforms(
    text: Any, stages: Any, floats: Any, around: Any, window: Any, groups: int, per_out: int, extra: int, mean: float
) -> None:
    height, width, given = window
    assume(min(height, width) > 4)  # so that the pads leave something of the result
    kernel, strides = (given.split(f"{name} = [")[1].split("]")[0] for name in ("kernel_shape", "strides"))
    extras = [min(extra, int(stride) - 1) for stride in strides.split(", ")]
    body = f"y = ConvTranspose <{given}, group = {groups}, output_padding = {extras}> (x, w, b)"
    weights = f"float[{2 * groups},{per_out},{kernel}] w, float[{groups * per_out}] b"
    conforms(Case(body, f"float[1,{2 * groups},{height},{width}] x", weights), mean, text, stages, floats, around)


@pytest.mark.parametrize(("weights", "activations"), WIDE)
def test_sums_on_wide_activations_are_near_the_quantized_model(
    weights: str, activations: str, text: Any, stages: Any
) -> None:
    options = QuantizeOptions(weights=weight_format(weights), activations=activation_format(activations))
    for name in ("conv relu", "conv depthwise", "gemm transB", "add", "average pool pads", "global average pool"):
        case = CASES[name]
        made = stages(
            case.model(text),
            None,
            options,
            inputs="float",
        )
        for sample in made.extremes():
            assert made.error(sample) <= 1
