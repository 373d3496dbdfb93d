"""Heads of detectors, in whose outputs large and small numbers stand side by side: each keeps its accuracy at int8.

Boxes are in pixels, scores in [0, 1]: one scale for both would leave the scores no codes.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest

RNG = np.random.default_rng(8)

# One head on an image of features: boxes as fractions of 320 pixels, scores of four classes.
YOLO_HEAD = """
    f = Conv <strides = [2,2]> (x, w)
    r = Relu (f)
    b = Conv (r, wb)
    bs = Sigmoid (b)
    box = Mul (bs, pixels)
    s = Conv (r, ws)
    score = Sigmoid (s)
    c = Concat <axis = 1> (box, score)
    y = Reshape (c, shape)
"""
YOLO_WEIGHTS = "float[8,3,2,2] w, float[4,8,1,1] wb, float[4,8,1,1] ws, float pixels, int64[3] shape"
YOLO_VALUES = {"pixels": 320.0, "shape": [1, 8, -1]}

# As above at two sizes of features, put together along the places, which then come first.
TWO_HEADS = """
    f = Conv <strides = [2,2]> (x, w)
    r = Relu (f)
    b1 = Conv (r, wb)
    bs1 = Sigmoid (b1)
    box1 = Mul (bs1, pixels)
    s1 = Conv (r, ws)
    score1 = Sigmoid (s1)
    c1 = Concat <axis = 1> (box1, score1)
    y1 = Reshape (c1, shape)
    g = Conv <strides = [2,2]> (r, v)
    q = Relu (g)
    b2 = Conv (q, wb)
    bs2 = Sigmoid (b2)
    box2 = Mul (bs2, more)
    s2 = Conv (q, ws)
    score2 = Sigmoid (s2)
    c2 = Concat <axis = 1> (box2, score2)
    y2 = Reshape (c2, shape)
    all = Concat <axis = 2> (y1, y2)
    y = Transpose <perm = [0,2,1]> (all)
"""
TWO_WEIGHTS = YOLO_WEIGHTS + ", float[8,8,2,2] v, float more"

# The boxes and scores of the head above on lines of their own: no axis says which is which.
FLAT = YOLO_HEAD.replace("c = Concat <axis = 1> (box, score)\n    y = Reshape (c, shape)", "{flat}")
FLAT = FLAT.replace(
    "{flat}",
    """
    b1 = Flatten (box)
    s1 = Flatten (score)
    c = Concat <axis = 1> (b1, s1)
    y = Reshape (c, lines)
""",
)

# Outputs of their own for classes, objectness, boxes and key points at one size, as YuNet has them at three.
MANY_OUTPUTS = """
    f = Conv <strides = [2,2]> (x, w)
    r = Relu (f)
    c = Conv (r, wc)
    ct = Transpose <perm = [0,2,3,1]> (c)
    cf = Reshape (ct, rows)
    cls = Sigmoid (cf)
    o = Conv (r, wo)
    ot = Transpose <perm = [0,2,3,1]> (o)
    of = Reshape (ot, row)
    obj = Sigmoid (of)
    p = Conv (r, wp)
    pt = Transpose <perm = [0,2,3,1]> (p)
    kps = Reshape (pt, points)
    n = Conv (r, wb)
    nt = Transpose <perm = [0,2,3,1]> (n)
    nr = Reshape (nt, rows4)
    bbox = Mul (nr, pixels)
"""
MANY_WEIGHTS = (
    "float[8,3,2,2] w, float[2,8,1,1] wc, float[1,8,1,1] wo, float[10,8,1,1] wp, float[4,8,1,1] wb, "
    "int64[3] rows, int64[3] row, int64[3] points, int64[3] rows4, float pixels"
)
MANY_VALUES = {
    "rows": [1, -1, 2],
    "row": [1, -1, 1],
    "points": [1, -1, 10],
    "rows4": [1, -1, 4],
    "pixels": 32.0,
}


def images(count: int = 6, size: int = 16) -> list[dict[str, Any]]:
    """Noise that neighbouring pixels share."""
    drawn = [RNG.standard_normal((1, 3, size + 2, size + 2)) for _ in range(count)]
    return [{"x": (one[..., :-2, :-2] + one[..., 1:-1, 1:-1] + one[..., 2:, 2:]).astype(np.float32)} for one in drawn]


def results(made: Any, model: onnx.ModelProto, given: list[dict[str, Any]]) -> Iterator[tuple[str, Any, Any]]:
    """(output, what the device gives on all samples, what the float model does), after comparing with onnxruntime."""
    exact = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    for output in exact.get_outputs():
        found = [made.run(one)[output.name] for one in given]
        expected = [exact.run([output.name], one)[0] for one in given]
        yield output.name, np.concatenate(found).astype(np.float64), np.concatenate(expected).astype(np.float64)


def sqnr(found: Any, expected: Any) -> float:
    return float(10 * np.log10((expected**2).sum() / ((found - expected) ** 2).sum()))


@pytest.fixture
def made(text: Any, stages: Any) -> Any:
    def compiled(body: str, weights: str, values: Any, outputs: str = "float[] y", form: str = "float") -> Any:
        model, given = text(body, "float[1,3,16,16] x", outputs, weights, values), images()
        return model, given, stages(model, given, inputs="float", outputs=form)

    return compiled


def test_boxes_and_scores_of_one_output_have_their_own_scales(made: Any) -> None:
    model, given, done = made(YOLO_HEAD, YOLO_WEIGHTS, YOLO_VALUES)
    ((_, found, expected),) = results(done, model, given)
    assert all(sqnr(found[:, channel], expected[:, channel]) > 20 for channel in range(8))
    assert done.ops[-3:] == ["Concat", "Reshape", "DequantizeLinear"]
    assert "its parts leave the model with 2 scales of their own" in done.node_notes("y")


def test_codes_of_unlike_parts_say_what_they_mean(made: Any) -> None:
    model, given, done = made(YOLO_HEAD, YOLO_WEIGHTS, YOLO_VALUES, form="quantized")
    (port,) = done.program.outputs
    assert (port.dtype, port.axis, len(port.scale)) == ("int8", 1, 8)
    assert port.scale == (port.scale[0],) * 4 + (port.scale[4],) * 4
    scale, zero_point = port.parameters
    exact = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    reals = np.concatenate([(done.run(one)["y"].astype(np.int32) - zero_point) * scale for one in given])
    expected = np.concatenate([exact.run(None, one)[0] for one in given])
    assert all(sqnr(reals[:, channel], expected[:, channel]) > 20 for channel in range(8))


def test_boxes_of_several_heads_share_a_scale_and_so_do_their_scores(made: Any) -> None:
    model, given, done = made(TWO_HEADS, TWO_WEIGHTS, YOLO_VALUES | {"more": 300.0})
    ((_, found, expected),) = results(done, model, given)
    assert all(sqnr(found[..., channel], expected[..., channel]) > 20 for channel in range(8))
    (end,) = [node for node in done.integer.graph.node if node.op_type == "DequantizeLinear"]
    scale = next(onnx.numpy_helper.to_array(one) for one in done.integer.graph.initializer if one.name == end.input[1])
    assert scale.shape == (8,) and len(set(scale.tolist())) == 2


def test_parts_that_no_axis_tells_apart_are_put_together_as_floats(made: Any) -> None:
    model, given, done = made(FLAT, YOLO_WEIGHTS + ", int64[2] lines", YOLO_VALUES | {"lines": [-1, 4]})
    ((_, found, expected),) = results(done, model, given)
    boxes = found.shape[0] // 2 // len(given)
    rows = np.arange(len(found)) % (2 * boxes) < boxes
    assert sqnr(found[rows], expected[rows]) > 20 and sqnr(found[~rows], expected[~rows]) > 20


def test_every_output_of_a_detector_with_many_keeps_its_accuracy(made: Any) -> None:
    outputs = "float[] cls, float[] obj, float[] bbox, float[] kps"
    model, given, done = made(MANY_OUTPUTS, MANY_WEIGHTS, MANY_VALUES, outputs)
    assert {name: sqnr(found, expected) > 20 for name, found, expected in results(done, model, given)} == dict.fromkeys(
        ["cls", "obj", "bbox", "kps"], True
    )


def test_parts_of_like_ranges_leave_with_one_scale(made: Any) -> None:
    _, _, done = made(YOLO_HEAD, YOLO_WEIGHTS, YOLO_VALUES | {"pixels": 1.0}, form="quantized")
    (port,) = done.program.outputs
    assert isinstance(port.scale, float)


def test_an_output_that_is_computed_with_leaves_with_the_scales_of_its_parts_all_the_same(
    text: Any, stages: Any
) -> None:
    model = text(
        "c = Concat <axis = 1> (x, z)\n y = Gemm (c, w)",
        "float[1,6] x, float[1,6] z",
        "float[] y, float[] c",
        "float[12,3] w",
    )
    given = [
        {name: (size * RNG.standard_normal((1, 6))).astype(np.float32) for name, size in (("x", 1.0), ("z", 1000.0))}
        for _ in range(8)
    ]
    made = stages(model, given, inputs="float", outputs="float")
    found = {name: (one, other) for name, one, other in results(made, model, given)}
    assert sqnr(found["c"][0][:, :6], found["c"][1][:, :6]) > 30
    assert sqnr(*found["y"]) > 20


SPLIT_HEAD = """
    f = Conv <strides = [2,2]> (x, w)
    r = Relu (f)
    b = Conv (r, wb)
    t = Transpose <perm = [0,2,3,1]> (b)
    s = Sigmoid (t)
    xy, wh, scores = Split <axis = 3> (s, lengths)
    cells = Add (xy, grid)
    places = Mul (cells, stride)
    two = Mul (wh, twice)
    squares = Mul (two, two)
    sizes = Mul (squares, anchor)
    c = Concat <axis = 3> (places, sizes, scores)
    y = Reshape (c, shape)
"""


def test_parts_of_one_split_are_scaled_apart_though_some_are_computed_with(made: Any) -> None:
    weights = (
        "float[8,3,2,2] w, float[7,8,1,1] wb, int64[3] lengths, float[1,8,8,2] grid, float stride, float twice, "
        "float anchor, int64[3] shape"
    )
    grid = np.stack(np.meshgrid(np.arange(8), np.arange(8)), -1)[np.newaxis]
    values = {"lengths": [2, 2, 3], "grid": grid, "stride": 8, "twice": 2, "anchor": 30, "shape": [1, -1, 7]}
    model, given, done = made(SPLIT_HEAD, weights, values)
    ((_, found, expected),) = results(done, model, given)
    assert all(sqnr(found[..., channel], expected[..., channel]) > 20 for channel in range(7))


def test_a_constant_beside_small_parts_stays_what_it_is(made: Any) -> None:
    body = YOLO_HEAD.replace("(box, score)", "(box, anchors, score)")
    model, given, done = made(
        body,
        YOLO_WEIGHTS + ", float[1,1,8,8] anchors",
        YOLO_VALUES | {"anchors": np.full((1, 1, 8, 8), 0.3), "shape": [1, 9, -1]},
    )
    ((_, found, expected),) = results(done, model, given)
    assert all(sqnr(found[:, channel], expected[:, channel]) > 20 for channel in (0, 1, 2, 3, 5, 6, 7, 8))
    np.testing.assert_array_equal(found[:, 4], expected[:, 4])


POINTS = """
    f = Conv <strides = [2,2]> (x, w)
    r = Relu (f)
    m = Flatten (r)
    g = Gemm (m, v, b)
    t = Reshape (g, shape)
    s = Sigmoid (t)
    y = Mul (s, size)
"""
POINTS_WEIGHTS = "float[2,3,2,2] w, float[128,15] v, float[15] b, int64[3] shape, float[3] size"


def test_points_in_pixels_and_what_is_seen_of_them_keep_their_accuracy(made: Any) -> None:
    values = {"shape": [1, 5, 3], "size": [192.0, 256.0, 1.0], "v": RNG.standard_normal((128, 15)) / 12}
    model, given, done = made(POINTS, POINTS_WEIGHTS, values)
    for _, found, expected in results(done, model, given):
        assert all(sqnr(found[..., place], expected[..., place]) > 25 for place in range(3))


def test_columns_of_one_product_that_differ_in_size_keep_their_accuracy(made: Any) -> None:
    values = {"v": RNG.standard_normal((128, 15)) * np.repeat([3.0, 0.003, 0.3], 5), "b": np.repeat([0, 0, 9], 5)}
    body = POINTS.replace(
        "g = Gemm (m, v, b)\n    t = Reshape (g, shape)\n    s = Sigmoid (t)\n    y = Mul (s, size)",
        "y = Gemm (m, v, b)",
    )
    model, given, done = made(body, POINTS_WEIGHTS, {**values, "shape": [1, 5, 3]})
    for _, found, expected in results(done, model, given):
        assert all(sqnr(found[:, part], expected[:, part]) > 20 for part in (slice(0, 5), slice(5, 10), slice(10, 15)))
