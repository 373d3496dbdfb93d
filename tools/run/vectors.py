"""Test vectors: real inputs, and what integer.onnx answers to them in stock onnxruntime."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
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
from bevel.calib.errors import UserError
from bevel.calib.formats.stored import BROKEN
from bevel.tools.accuracy.evaluate import encode, runner

NAME = "vectors.npz"
INPUT, EXPECTED = "input:", "expected:"  # how the array names in the file begin


def make_vectors(
    integer: onnx.ModelProto, program: Program, samples: Iterable[Mapping[str, NDArray[Any]]], count: int
) -> Vectors:
    """Up to `count` vectors from float samples.

    Integers mean one thing only: onnxruntime must answer alike with and without its optimizations. Float islands may
    not, and are left out of that check.
    """
    ports = {port.name: port for port in program.inputs if port.scale is not None}
    inputs = [encode(sample, ports) for sample in islice(samples, count)]
    plain = runner(integer)
    expected = _stacked([plain.run_raw(one) for one in inputs])
    vectors = Vectors(_stacked(inputs), expected)
    if not has_islands(program):
        stock = runner(integer, optimized=True)
        check_same(vectors, _stacked([stock.run_raw(one) for one in inputs]))
    return vectors


def check_same(vectors: Vectors, stock: dict[str, NDArray[Any]]) -> None:
    """AssertionError where onnxruntime's optimizations change a bit."""
    found = compare(stock, vectors.expected)
    assert not found.mismatches, f"integer.onnx depends on onnxruntime's optimization level: {found.first}"


def samples(vectors: Vectors) -> Iterator[dict[str, NDArray[Any]]]:
    """The inputs one by one, as the integer model takes them."""
    for index in range(len(vectors)):
        yield {name: np.asarray(array[index]) for name, array in vectors.inputs.items()}


def save(folder: Path, vectors: Vectors) -> None:
    arrays: dict[str, Any] = {INPUT + name: array for name, array in vectors.inputs.items()}
    arrays |= {EXPECTED + name: array for name, array in vectors.expected.items()}
    with (folder / NAME).open("wb") as stream:
        np.savez(stream, allow_pickle=False, **arrays)


def load(folder: Path) -> Vectors:
    """The vectors of a bundle; UserError where there are none."""
    try:
        with np.load(folder / NAME) as arrays:
            found = {name: arrays[name] for name in arrays.files}
    except BROKEN:
        raise UserError(f"{folder / NAME} cannot be read; run optimize again") from None
    return Vectors(_under(INPUT, found), _under(EXPECTED, found))


def _stacked(rows: Sequence[Mapping[str, NDArray[Any]]]) -> dict[str, NDArray[Any]]:
    return {name: np.stack([row[name] for row in rows]) for name in rows[0]}


def _under(prefix: str, arrays: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
