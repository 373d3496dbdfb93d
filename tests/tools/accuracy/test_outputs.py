"""What an output is, and the parts it was joined from, are read from the graph."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from bevel.tools.accuracy.outputs import describe_outputs, with_scores

KINDS = {
    "logits": ("y = Identity (x)", "float[2,5] y", "numbers"),
    "probabilities": ("s = Softmax (x) y = Identity (s)", "float[2,5] y", "scores"),
    "probabilities reshaped": (
        "s = Softmax (x) y = Reshape (s, shape)",
        "float[2,5] y",
        "scores",
    ),
    "probabilities of pixels": ("r = Reshape (x, pixels) y = Softmax (r)", "float[2,1,5] y", "numbers"),
    "classes": ("y = ArgMax <axis = 1, keepdims = 0> (x)", "int64[2] y", "ids"),
    "classes in a column": ("a = ArgMax <axis = 1> (x) y = Cast <to = 6> (a)", "int32[2,1] y", "ids"),
    "classes as bytes": ("a = ArgMax <axis = 1, keepdims = 0> (x) y = Cast <to = 2> (a)", "uint8[2] y", "ids"),
    "classes as floats": ("a = ArgMax <axis = 1, keepdims = 0> (x) y = Cast <to = 1> (a)", "float[2] y", "ids"),
    "truth": ("y = Greater (x, zero)", "bool[2,5] y", "ids"),
    "a picture of bytes": ("y = Cast <to = 2> (x)", "uint8[2,5] y", "numbers"),
}
JOINED = """agraph (float[1,2,3] x) => (float[1,3,4] y) <int64[3] shape = {1, 4, 3}, float two = {2.0}>
{
    boxes = Exp (x)
    scores = Sigmoid (x)
    both = Concat <axis = 1> (boxes, scores)
    wide = Mul (both, two)
    flat = Reshape (wide, shape)
    y = Transpose <perm = [0, 2, 1]> (flat)
}"""


def model_of(text: str) -> onnx.ModelProto:
    return onnx.shape_inference.infer_shapes(
        onnx.parser.parse_model(f'<ir_version: 10, opset_import: ["" : 21]>\n{text}')
    )


@pytest.mark.parametrize("name", KINDS)
def test_the_kind_of_an_output(name: str) -> None:
    body, output, kind = KINDS[name]
    constants = "<int64[2] shape = {2, 5}, int64[3] pixels = {2, 1, 5}, float zero = {0.0}>"
    model = model_of(f"agraph (float[2,5] x) => ({output}) {constants} {{ {body} }}")
    assert describe_outputs(model)["y"].kind == kind


def test_each_element_knows_its_part_through_moves_and_scales() -> None:
    found = describe_outputs(model_of(JOINED))["y"]
    assert found.parts == ("boxes", "scores")
    assert found.where is not None and found.where.tolist() == [[[0, 0, 1, 1]] * 3]


def test_parts_of_parts_are_parts() -> None:
    text = """agraph (float[1,2] x) => (float[1,5] y) <float[1,1] one = {1.0}>
    { a = Exp (x) s = Sigmoid (x) b = Identity (s) ab = Concat <axis = 1> (a, b) y = Concat <axis = 1> (one, ab) }"""
    found = describe_outputs(model_of(text))["y"]
    assert found.parts == ("one", "a", "b")
    assert found.where is not None and np.array_equal(found.where, [[0, 1, 1, 2, 2]])


@pytest.mark.parametrize(
    "text",
    [
        "agraph (float[1,2] x) => (float[1,4] y) { c = Concat <axis = 1> (x, x) y = Softmax (c) }",
        "agraph (float[1,2] x) => (float[1,2] y) <float[4,2] w = {1, 2, 3, 4, 5, 6, 7, 8}>"
        "{ c = Concat <axis = 1> (x, x) y = MatMul (c, w) }",
        "agraph (float[1,2] x) => (float[1,2] y) { y = Concat <axis = 1> (x) }",
    ],
    ids=["mixed by a Softmax", "mixed by a product", "of one"],
)
def test_what_mixes_elements_has_no_parts(text: str) -> None:
    assert describe_outputs(model_of(text))["y"].parts == ()


def test_a_tensor_that_is_joined_twice_is_one_part() -> None:
    text = """agraph (float[1,2] x) => (float[1,6] y)
    { a = Exp (x) b = Sigmoid (x) y = Concat <axis = 1> (a, b, a) }"""
    found = describe_outputs(model_of(text))["y"]
    assert found.parts == ("a", "b")
    assert found.where is not None and found.where.tolist() == [[0, 0, 1, 1, 0, 0]]


def test_class_numbers_give_way_to_what_they_are_chosen_from() -> None:
    model = model_of("""agraph (float[1,4] x) => (int32[1] y, float[1,4] p)
    { p = Softmax (x) a = ArgMax <axis = 1, keepdims = 0> (p) y = Cast <to = 6> (a) }""")
    assert [value.name for value in with_scores(model).graph.output] == ["y/scores", "p"]
    logits = model_of("agraph (float[1,4] x) => (float[1,4] p) { p = Softmax (x) }")
    assert with_scores(logits) is logits
