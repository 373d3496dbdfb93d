"""Make a constant of an input: a sample rate, a mode, a temperature that the product never changes.

What depends on it alone is folded by canonicalization, an If that asks for it among that.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from bevel.calib.errors import UserError
from bevel.passes.base import Note
from bevel.passes.exchange.cut_outputs import close_names
from bevel.passes.exchange.widen_floats import FLOAT, OTHERS, PASS

OPTION = "--constant"


def fix_inputs(model: onnx.ModelProto, constants: Mapping[str, Any]) -> list[Note]:
    """Give inputs of `model` a value each: a number for all elements, or nested lists of the input's shape.

    The initializer that this appends takes the input's place in `drop_initialized_inputs`. Raises UserError for what is
    no input, for sizes that are not known, and for values that the input cannot hold.
    """
    return list(fixed(model, constants))


def fixed(model: onnx.ModelProto, constants: Mapping[str, Any]) -> Iterator[Note]:
    inputs = {value.name: value for value in model.graph.input}
    for name, given in constants.items():
        if name not in inputs:
            near = ", ".join(close_names(name, list(inputs)))
            raise UserError(f"{OPTION} {name}: no input is called so; near it are: {near}")
        values = values_of(inputs[name], given)
        model.graph.initializer.append(onnx.numpy_helper.from_array(values, name))
        yield Note(PASS, name, "changed", f"this input is the constant {given}")


def values_of(value: onnx.ValueInfoProto, given: Any) -> NDArray[Any]:
    """What the input `value` holds, of its type and shape."""
    told = f"{OPTION} {value.name}={given}"
    tensor = value.type.tensor_type
    dtype, found = onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type), as_array(told, given)
    if not tensor.HasField("shape") or any(not dim.HasField("dim_value") for dim in tensor.shape.dim):
        raise UserError(f"{told}: the shape of that input is not known; export the model with it")
    shape = tuple(dim.dim_value for dim in tensor.shape.dim)
    if found.shape not in ((), shape):
        raise UserError(f"{told}: its shape is {list(found.shape)}, the input's {list(shape)}; one number is for all")
    with np.errstate(all="ignore"):
        values = np.array(np.broadcast_to(found.astype(dtype), shape))
    exact = np.array_equal(values, np.broadcast_to(found, shape))
    if not exact and not (tensor.elem_type in (FLOAT, *OTHERS) and np.isfinite(values).all()):
        raise UserError(f"{told}: the input is {dtype}, which cannot hold that")
    return values


def as_array(told: str, given: Any) -> NDArray[Any]:
    try:
        found = np.asarray(given)
    except ValueError as error:  # lists of unlike lengths
        raise UserError(f"{told}: no array of numbers") from error
    if found.dtype.kind not in "bif" or not np.isfinite(found).all():
        raise UserError(f"{told}: no finite numbers")
    return found
