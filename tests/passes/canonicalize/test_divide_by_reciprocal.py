"""A quotient by a function of one tensor becomes a product; others stay."""

import pytest

from bevel.passes.canonicalize import canonicalize
from bevel.passes.canonicalize.divide_by_reciprocal import DivideByReciprocal

TWO = "float[1,8] x, float[1,8] d"


@pytest.mark.parametrize("divisor", ["s = Sigmoid(d)", "e = Exp(d)\n s = Add(e, one)"])
def test_a_divisor_that_is_a_function_of_one_tensor_becomes_its_reciprocal(model, apply, operators, divisor) -> None:
    subject = model(f"{divisor}\n y = Div(x, s)", TWO, weights="float one", values={"one": 1.0})
    result = apply(subject, DivideByReciprocal())
    assert operators(result)[-2:] == ["Reciprocal", "Mul"]
    assert "became a product" in result.notes[0].text


def test_the_divisor_may_be_broadcast(model, apply, operators) -> None:
    subject = model("m = ReduceMean(x, a)\n e = Exp(m)\n y = Div(x, e)", "float[2,8] x", weights="int64[1] a")
    assert operators(apply(subject, DivideByReciprocal())) == ["ReduceMean", "Exp", "Reciprocal", "Mul"]


@pytest.mark.parametrize(
    ("body", "inputs"),
    [
        ("y = Div(x, d)", TWO),  # the divisor is no function of another tensor
        ("s = Sigmoid(x)\n y = Div(x, s)", "float[1,8] x"),  # the quotient itself is a function of x
        ("s = Sigmoid(d)\n y = Div(one, s)", "float[1,8] d"),  # so is this one
        ("m = Mul(x, d)\n y = Div(x, m)", TWO),  # a function of two tensors
    ],
)
def test_other_quotients_stay(model, apply, body, inputs) -> None:
    assert not apply(model(body, inputs, weights="float one"), DivideByReciprocal()).modified


def test_a_model_that_came_quantized_keeps_its_quotients(text) -> None:
    body = """
        dq = QuantizeLinear(d, s, z)
        dd = DequantizeLinear(dq, s, z)
        e = Sigmoid(dd)
        y = Div(x, e)
    """
    subject = text(body, TWO, weights="float s, int8 z", values={"s": 0.1, "z": 0})
    assert "Div" in [node.op for node in canonicalize(subject)[0].nodes]
