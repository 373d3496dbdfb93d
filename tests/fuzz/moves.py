"""How operators are drawn that move elements: shapes, parts, repeats, borders and sizes."""

from __future__ import annotations

import numpy as np

from fuzz.builder import Builder, UnfitError, Value


def concat(b: Builder) -> list[Value]:
    x = b.pick()
    if not x.rank:
        raise UnfitError
    parts: list[Value | str] = [x]
    for _ in range(b.whole(1, 2)):
        parts.append(b.pick_of_shape(x.shape) if b.chance(0.8) else b.weight(x.shape))
    return b.node("Concat", parts, axis=b.whole(-x.rank, x.rank - 1))


def split(b: Builder) -> list[Value]:
    x = b.pick(2, 3, 4)
    axis = b.choose([place for place, size in enumerate(x.shape) if size > 1])
    first = b.whole(1, x.shape[axis] - 1)
    sizes = [first, x.shape[axis] - first]
    if b.opset < 13:
        return b.node("Split", [x], 2, axis=axis, split=sizes)
    return b.node("Split", [x, b.whole_numbers(sizes)], 2, axis=axis)


def slices(b: Builder) -> list[Value]:
    x = b.pick(2, 3, 4)
    axis = b.whole(0, x.rank - 1)
    start, end = sorted([b.whole(0, x.shape[axis]), b.whole(0, x.shape[axis] + 2)])
    if b.opset < 10:
        return b.node("Slice", [x], axes=[axis], starts=[start], ends=[end])
    step = b.choose([1, 1, 2, -1])
    bounds = (start, end) if step > 0 else (end - 1, start - x.shape[axis] - 1)
    return b.node("Slice", [x, *(b.whole_numbers([one]) for one in (*bounds, axis, step))])


def gather(b: Builder) -> list[Value]:
    if b.chance(0.2):
        return rows_of_a_table(b)
    x = b.pick(1, 2, 3, 4)
    axis = b.whole(0, x.rank - 1)
    places = [b.whole(0, x.shape[axis] - 1) for _ in range(b.whole(1, 4))]
    index = np.array(places if b.chance(0.8) else places[0], np.int64)
    return b.node("Gather", [x, b.constant(index)], axis=axis)


def rows_of_a_table(b: Builder) -> list[Value]:
    x = b.pick(2, 3)
    axis = b.whole(0, x.rank - 1)
    (index,) = b.node("ArgMax", [x], axis=axis, keepdims=0)
    return b.node("Gather", [b.weight([x.shape[axis], b.whole(1, 5)]), index])


def transpose(b: Builder) -> list[Value]:
    x = b.pick(2, 3, 4, 5)
    return b.node("Transpose", [x], perm=b.rng.permutation(x.rank).tolist())


def reshape(b: Builder) -> list[Value]:
    x = b.pick(2, 3, 4, 5)
    cut = b.whole(1, x.rank - 1)
    target = b.choose([[0, -1], [*x.shape[:cut], -1], [-1, *x.shape[cut:]], [*x.shape, 1], [1, *x.shape]])
    return b.node("Reshape", [x, b.whole_numbers(target)])


def squeeze(b: Builder) -> list[Value]:
    x = b.choose([one for one in b.values if 1 in one.shape and one.rank > 1])
    axes = [b.choose([place for place, size in enumerate(x.shape) if size == 1])]
    if b.opset < 13:
        return b.node("Squeeze", [x], axes=axes)
    return b.node("Squeeze", [x, b.whole_numbers(axes)])


def unsqueeze(b: Builder) -> list[Value]:
    x = b.pick(1, 2, 3)
    axes = [b.whole(0, x.rank)]
    if b.opset < 13:
        return b.node("Unsqueeze", [x], axes=axes)
    return b.node("Unsqueeze", [x, b.whole_numbers(axes)])


def pad(b: Builder) -> list[Value]:
    x = b.pick(2, 3, 4, least=2)
    mode = b.choose(["constant", "constant", "reflect", "edge", "wrap"])
    pads = [b.whole(0, min(2, size - 1)) for size in x.shape * 2]
    if b.opset < 11:
        return b.node("Pad", [x], mode=mode, pads=pads, value=0.5)
    value = [b.constant(np.array(b.rng.normal(), np.float32))] if mode == "constant" and b.chance(0.5) else []
    return b.node("Pad", [x, b.whole_numbers(pads), *value], mode=mode)


def resize(b: Builder) -> list[Value]:
    x = b.pick(3, 4, 4, 5)
    if b.opset < 11:
        raise UnfitError
    scales = [1.0, 1.0, *(b.choose([2.0, 1.5, 0.5, 3.0]) for _ in x.shape[2:])]
    mode = b.choose(["nearest", "linear", "linear", "cubic"])
    place = b.choose(["half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel"])
    given = b.constant(np.array(scales, np.float32))
    roi = "" if b.opset >= 13 else b.constant(np.zeros(0, np.float32))
    return b.node("Resize", [x, roi, given], mode=mode, coordinate_transformation_mode=place)


def depth_to_space(b: Builder) -> list[Value]:
    x = b.choose([one for one in b.values if one.rank == 4 and one.shape[1] % 4 == 0])
    return b.node("DepthToSpace", [x], blocksize=2, **({"mode": b.choose(["DCR", "CRD"])} if b.opset >= 11 else {}))


def space_to_depth(b: Builder) -> list[Value]:
    x = b.choose([one for one in b.values if one.rank == 4 and not one.shape[2] % 2 and not one.shape[3] % 2])
    return b.node("SpaceToDepth", [x], blocksize=2)


def tile(b: Builder) -> list[Value]:
    x = b.pick(1, 2, 3, 4)
    return b.node("Tile", [x, b.whole_numbers([b.whole(1, 2) for _ in x.shape])])


def expand(b: Builder) -> list[Value]:
    x = b.pick(1, 2, 3, 4)
    grown = [b.whole(1, 3) if size == 1 else size for size in x.shape]
    return b.node("Expand", [x, b.whole_numbers([b.whole(1, 2), *grown] if b.chance(0.3) else grown)])


def flatten(b: Builder) -> list[Value]:
    x = b.pick(2, 3, 4)
    return b.node("Flatten", [x], axis=b.whole(0, x.rank))
