"""What onnx's version converter gets wrong or cannot do, respelled before it runs, or after.

Each is exact: the same function in a form that the converter does handle.

- Pad before opset 11 may carry a `value` that its mode does not use; the converter keeps the attribute.
- Upsample and Resize before opset 11 read their input at x / scale (`asymmetric`), the nearest below that where they
  enlarge and above where they shrink (onnxruntime's reading); the converter lets them take the later default, half a
  pixel away.
- Hardmax before opset 13 flattens all dimensions from `axis` on; the converter keeps the number of the axis.
- BatchNormalization before opset 9 may have parameters for each element (`spatial` = 0): a difference, a product and
  a sum.
- GroupNormalization of opset 18 has a scale for each group: an InstanceNormalization of groups.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper, numpy_helper

from bevel.calib.errors import UserError
from bevel.passes.exchange.lower_opset import nodes_of

PAD_ATTRIBUTES = 11
READS_BETWEEN = 11
FLATTENS = 13
SCALES_GROUPS = 18
DEFINED_MASK = 12
SPATIAL_ONLY = 9
TRAINS = 14


def respell(model: onnx.ModelProto, version: int) -> None:
    """What has to happen before conversion, in place."""
    for node in nodes_of(model.graph.node):
        if node.op_type == "Pad" and version < PAD_ATTRIBUTES:
            drop_unused_value(node)
        if node.op_type == "Dropout" and version < DEFINED_MASK and any(node.output[1:]):
            drop_mask(model, node)
        if node.op_type == "BatchNormalization" and version < TRAINS and any(node.output[1:]):
            raise UserError(
                f"node {node.name or node.output[0]} (BatchNormalization): before opset {TRAINS} more than one output "
                "means training, by the batch's own statistics; export the model for inference"
            )
    if any(node.op_type in ("Hardmax", "GroupNormalization", "BatchNormalization") for node in model.graph.node):
        nodes = [new for node in model.graph.node for new in replacement(model, node, version)]
        del model.graph.node[:]
        model.graph.node.extend(nodes)


def replacement(model: onnx.ModelProto, node: onnx.NodeProto, version: int) -> list[onnx.NodeProto]:
    node = onnx.NodeProto.FromString(node.SerializeToString())  # it outlives the list it is in
    if node.op_type == "Hardmax" and version < FLATTENS:
        return flattened(node)
    if node.op_type == "BatchNormalization" and version < SPATIAL_ONLY and number(node, "spatial", 1) == 0:
        return of_elements(model, node)
    if node.op_type == "GroupNormalization" and version == SCALES_GROUPS:
        return of_instances(model, node)
    return [node]


def drop_unused_value(pad: onnx.NodeProto) -> None:
    modes = [attribute.s for attribute in pad.attribute if attribute.name == "mode"]
    if modes and modes[0] != b"constant":
        kept = [attribute for attribute in pad.attribute if attribute.name != "value"]
        del pad.attribute[:]
        pad.attribute.extend(kept)


def drop_mask(model: onnx.ModelProto, dropout: onnx.NodeProto) -> None:
    """Leave the mask out where nobody looks at it."""
    read = {name for node in nodes_of(model.graph.node) for name in node.input}
    read |= {value.name for value in model.graph.output}
    if dropout.output[1] in read:
        raise UserError(
            f"node {dropout.name or dropout.output[0]} (Dropout): before opset 12 its mask {dropout.output[1]} means "
            "nothing in inference; leave it out of the model's outputs"
        )
    del dropout.output[1:]


def number(node: onnx.NodeProto, name: str, default: float) -> float:
    return next((float(helper.get_attribute_value(one)) for one in node.attribute if one.name == name), default)


def of_elements(model: onnx.ModelProto, batchnorm: onnx.NodeProto) -> list[onnx.NodeProto]:
    """(x - mean) * (scale / sqrt(var + epsilon)) + bias."""
    (x, scale, bias, mean, var), (y,) = batchnorm.input, batchnorm.output
    name = batchnorm.name or y
    epsilon = np.array(number(batchnorm, "epsilon", 1e-5), np.float32)
    model.graph.initializer.append(numpy_helper.from_array(epsilon, f"{y}/epsilon"))
    steps = [
        ("Add", [var, f"{y}/epsilon"], f"{y}/positive"),
        ("Sqrt", [f"{y}/positive"], f"{y}/deviation"),
        ("Div", [scale, f"{y}/deviation"], f"{y}/factor"),
        ("Sub", [x, mean], f"{y}/centred"),
        ("Mul", [f"{y}/centred", f"{y}/factor"], f"{y}/scaled"),
        ("Add", [f"{y}/scaled", bias], y),
    ]
    return [
        helper.make_node(op, read, [made], name=f"{name}/{made}" if made != y else name) for op, read, made in steps
    ]


def flattened(hardmax: onnx.NodeProto) -> list[onnx.NodeProto]:
    """Flatten, Hardmax of the rows, and the old shape."""
    axis = next((attribute.i for attribute in hardmax.attribute if attribute.name == "axis"), 1)
    (x,), (y,) = hardmax.input, hardmax.output
    name = hardmax.name or y
    return [
        helper.make_node("Flatten", [x], [f"{y}/rows"], name=f"{name}/rows", axis=axis),
        helper.make_node("Hardmax", [f"{y}/rows"], [f"{y}/hardmax"], name=name, axis=1),
        helper.make_node("Shape", [x], [f"{y}/shape"], name=f"{name}/shape"),
        helper.make_node("Reshape", [f"{y}/hardmax", f"{y}/shape"], [y], name=f"{name}/reshape"),
    ]


def of_instances(model: onnx.ModelProto, group_norm: onnx.NodeProto) -> list[onnx.NodeProto]:
    """Reshape to [N, groups, rest], InstanceNormalization, and the old shape."""
    numbers = {attribute.name: helper.get_attribute_value(attribute) for attribute in group_norm.attribute}
    (x, scale, bias), (y,) = group_norm.input, group_norm.output
    name = group_norm.name or y
    groups = np.array([0, numbers["num_groups"], -1], np.int64)
    model.graph.initializer.append(numpy_helper.from_array(groups, f"{y}/groups"))
    inputs, epsilon = [f"{y}/grouped", scale, bias], numbers.get("epsilon", 1e-5)
    return [
        helper.make_node("Reshape", [x, f"{y}/groups"], [f"{y}/grouped"], name=f"{name}/groups"),
        helper.make_node("InstanceNormalization", inputs, [f"{y}/normalized"], name=name, epsilon=epsilon),
        helper.make_node("Shape", [x], [f"{y}/shape"], name=f"{name}/shape"),
        helper.make_node("Reshape", [f"{y}/normalized", f"{y}/shape"], [y], name=f"{name}/reshape"),
    ]


def correct(model: onnx.ModelProto, version: int) -> None:
    """What has to happen after conversion, in place."""
    if version >= READS_BETWEEN:
        return
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    constants |= {node.output[0]: one.t for node in model.graph.node for one in node.attribute if one.name == "value"}
    for node in nodes_of(model.graph.node):
        if node.op_type == "Resize":
            kept = [one for one in node.attribute if one.name not in ("coordinate_transformation_mode", "nearest_mode")]
            del node.attribute[:]
            node.attribute.extend(kept)
            node.attribute.append(helper.make_attribute("coordinate_transformation_mode", "asymmetric"))
            nearest = "ceil" if shrinks(node, constants) else "floor"
            node.attribute.append(helper.make_attribute("nearest_mode", nearest))


def shrinks(resize: onnx.NodeProto, constants: dict[str, onnx.TensorProto]) -> bool:
    scales = constants.get(resize.input[2]) if len(resize.input) > 2 else None
    return scales is not None and bool((numpy_helper.to_array(scales) <= 1).all())
