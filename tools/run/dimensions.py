"""Sizes of dynamic dimensions: what the user gave, else what the user's samples have."""

from __future__ import annotations

from collections.abc import Container, Mapping
from pathlib import Path

import onnx

from bevel.calib.data.dataset import Inputs, InputType, Readable, Samples, arrays_in, data_files
from bevel.calib.data.sequences import arrays_of
from bevel.calib.errors import UserError
from bevel.passes.base import Note
from bevel.passes.exchange.load import is_dynamic, label
from bevel.tools.run.options import Options
from bevel.tools.run.states import state_names


def dimensions(options: Options, model: onnx.ModelProto) -> tuple[dict[str, int], list[Note]]:
    """{name, or input:axis: size} for `fix_batch`, and notes on those that the data decided.

    The first dimension of an input is the batch, which no data decides. Raises UserError where two inputs disagree, and
    for data that cannot be read.
    """
    sizes = dict(options.dim)
    given = next((one for one in (options.calib, options.eval) if isinstance(one, Path | Mapping)), None)
    wanted = [(value, axis, name) for value, axis, name in dynamic_dimensions(model) if name not in sizes]
    if given is None or not wanted:
        return sizes, []
    states = state_names(options, model)
    kinds = {value.name: InputType((), onnx.helper.tensor_dtype_to_np_dtype(1)) for value in model.graph.input}
    arrays = arrays_for(data_files(given)[0], kinds, states)
    found: dict[str, str] = {}
    for value, axis, name in wanted:
        if value.name not in arrays:
            continue
        size = size_along(arrays[value.name], len(value.type.tensor_type.shape.dim), axis)
        if size is None:
            continue
        if sizes.setdefault(name, size) != size:
            raise UserError(
                f"dimension {name} is {sizes[name]} in {found[name]} and {size} in {arrays[value.name].place}; "
                f"give its size with --dim {name}=N"
            )
        found.setdefault(name, arrays[value.name].place)
    notes = [
        Note("load", "model", "chosen", f"dimension {name} is {sizes[name]}, as in {place}", {"size": sizes[name]})
        for name, place in found.items()
    ]
    return sizes, notes


def arrays_for(file: Samples, inputs: Inputs, states: Container[str]) -> Mapping[str, Readable]:
    """The arrays of all inputs but `states`, which need none. Raises UserError where others lack."""
    given = {name: one for name, one in inputs.items() if name not in states}
    return arrays_of(file, given) if len(given) < len(inputs) else arrays_in(file, inputs)


def dynamic_dimensions(model: onnx.ModelProto) -> list[tuple[onnx.ValueInfoProto, int, str]]:
    """(input, axis, name) of all that are not the batch."""
    every = [
        (value, axis, label(value.name, axis, dim))
        for value in model.graph.input
        for axis, dim in enumerate(value.type.tensor_type.shape.dim)
        if is_dynamic(dim)
    ]
    batch = {name for _, axis, name in every if axis == 0}
    return [one for one in every if one[2] not in batch]


def size_along(array: Readable, rank: int, axis: int) -> int | None:
    """The array's size along an axis of the input; None where their ranks do not fit."""
    before = len(array.shape) - rank
    size = array.shape[axis + before] if before in (0, 1) else 0
    return size if size > 0 else None
