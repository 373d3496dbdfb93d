"""What meets several operators: shared tensors, batches, layouts."""

from __future__ import annotations

from operator_cases.case import CONV, IMAGES, Case

GRAPHS = {
    "an input that two nodes read": Case(
        "c = Conv <pads = [1,1,1,1]> (x, w)\n p = MaxPool <kernel_shape = [1,1]> (x)\n y = Add (c, p)",
        weights="float[3,3,3,3] w",
        steps=2,
    ),
    "an output that is read inside": Case(
        "y = Conv (x, w, b)\n z = Conv (y, v)",
        weights=f"{CONV}, float[2,4,3,3] v",
        outputs="float[] y, float[] z",
        steps=2,
    ),
    "two outputs that are one": Case(
        "c = Conv (x, w, b)\n y = Flatten (c)\n z = Reshape (c, s)",
        weights=f"{CONV}, int64[2] s",
        values={"s": [4, -1]},
        outputs="float[] y, float[] z, float[] c",
    ),
    "batch 2": Case(
        "c = Conv <pads = [1,1,1,1]> (x, w)\n g = GlobalAveragePool (c)\n f = Flatten (g)\n y = Gemm (f, m)",
        IMAGES,
        "float[5,4,3,3] w, float[5,3] m",
        steps=2,
    ),
    "images that come channels last": Case(
        "t = Transpose <perm = [0,3,1,2]> (x)\n c = Conv (t, w, b)\n y = Transpose <perm = [0,2,3,1]> (c)",
        "float[1,7,6,3] x",
        CONV,
    ),
}
