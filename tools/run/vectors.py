"""Test vectors: real inputs, and what integer.onnx answers to them in stock onnxruntime."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from bevel.backends.devices.base import Vectors
from bevel.backends.devices.outputs import compare
from bevel.backends.program.island import has_islands
from bevel.backends.program.program import Program
from bevel.calib.data.dataset import Dataset
from bevel.calib.errors import UserError
from bevel.calib.formats.stored import BROKEN
from bevel.calib.observe.observe import model_inputs
from bevel.passes.states.pairs import results_of, states_of
from bevel.tools.accuracy.evaluate import encode, runner
from bevel.tools.accuracy.stepper import Stepper

NAME = "vectors.npz"
INPUT, EXPECTED = "input:", "expected:"  # how the array names in the file begin
BEGINS = "begins"  # with which a sequence does, for a model with state


def make_vectors(integer: onnx.ModelProto, program: Program, data: Dataset, count: int) -> Vectors:
    """Up to `count` vectors from float samples; of a model with state that many steps, each from what the one before
    left.

    Integers mean one thing only: onnxruntime must answer alike with and without its optimizations. Float islands may
    not, and are left out of that check.
    """
    ports = {port.name: port for port in program.inputs if port.scale is not None}
    kept = states_of(integer)
    inputs = [encode(sample, ports) for sample in islice(data, count)]
    begins = np.array([data.begins(run) for run in range(len(inputs))]) if kept else None
    given = _stacked([{name: array for name, array in one.items() if name not in kept} for one in inputs])
    vectors = Vectors(given, _stacked(answers(integer, inputs, data, optimized=False)), begins)
    if not has_islands(program):
        check_same(vectors, _stacked(answers(integer, inputs, data, optimized=True)))
    return vectors


def answers(
    integer: onnx.ModelProto, inputs: Sequence[Mapping[str, NDArray[Any]]], data: Dataset, optimized: bool
) -> list[dict[str, NDArray[Any]]]:
    """What the model gives out in each run, as a device does."""
    stepper = Stepper(runner(integer, optimized=optimized), states_of(integer), results_of(integer))
    return [stepper.run_raw(one, data.begins(run)) for run, one in enumerate(inputs)]


def check_same(vectors: Vectors, stock: dict[str, NDArray[Any]]) -> None:
    """AssertionError where onnxruntime's optimizations change a bit."""
    found = compare(stock, vectors.expected)
    assert not found.mismatches, f"integer.onnx depends on onnxruntime's optimization level: {found.first}"


def samples(vectors: Vectors, integer: onnx.ModelProto | None = None) -> Iterator[dict[str, NDArray[Any]]]:
    """The inputs one by one, as the integer model takes them; with those of its states where a sequence begins."""
    kept = {} if integer is None else states_of(integer)
    inputs = model_inputs(integer) if integer is not None and kept else {}
    states = {name: np.zeros(one.shape, one.dtype) for name, one in inputs.items() if name in kept}
    for index in range(len(vectors)):
        yield states | {name: np.asarray(array[index]) for name, array in vectors.inputs.items()}


def save(folder: Path, vectors: Vectors) -> None:
    arrays: dict[str, Any] = {INPUT + name: array for name, array in vectors.inputs.items()}
    arrays |= {EXPECTED + name: array for name, array in vectors.expected.items()}
    if vectors.begins is not None:
        arrays[BEGINS] = vectors.begins
    with (folder / NAME).open("wb") as stream:
        np.savez(stream, allow_pickle=False, **arrays)


def load(folder: Path) -> Vectors:
    """The vectors of a bundle; UserError where there are none."""
    try:
        with np.load(folder / NAME) as arrays:
            found = {name: arrays[name] for name in arrays.files}
    except BROKEN:
        raise UserError(f"{folder / NAME} cannot be read; run optimize again") from None
    return Vectors(_under(INPUT, found), _under(EXPECTED, found), found.get(BEGINS))


def _stacked(rows: Sequence[Mapping[str, NDArray[Any]]]) -> dict[str, NDArray[Any]]:
    return {name: np.stack([row[name] for row in rows]) for name in rows[0]}


def _under(prefix: str, arrays: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
