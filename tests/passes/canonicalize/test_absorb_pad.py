import pytest

from bevel.passes.canonicalize.absorb_pad import AbsorbPad
from bevel.passes.canonicalize.unify_conv import UnifyConv
from bevel.passes.canonicalize.unify_pool import UnifyPool

PASSES = (UnifyConv(), UnifyPool(), AbsorbPad())
WEIGHTS = (
    "float[4,3,3,3] w, int64[8] p, int64[8] channels, int64[8] crop, int64[4] short, int64[2] axes,"
    " float one, float low, float[3,4,3,3] v"
)
VALUES = {
    "p": [0, 0, 1, 0, 0, 0, 2, 1],
    "channels": [0, 1, 0, 0, 0, 0, 0, 0],
    "crop": [0, 0, -1, 0, 0, 0, 0, 0],
    "short": [1, 0, 2, 1],
    "axes": [-2, 3],
    "one": 1.0,
    "low": -3.4028235e38,
}
AVERAGE = "AveragePool <kernel_shape = [3,3]{}> (a)"


@pytest.mark.parametrize(
    ("body", "op", "pads"),
    [
        ("a = Pad(x, p)\n y = Conv(a, w)", "Conv", [1, 0, 2, 1]),
        ("a = Pad(x, p)\n y = Conv <pads = [1,1,0,0]> (a, w)", "Conv", [2, 1, 2, 1]),
        ("a = Pad(x, short, , axes)\n y = Conv(a, w)", "Conv", [1, 0, 2, 1]),
        ("a = Pad(x, p)\n y = " + AVERAGE.format(""), "AveragePool", [1, 0, 2, 1]),
        ("a = Pad(x, p, low)\n y = MaxPool <kernel_shape = [3,3]> (a)", "MaxPool", [1, 0, 2, 1]),
        ("r = Relu(x)\n a = Pad(r, p)\n y = MaxPool <kernel_shape = [3,3]> (a)", "MaxPool", [1, 0, 2, 1]),
    ],
)
def test_a_pad_is_absorbed_where_the_window_pads_alike(model, apply, body, op, pads) -> None:
    result = apply(model(body, weights=WEIGHTS, values=VALUES), *PASSES)
    last = result.graph.nodes[-1]
    assert "Pad" not in [node.op for node in result.graph.nodes]
    assert (last.op, last.attrs["pads"]) == (op, pads)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("a = Pad(x, p, one)\n y = Conv(a, w)", "need zeros"),
        ('a = Pad <mode = "reflect"> (x, p)\n y = Conv(a, w)', "it pads by reflect"),
        ("b = Concat <axis = 1> (x)\n a = Pad(b, channels)\n y = Relu(a)", "the batch or the channels"),
        ("a = Pad(x, crop)\n y = Conv(a, w)", "it crops"),
        ("a = Pad(x, p)\n y = MaxPool <kernel_shape = [3,3]> (a)", "can be larger than its input"),
        ("a = Pad(x, p)\n y = MaxPool <kernel_shape = [2,2]> (a)", "can be larger"),
        ("a = Pad(x, p)\n y = AveragePool <kernel_shape = [2,2]> (a)", "as wide as the window"),
        ("a = Pad(x, p)\n y = " + AVERAGE.format(", pads = [1,1,1,1]"), "does not count its own padding"),
        ("a = Pad(x, p)\n y = Conv(a, w)\n z = Relu(a)", "has no padding of its own"),
        ("a = Pad(x, p)\n y = Relu(a)", "has no padding of its own"),
        ("a = Pad(x, p)\n y = ConvTranspose(a, v)", "cannot absorb padding"),
    ],
)
def test_other_pads_stay_and_say_why(model, apply, operators, body, reason) -> None:
    outputs = "float[] y, float[] z" if " z = " in body else "float[] y"
    subject = model(body, outputs=outputs, weights=WEIGHTS, values=VALUES)
    result = apply(subject, *PASSES)
    assert "Pad" in operators(result)
    assert reason in result.notes[-1].text


def test_a_pad_before_two_convolutions_is_absorbed_by_both(model, apply, operators) -> None:
    body = "a = Pad(x, p)\n b = Conv(a, w)\n c = Conv(a, w)\n y = Add(b, c)"
    assert operators(apply(model(body, weights=WEIGHTS, values=VALUES), *PASSES)) == ["Conv", "Conv", "Add"]


def test_a_pad_that_is_also_an_output_stays(model, apply, operators) -> None:
    subject = model("a = Pad(x, p)\n y = Conv(a, w)", outputs="float[] y, float[] a", weights=WEIGHTS, values=VALUES)
    assert operators(apply(subject, *PASSES)) == ["Pad", "Conv"]
