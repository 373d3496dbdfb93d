import pytest

from bevel.passes.canonicalize.fold_affine import FoldAffine

CONV = "c = Conv(x, w)\n "
WEIGHTS = "float[4,3,3,3] w, float[4,1,1] k, float[1,4,1,1] t, float s, float[6] row, float[2,4,6,6] whole"


@pytest.mark.parametrize(
    "body",
    [
        "y = Mul(c, k)",
        "y = Mul(k, c)",
        "y = Div(c, k)",
        "y = Add(t, c)",
        "y = Sub(c, t)",
        "y = Sub(t, c)",
        "y = Mul(c, s)",
        "a = Mul(c, k)\n b = Sub(k, a)\n d = Div(b, t)\n y = Add(d, s)",
    ],
)
def test_constants_per_channel_behind_a_convolution_are_absorbed(model, apply, operators, body) -> None:
    result = apply(model(CONV + body, weights=WEIGHTS), FoldAffine())
    assert operators(result) == ["Conv"]


@pytest.mark.parametrize("body", ["y = Mul(c, v)", "y = Sub(v, c)", "y = Add(c, s)", "y = Div(c, v2)"])
def test_constants_per_column_behind_a_gemm_are_absorbed(model, apply, operators, body) -> None:
    subject = model(
        "c = Gemm(x, w, v)\n " + body, "float[2,5] x", weights="float[5,4] w, float[4] v, float s, float[1,4] v2"
    )
    assert operators(apply(subject, FoldAffine())) == ["Gemm"]


def test_a_product_behind_a_grouped_transposed_convolution_is_absorbed(model, apply, operators) -> None:
    subject = model(
        "c = ConvTranspose <group = 2> (x, w)\n y = Mul(c, k)",
        "float[1,6,4,4] x",
        weights="float[6,2,3,3] w, float[4,1,1] k",
    )
    assert operators(apply(subject, FoldAffine())) == ["ConvTranspose"]


@pytest.mark.parametrize(
    ("body", "outputs", "reason"),
    [
        ("y = Div(k, c)", "float[] y", "it divides the constant"),
        ("y = Mul(c, row)", "float[] y", "not one number per channel"),
        ("y = Add(c, whole)", "float[] y", "not one number per channel"),
        ("y = Mul(c, k)\n z = Relu(c)", "float[] y, float[] z", "is used elsewhere too"),
    ],
)
def test_other_constants_stay_and_say_why(model, apply, operators, body, outputs, reason) -> None:
    result = apply(model(CONV + body, outputs=outputs, weights=WEIGHTS), FoldAffine())
    assert not result.modified
    assert reason in result.notes[0].text


def test_a_sum_of_two_activations_is_no_business_of_this_pass(model, apply) -> None:
    result = apply(model(CONV + "d = Relu(c)\n y = Add(d, c)", weights="float[4,3,3,3] w"), FoldAffine())
    assert not result.modified and not result.notes


def test_a_quantized_convolution_keeps_its_stored_weights(model, apply, operators) -> None:
    subject = model(
        "v = DequantizeLinear(q, s)\n c = Conv(x, v)\n y = Mul(c, k)",
        weights="int8[4,3,3,3] q, float s, float[4,1,1] k",
        values={"s": 0.5},
    )
    result = apply(subject, FoldAffine())
    assert not result.modified
    assert "are not constant" in result.notes[0].text
