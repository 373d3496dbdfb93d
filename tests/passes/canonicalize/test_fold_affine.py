import numpy as np
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


STORED = "v = DequantizeLinear <axis = 0> (q, s)\n c = Conv(x, v)\n y = Mul(c, k)"


@pytest.mark.parametrize("scales", ["float s", "float[4] s"])
def test_a_quantized_convolution_keeps_its_integers_and_takes_the_factors_into_its_scales(
    model, apply, operators, scales
) -> None:
    subject = model(STORED, weights=f"int8[4,3,3,3] q, {scales}, float[4,1,1] k", values={"q": stored((4, 3, 3, 3))})
    result = apply(subject, FoldAffine())
    assert operators(result) == ["DequantizeLinear", "Conv"]
    codes = result.graph.nodes[0].inputs[0].values
    assert codes.dtype == np.int8
    np.testing.assert_array_equal(codes, stored((4, 3, 3, 3)))


def test_a_factor_below_zero_negates_the_stored_integers_and_zero_makes_them_zeros(model, apply, operators) -> None:
    factors = np.reshape([2.0, -3.0, 0.0, 1.0], (4, 1, 1))
    subject = model(
        STORED, weights="int8[4,3,3,3] q, float s, float[4,1,1] k", values={"q": stored((4, 3, 3, 3)), "k": factors}
    )
    result = apply(subject, FoldAffine())
    codes, scale = (tensor.values for tensor in result.graph.nodes[0].inputs[:2])
    np.testing.assert_array_equal(codes, stored((4, 3, 3, 3)) * np.reshape([1, -1, 0, 1], (4, 1, 1, 1)))
    assert (scale > 0).all()


def test_stored_integers_that_cannot_be_negated_stay(model, apply) -> None:
    subject = model(
        STORED,
        weights="int8[4,3,3,3] q, float s, float[4,1,1] k",
        values={"q": np.full((4, 3, 3, 3), -128), "k": np.full((4, 1, 1), -1.0)},
    )
    result = apply(subject, FoldAffine())
    assert not result.modified
    assert "leave the range" in result.notes[0].text


@pytest.mark.parametrize(
    ("body", "weights", "reason"),
    [
        (
            "v = DequantizeLinear <axis = 1> (q, s)\n c = Conv(x, v)\n y = Mul(c, k)",
            "int8[4,3,3,3] q, float[3] s, float[4,1,1] k",
            "along another axis",
        ),
        (
            "v = DequantizeLinear <axis = 1, block_size = 3> (q, s)\n c = Conv(x, v)\n y = Mul(c, k)",
            "int8[4,3,3,3] q, float[4,1,3,3] s, float[4,1,1] k",
            "in blocks",
        ),
    ],
)
def test_stored_weights_whose_scales_are_not_of_output_channels_stay(model, apply, body, weights, reason) -> None:
    result = apply(model(body, weights=weights, values={"q": stored((4, 3, 3, 3))}), FoldAffine())
    assert not result.modified
    assert reason in result.notes[0].text


def stored(shape: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng(1).integers(-127, 128, shape)
