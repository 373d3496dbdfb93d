"""Normalizations."""

from __future__ import annotations

from operator_cases.case import IMAGES, LINE, Case, one

# With a smaller epsilon, onnxruntime's own is no number where all elements are equal.
GROUP_NORM = "GroupNormalization <num_groups = 2, epsilon = 0.01>"
NORMS = {
    "layer norm": one(
        "LayerNormalization (x, s, b)", inputs="float[2,5,24] x", weights="float[24] s, float[24] b", steps=2
    ),
    "layer norm of two axes, without bias": one(
        "LayerNormalization <axis = 2> (x, s)", weights="float[7,6] s", steps=2
    ),
    "rms norm": one("RMSNormalization (x, s)", inputs="float[5,16] x", weights="float[16] s", opset=23, steps=2),
    "instance norm": one("InstanceNormalization (x, s, b)", weights="float[3] s, float[3] b", steps=2),
    "instance norm of a line behind a conv": Case(
        "c = Conv (x, w, v)\n y = InstanceNormalization (c, s, b)",
        LINE,
        "float[5,4,3] w, float[5] v, float[5] s, float[5] b",
        steps=4,
    ),
    "group norm": one(
        f"{GROUP_NORM} (x, s, b)",
        inputs=IMAGES,
        weights="float[4] s, float[4] b",
        steps=2,
    ),
    "group norm behind a conv": Case(
        f"c = Conv (x, w, v)\n y = {GROUP_NORM} (c, s, b)",
        weights="float[4,3,3,3] w, float[4] v, float[4] s, float[4] b",
        steps=4,
    ),
    "euclidean norm": one("LpNormalization <axis = 1> (x)", steps=2),
}
