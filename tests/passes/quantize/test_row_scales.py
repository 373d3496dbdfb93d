"""A scale for each row of what products by weights read: which may have it, when it is taken, and what devices do."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from bevel.backends.target import load
from bevel.calib.arithmetic.round_rows import round_rows
from bevel.calib.formats.format import INT8, INT16, IntFormat
from bevel.calib.observe.observe import observe
from bevel.passes.assign.assign_schemes import AssignSchemes
from bevel.passes.base import Work
from bevel.passes.canonicalize import canonicalize
from bevel.passes.quantize import NodeFormat, QuantizeOptions, export
from bevel.passes.quantize.plan import make_plan
from bevel.passes.quantize.row_scales import WHOLE, RowScales, find_candidates, whole_samples

INT4 = IntFormat(4, signed=True)
WEIGHTS = "float[8,16] w, float[16] b, float[16,3] v"
TWO_LAYERS = "a = MatMul (x, w)\n c = Add (a, b)\n h = Erf (c)\n y = MatMul (h, v)"
TOKENS = "float[6,8] x"


def runs_of(gains: np.ndarray, count: int = 16) -> list[dict[str, Any]]:
    rng = np.random.default_rng(0)
    return [{"x": (gains * rng.standard_normal((6, 8))).astype(np.float32)} for _ in range(count)]


LOUD = runs_of(np.array([[100.0], [1], [1], [1], [1], [1]]))


def worked(
    text: Any,
    body: str,
    runs: Any,
    format: str,
    rows: str = "auto",
    weights: str = WEIGHTS,
    others: str = "int8",
    renamed: dict[str, str] | None = None,
    target: str | None = None,
) -> Work:
    """format: of what products by weights read; renamed: how the tensors of these names are called, before all."""
    graph, _ = canonicalize(text(body, TOKENS, "float[] y", weights), runs[:1])
    for name, other in (renamed or {}).items():
        graph.tensors()[name].name = other
    work = Work(
        graph,
        None if target is None else load(target),
        data=runs,
        observations=observe(export(graph), runs, QuantizeOptions().wants(graph)),
    )
    assigned = AssignSchemes(activations=others, product_inputs=format)(work).work
    return RowScales(rows)(assigned).work  # type: ignore[arg-type]


LINEAR = "a = MatMul (x, w)\n c = Add (a, b)\n h = Add (c, c)\n y = MatMul (h, v)"


def test_a_loud_row_gives_the_others_scales_of_their_own(text: Any) -> None:
    work = worked(text, LINEAR, LOUD, "int4")
    assert {one.rows for one in work.schemes.nodes.values()} == {INT4}
    (note,) = (one for one in work.notes if one.pass_ == "row-scales")
    assert note.kind == "chosen" and note.text.startswith("a scale for each row: int4 of it alone leaves")
    assert note.numbers["row_scales_alone_db"] > note.numbers["one_scale_alone_db"] + 0.5
    assert note.numbers["row_scales_db"] > note.numbers["one_scale_db"] + 0.5


@pytest.mark.parametrize(("format", "said"), [("int4", 1), ("int8", 0)])
def test_streams_keep_no_rows_unless_asked(format: str, said: int, text: Any) -> None:
    work = worked(text, LINEAR, LOUD, format, target="artix7-35")
    assert not any(one.rows for one in work.schemes.nodes.values())
    assert [note.kind for note in work.notes if note.pass_ == RowScales.name] == ["refused"] * said
    asked = worked(text, LINEAR, LOUD, format, "on", target="artix7-35")
    assert any(one.rows for one in asked.schemes.nodes.values()) == (format == "int4")


def test_a_tensor_of_the_model_may_be_called_as_one_with_rows_would_be(text: Any) -> None:
    work = worked(text, LINEAR, LOUD, "int4", renamed={"h": "h/rows"})
    plain = worked(text, LINEAR, LOUD, "int4")
    assert [one.numbers for one in work.notes] == [one.numbers for one in plain.notes]


def test_a_tensor_that_one_scale_holds_exactly_keeps_it(text: Any) -> None:
    """Integers from -8 to 7, of which hardly any row has both ends."""
    rng, runs = np.random.default_rng(0), []
    for _ in range(16):
        x = rng.integers(-8, 7, (6, 8)).astype(np.float32)
        x[0, :2] = -8, 7
        runs.append({"x": x})
    work = worked(text, "h = Add (x, x)\n y = MatMul (h, w)", runs, "int4", weights="float[8,16] w")
    (note,) = (one for one in work.notes if one.pass_ == "row-scales")
    assert note.kind == "refused" and not any(one.rows for one in work.schemes.nodes.values())


def test_the_whole_is_judged_by_samples_from_everywhere(text: Any, monkeypatch: Any) -> None:
    graph, _ = canonicalize(text(LINEAR, TOKENS, "float[] y", WEIGHTS))
    runs = [{"x": np.full((6, 8), place, np.float32)} for place in range(2 * WHOLE)]
    assert [one["x"][0, 0] for one in whole_samples(runs, graph)] == list(range(0, 2 * WHOLE, 2))
    monkeypatch.setattr("bevel.passes.quantize.row_scales.ROOM", 4 * (6 * 8 + 6 * 3))
    assert [one["x"][0, 0] for one in whole_samples(runs, graph)] == [0, WHOLE / 2, WHOLE, 3 * WHOLE / 2]


def test_at_8_bits_it_must_be_asked_for(text: Any) -> None:
    """With all else at 16 bits, for the model's input and its result at 8 lose more than one scale for all rows."""

    def rows_of(format: str, rows: str) -> set[Any]:
        return {one.rows for one in worked(text, LINEAR, LOUD, format, rows, others="int16").schemes.nodes.values()}

    assert rows_of("int8", "auto") == {None} and rows_of("int8", "on") == {INT8}
    assert rows_of("int4", "off") == {None} and rows_of("int4", "auto") == {INT4}


@pytest.mark.parametrize(
    ("body", "inputs", "weights"),
    [
        ("y = MatMul (x, v)", "float[6,16] x", "float[16,3] v"),  # the model's input
        ("s = Add (x, x)\n y = Conv (s, w)", "float[1,4,5,5] x", "float[3,4,3,3] w"),  # sums of several positions
        ("s = Add (x, x)\n t = Transpose <perm = [1,0]> (s)\n y = MatMul (s, t)", "float[6,16] x", ""),  # no weights
        ("s = Add (x, x)\n y = Add (s, v)", "float[6,16] x", "float[16] v"),  # no product
    ],
)
def test_other_tensors_have_no_rows(text: Any, body: str, inputs: str, weights: str) -> None:
    graph, _ = canonicalize(text(body, inputs, "float[] y", weights))
    assert find_candidates(make_plan(graph), QuantizeOptions(activations=INT4).chosen, 8) == []


def test_a_format_that_is_no_signed_integer_of_2_to_8_bits_has_no_rows(text: Any) -> None:
    graph, _ = canonicalize(text(LINEAR, TOKENS, "float[] y", WEIGHTS))
    plan = make_plan(graph)
    for format in (INT16, IntFormat(4, signed=False), IntFormat(1, signed=False)):
        assert find_candidates(plan, QuantizeOptions(activations=format).chosen, 8) == []
    assert len(find_candidates(plan, QuantizeOptions(activations=IntFormat(2, signed=True)).chosen, 8)) == 1


def quantized_values(made: Any, name: str, sample: dict[str, Any]) -> Any:
    copy = onnx.ModelProto()
    copy.CopyFrom(made.quantized)
    copy.graph.output.append(onnx.ValueInfoProto(name=name))
    return ort.InferenceSession(copy.SerializeToString(), providers=["CPUExecutionProvider"]).run([name], sample)[0]


@pytest.mark.parametrize("format", [INT8, INT4, IntFormat(2, signed=True)])
@pytest.mark.parametrize("weights", ["int8", "int4"])
def test_devices_answer_as_the_integer_model(format: IntFormat, weights: str, text: Any, stages: Any) -> None:
    model = text(TWO_LAYERS.replace("Erf", "Relu"), TOKENS, "float[] y", WEIGHTS)
    node = next(one.name for one in canonicalize(model)[0].nodes if one.op == "Relu")
    nodes = {node: NodeFormat(activations=INT16, rows=format)}
    options = QuantizeOptions(weights=IntFormat(int(weights[3:]), signed=True), nodes=nodes)
    made = stages(model, LOUD, options)
    assert made.ops.count("RoundRows") == 1 and made.calls.count("RoundRows") == 1
    for sample in made.extremes():
        made.run(sample)
        assert made.error(sample) <= 1
    codes = quantized_values(made, "h/quantized", LOUD[0])
    assert np.array_equal(quantized_values(made, "h/rounded", LOUD[0]), round_rows(codes, 2**format.bits - 1))


def test_who_is_no_product_by_weights_reads_what_is_not_rounded(text: Any, stages: Any) -> None:
    model = text("h = Add (x, x)\n m = MatMul (h, u)\n y = Add (m, h)", TOKENS, "float[] y", "float[8,8] u")
    made = stages(model, LOUD, QuantizeOptions(nodes={"h": NodeFormat(activations=INT16, rows=INT4)}))
    (sum_,) = (node for node in made.quantized.graph.node if node.op_type == "Add" and "y" in node.output[0])
    assert "h/dequantized" in sum_.input and "h/rows/dequantized" not in sum_.input
    for sample in made.extremes():
        made.run(sample)


def test_inputs_of_products_have_the_format_that_is_asked_for_them_alone(text: Any) -> None:
    nodes = worked(text, LINEAR, LOUD, "int4", "off").schemes.nodes
    assert {one.activations for one in nodes.values()} == {INT4} and len(nodes) == 1  # not of x, a port
