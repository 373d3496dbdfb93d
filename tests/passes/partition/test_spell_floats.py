"""What TVM's importer gets wrong is spelled in operators that it gets right, and computes the same."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from bevel.backends.program.island import run_island
from bevel.backends.tir.islands import import_island
from bevel.passes.canonicalize.evaluate import open_session
from bevel.passes.partition.spell_floats import spell

PICTURE = "agraph (float[1,2,8,6] x) => (float[1,2,{h},{w}] y)"
SCALED = '<float[4] s = {{1.0, 1.0, {f}, {g}}}> {{ y = Resize <{how}> (x, "", s) }}'


def resized(how: str, f: float, g: float) -> str:
    head = PICTURE.format(h=int(8 * np.float32(f)), w=int(6 * np.float32(g)))
    return head + SCALED.format(f=f, g=g, how=how)


SPELLED = {
    "cubic by a factor that does not divide": resized('mode = "cubic"', 0.6, 0.6),
    "cubic upwards": resized('mode = "cubic", cubic_coeff_a = -0.5', 2.2, 1.0),
    "cubic at aligned corners": resized('mode = "cubic", coordinate_transformation_mode = "align_corners"', 1.5, 2.0),
    "cubic without what lies outside": resized('mode = "cubic", exclude_outside = 1', 0.7, 1.3),
    "linear against aliases": resized('mode = "linear", antialias = 1', 0.6, 0.4),
    "cubic against aliases": resized('mode = "cubic", antialias = 1', 0.3, 0.6),
    "linear by a factor that does not divide": resized('mode = "linear"', 0.7, 1.4),
    "nearest by a factor that does not divide": resized('mode = "nearest", nearest_mode = "floor"', 0.7, 1.4),
    "cubic to a size": PICTURE.format(h=5, w=9)
    + '<int64[4] s = {1, 2, 5, 9}> { y = Resize <mode = "cubic"> (x, "", "", s) }',
    "chosen axes": PICTURE.format(h=5, w=6)
    + '<float[1] s = {0.7}> { y = Resize <mode = "linear", axes = [2]> (x, "", s) }',
    "symmetric halves of a pixel": resized(
        'mode = "linear", coordinate_transformation_mode = "half_pixel_symmetric"', 0.7, 1.4
    ),
    "one axis of a row": """agraph (float[1,2,9] x) => (float[1,2,6] y) <float[3] s = {1.0, 1.0, 0.7}>
        { y = Resize <mode = "linear"> (x, "", s) }""",
    "pixels to channels": "agraph (float[1,2,4,6] x) => (float[1,8,2,3] y) { y = SpaceToDepth <blocksize = 2> (x) }",
    "norm of the whole sample": """agraph (float[2,3,4] x) => (float[2,3,4] y)
        <float[3,4] g = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}>
        { y = LayerNormalization <axis = 1, epsilon = 0.1> (x, g) }""",
    "norm of everything": """agraph (float[2,3] x) => (float[2,3] y) <float[2,3] g = {1, 2, 3, 4, 5, 6},
        float[2,3] b = {1, 0, 0, 0, 0, 1}> { y = LayerNormalization <axis = 0> (x, g, b) }""",
    "norm with its mean and deviation": """agraph (float[2,3] x) => (float[2,3] y, float[2,1] m, float[2,1] d)
        <float[3] g = {1, 2, 3}> { y, m, d = LayerNormalization (x, g) }""",
    "root mean square of the sample": """agraph (float[2,3] x) => (float[2,3] y) <float[2,3] g = {1, 2, 3, 4, 5, 6}>
        { y = RMSNormalization <axis = 0> (x, g) }""",
    "training": """agraph (float[2,3,4] x) => (float[2,3,4] y, float[3] m, float[3] v)
        <float[3] s = {1, 2, 3}, float[3] b = {0, 1, 2}, float[3] om = {0.5, 0, 1}, float[3] ov = {1, 2, 3}>
        { y, m, v = BatchNormalization <training_mode = 1, momentum = 0.7> (x, s, b, om, ov) }""",
    "a cube": "agraph (float[2,3] x) => (float[2,3] y) <int64 p = {3}> { y = Pow (x, p) }",
    "running sums": """agraph (float[2,5,3] x) => (float[2,5,3] y) <int64 a = {1}> { y = CumSum (x, a) }""",
    "running sums from behind, of those before": """agraph (float[2,5] x) => (float[2,5] y) <int64 a = {-1}>
        { y = CumSum <reverse = 1, exclusive = 1> (x, a) }""",
    "unit length": "agraph (float[2,5] x) => (float[2,5] y) { y = LpNormalization (x) }",
    "nothing of unit length": """agraph (float[2,5] x) => (float[2,5] y) <float none = {0.0}>
        { z = Mul (x, none) y = LpNormalization <p = 1, axis = 0> (z) }""",
    "a bent line": "agraph (float[2,5] x) => (float[2,5] y) { y = Celu <alpha = 2.0> (x) }",
    "one infinity": """agraph (float[2,3] x) => (bool[2,3] y)
        { r = Relu (x) z = Log (r) y = IsInf <detect_negative = 0> (z) }""",
}
KEPT = {
    "nearest by two": resized('mode = "nearest"', 2.0, 2.0),
    "linear by half": resized('mode = "linear"', 0.5, 0.5),
    "norm of the last axis": """agraph (float[2,3] x) => (float[2,3] y) <float[3] g = {1, 2, 3}>
        { y = LayerNormalization (x, g) }""",
    "root mean square of the last axis": """agraph (float[2,3] x) => (float[2,3] y) <float[3] g = {1, 2, 3}>
        { y = RMSNormalization (x, g) }""",
    "inference": """agraph (float[2,3,4] x) => (float[2,3,4] y) <float[3] s = {1, 2, 3}, float[3] b = {0, 1, 2},
        float[3] m = {0.5, 0, 1}, float[3] v = {1, 2, 3}> { y = BatchNormalization (x, s, b, m, v) }""",
    "a root": "agraph (float[2,3] x) => (float[2,3] y) <float p = {0.5}> { y = Pow (x, p) }",
    "either infinity": "agraph (float[2,3] x) => (bool[2,3] y) { y = IsInf (x) }",
}


def model_of(text: str) -> onnx.ModelProto:
    model = onnx.parser.parse_model(f'<ir_version: 10, opset_import: ["" : 23]>\n{text}')
    for node in model.graph.node:
        node.name = node.output[0]
    return onnx.shape_inference.infer_shapes(model)


@pytest.mark.parametrize("name", SPELLED)
def test_a_spelled_operator_is_what_onnxruntime_computes(name: str) -> None:
    model = model_of(SPELLED[name])
    spelled = spell(model)
    assert spelled is not model
    (given,) = model.graph.input
    shape = [axis.dim_value for axis in given.type.tensor_type.shape.dim]
    x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    outputs = [output.name for output in model.graph.output]
    expected = dict(zip(outputs, open_session(model).run(None, {"x": x}), strict=True))
    found = run_island(import_island(spelled, "p_"), {"x": x}, outputs)
    for output, array in expected.items():
        # A dozen products of numbers near one: a few units in the last place.
        np.testing.assert_allclose(np.reshape(found[output], array.shape), array, rtol=1e-5, atol=2e-6)


@pytest.mark.parametrize("name", KEPT)
def test_what_the_importer_gets_right_stays(name: str) -> None:
    model = model_of(KEPT[name])
    assert spell(model) is model
