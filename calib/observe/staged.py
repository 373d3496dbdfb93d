"""A model that is run over all samples in stages, so that what a stage shows can change the stages behind it.

Each stage computes the tensors that are asked for, once, from those that earlier stages left: what stages to come may
still read waits in files, one a tensor, and no memory grows with the samples. Constants can be given other values as
long as no stage has used them. Runs are independent of each other and each on one thread without graph optimization,
so that the result depends on nothing but model and samples, however many run at a time.
"""

from __future__ import annotations

import os
import tempfile
import weakref
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from bevel.calib.data.dataset import Runs
from bevel.calib.observe.observe import model_inputs_names, run_model, session_with_outputs, workers

Array = NDArray[Any]

CHUNK = 8  # runs that a thread does at a time


class WaitingTensor:
    """A tensor of all runs, in a file that goes when nobody has it any more. Any thread may write and read."""

    def __init__(self, folder: Path, array: Array) -> None:
        """array: of one run, whose shape and type all have."""
        self.shape, self.dtype = array.shape, array.dtype
        self.file = tempfile.TemporaryFile(dir=folder, buffering=0)  # noqa: SIM115
        weakref.finalize(self, self.file.close)

    def write(self, run: int, array: Array) -> None:
        os.pwrite(self.file.fileno(), np.ascontiguousarray(array, self.dtype).tobytes(), run * self.size)

    def read(self, run: int) -> Array:
        found = os.pread(self.file.fileno(), self.size, run * self.size)
        return np.frombuffer(found, self.dtype).reshape(self.shape)

    @property
    def size(self) -> int:
        """Bytes of a run."""
        return prod(self.shape) * self.dtype.itemsize


class StagedModel:
    """folder: where tensors wait; it is there as long as this is used. kept: tensors that are never let go."""

    def __init__(self, model: onnx.ModelProto, runs: Runs, folder: Path, kept: Iterable[str] = ()) -> None:
        self.model, self.runs, self.folder = model, len(runs), folder
        self.rest = list(model.graph.node)
        self.constants = {tensor.name: tensor for tensor in model.graph.initializer}
        self.waiting: dict[str, WaitingTensor] = {}
        self.kept = set(kept)
        for name in model_inputs_names(model):
            self.keep_all(name, (run[name] for run in runs))

    def set(self, constants: Mapping[str, Array]) -> None:
        """Give constants other values."""
        for name, values in constants.items():
            self.constants[name] = onnx.numpy_helper.from_array(np.ascontiguousarray(values), name)

    def advance(self, names: Iterable[str]) -> None:
        """Compute `names` of all runs; `read` has them until the next stage."""
        asked = list(dict.fromkeys(names))
        wanted = [name for name in asked if name not in self.waiting]
        stage, self.rest = split(self.rest, wanted, set(self.waiting))
        needed = {name for node in self.rest for name in reads(node)} | self.kept
        made = {name for node in stage for name in node.output if name}
        kept = [*wanted, *sorted((made & needed) - set(wanted))]
        if stage:
            self.run(stage, kept)
        wanted_now = {*asked, *needed}
        self.waiting = {name: values for name, values in self.waiting.items() if name in wanted_now}

    def read(self, name: str, run: int) -> Array:
        return self.waiting[name].read(run)

    def shape(self, name: str) -> tuple[int, ...]:
        """Of a run."""
        return self.waiting[name].shape

    def size(self, name: str) -> int:
        """Bytes of a run."""
        return self.waiting[name].size

    def run(self, stage: Sequence[onnx.NodeProto], kept: Sequence[str]) -> None:
        model, inputs = self.part(stage)
        session, outputs = session_with_outputs(model, kept)
        made: dict[str, WaitingTensor] = {}

        def some(runs: range) -> None:
            for run in runs:
                found = run_model(session, outputs, {name: self.read(name, run) for name in inputs}, run)
                for name in outputs:
                    if run == 0:
                        made[name] = WaitingTensor(self.folder, found[name])
                    made[name].write(run, found[name])

        some(range(1))
        with ThreadPoolExecutor(workers()) as pool:
            list(pool.map(some, [range(1, self.runs)[begin : begin + CHUNK] for begin in range(0, self.runs, CHUNK)]))
        self.waiting |= made

    def part(self, stage: Sequence[onnx.NodeProto]) -> tuple[onnx.ModelProto, list[str]]:
        """A model of some nodes, and the tensors that it takes."""
        read = {name for node in stage for name in reads(node)}
        inputs = [name for name in self.waiting if name in read]
        graph = onnx.helper.make_graph(
            stage,
            "stage",
            [
                onnx.helper.make_tensor_value_info(
                    name, onnx.helper.np_dtype_to_tensor_dtype(values.dtype), values.shape
                )
                for name, values in ((name, self.waiting[name]) for name in inputs)
            ],
            [],
            [tensor for name, tensor in self.constants.items() if name in read],
        )
        model = onnx.helper.make_model(graph, opset_imports=self.model.opset_import, functions=self.model.functions)
        model.ir_version = self.model.ir_version
        return model, inputs

    def keep_all(self, name: str, arrays: Iterator[Array]) -> None:
        for run, array in enumerate(arrays):
            if run == 0:
                self.waiting[name] = WaitingTensor(self.folder, array)
            self.waiting[name].write(run, array)


def split(
    nodes: Sequence[onnx.NodeProto], wanted: Iterable[str], known: set[str]
) -> tuple[list[onnx.NodeProto], list[onnx.NodeProto]]:
    """The nodes that `wanted` needs beyond what is known, and the others, both in order."""
    needed, stage, rest = set(wanted) - known, list[onnx.NodeProto](), list[onnx.NodeProto]()
    for node in reversed(nodes):
        if needed.isdisjoint(node.output):
            rest.append(node)
        else:
            stage.append(node)
            needed |= set(reads(node)) - known
    return stage[::-1], rest[::-1]


def reads(node: onnx.NodeProto) -> Iterator[str]:
    """What a node reads, its subgraphs included."""
    yield from (name for name in node.input if name)
    for attribute in node.attribute:
        for graph in (attribute.g, *attribute.graphs):
            for inner in graph.node:
                yield from reads(inner)
