"""Pooling and resizing."""

from __future__ import annotations

from operator_cases.case import IMAGES, LINE, Case, one

SOLID = "float[1,2,4,5,3] x"
BILINEAR = 'mode = "linear", coordinate_transformation_mode'
NEAREST = 'mode = "nearest", coordinate_transformation_mode'


def resize(attributes: str, height: float, width: float, image: str = "float[1,3,7,6] x") -> Case:
    body = f"y = Resize <{attributes}> (x, , scales)"
    return Case(body, image, "float[4] scales", {"scales": [1, 1, height, width]})


POOLS = {
    "max pool": one("MaxPool <kernel_shape = [2,2], strides = [2,2]> (x)"),
    "max pool pads": one("MaxPool <kernel_shape = [3,3], pads = [1,0,1,2]> (x)"),
    "max pool dilations": one("MaxPool <kernel_shape = [2,2], dilations = [2,3]> (x)"),
    "max pool 1-D": one("MaxPool <kernel_shape = [3], strides = [2], pads = [1,1]> (x)", inputs=LINE),
    "max pool 3-D": one(
        "MaxPool <kernel_shape = [2,3,2], strides = [1,2,1], dilations = [2,1,1], pads = [1,1,0,0,2,1]> (x)",
        inputs=SOLID,
    ),
    "max pool ceil": one("MaxPool <kernel_shape = [2,2], strides = [2,2], ceil_mode = 1> (x)"),
    "average pool": one("AveragePool <kernel_shape = [2,3]> (x)"),
    "average pool pads": one("AveragePool <kernel_shape = [3,3], pads = [1,0,1,2]> (x)"),
    "average pool counting pads": one(
        "AveragePool <kernel_shape = [3,3], pads = [1,1,1,1], count_include_pad = 1> (x)"
    ),
    "average pool strides": one(
        "AveragePool <kernel_shape = [3,2], strides = [2,2], pads = [1,1,1,1]> (x)", inputs=IMAGES
    ),
    "average pool 1-D": one("AveragePool <kernel_shape = [3], pads = [1,1]> (x)", inputs=LINE),
    "average pool relu": Case("p = AveragePool <kernel_shape = [2,2]> (x)\n y = Relu(p)"),
    "average pool ceil": one("AveragePool <kernel_shape = [2,2], strides = [2,2], ceil_mode = 1> (x)"),
    "global average pool": one("GlobalAveragePool (x)"),
    "global average pool of one pixel": one("GlobalAveragePool (x)", inputs="float[1,3,1,1] x"),
    "global max pool": one("GlobalMaxPool (x)"),
    "global max pool 3-D": one("GlobalMaxPool (x)", inputs=SOLID),
}
RESIZES = {
    "resize nearest": resize(f'{NEAREST} = "asymmetric", nearest_mode = "floor"', 2, 2),
    "resize nearest half_pixel": resize(f'{NEAREST} = "half_pixel"', 1.5, 2.3),
    "resize nearest down": resize(f'{NEAREST} = "half_pixel", nearest_mode = "ceil"', 0.5, 0.7),
    "resize nearest align_corners": resize(f'{NEAREST} = "align_corners", nearest_mode = "round_prefer_ceil"', 2, 1.7),
    "resize bilinear half_pixel": resize(f'{BILINEAR} = "half_pixel"', 2, 2),
    "resize bilinear align_corners": resize(f'{BILINEAR} = "align_corners"', 2.4, 1.9),
    "resize bilinear asymmetric": resize(f'{BILINEAR} = "asymmetric"', 2, 3),
    "resize bilinear pytorch_half_pixel": resize(f'{BILINEAR} = "pytorch_half_pixel"', 1.6, 2),
    "resize bilinear down": resize(f'{BILINEAR} = "half_pixel"', 0.5, 0.6),
    "resize bilinear to one row": resize(f'{BILINEAR} = "pytorch_half_pixel"', 1 / 7, 1),
    "resize bilinear from one pixel": resize(f'{BILINEAR} = "half_pixel"', 3, 2, "float[2,3,1,1] x"),
    "resize nearest a line": one(
        f'Resize <{NEAREST} = "asymmetric", nearest_mode = "floor"> (x, , s)', LINE, "float[3] s", {"s": [1, 1, 2]}
    ),
    "resize nearest a volume": one(
        f'Resize <{NEAREST} = "half_pixel"> (x, , s)', "float[1,2,3,2,4] x", "float[5] s", {"s": [1, 1, 2, 1.5, 2]}
    ),
    "resize linear a line": one(f'Resize <{BILINEAR} = "half_pixel"> (x, , s)', LINE, "float[3] s", {"s": [1, 1, 1.7]}),
    "resize linear images channels last": one(
        f'Resize <{BILINEAR} = "align_corners"> (x, , s)',
        "float[1,4,5,3] x",
        "float[4] s",
        {"s": [1, 2, 2, 1]},
        steps=2,
    ),
    "resize bilinear to sizes": one(
        f'Resize <{BILINEAR} = "half_pixel"> (x, , , n)',
        inputs=IMAGES,
        weights="int64[4] n",
        values={"n": [2, 4, 9, 13]},
    ),
}
