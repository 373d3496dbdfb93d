"""One pass of samples through the float model, for all that is asked for of its tensors."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from math import prod
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray

from bevel.calib.data.dataset import InputType, Runs, Subset, places_of
from bevel.calib.errors import UserError
from bevel.calib.observe.base import NotFiniteError, Observation, Want
from bevel.calib.observe.statistics import Statistics

Progress = Callable[[int, int], None]
Wanted = Mapping[str, Iterable[Want]]  # by tensor
Task = tuple[str, Want]
Arrays = Sequence[NDArray[Any]]
Seen = dict[str, dict[Want, Observation]]
Chunk = Sequence[tuple[int, Mapping[str, NDArray[Any]]]]  # the numbers and samples of some runs

MEMORY = 512 * 2**20  # bytes that large observations may hold at a time
CHUNK = 16  # runs that a thread watches at a time
TOGETHER = 2**15  # elements of a tensor that are looked at together, of one run at least

LAST_AXIS_OPERATORS = frozenset({"MatMul", "Gemm", "LayerNormalization", "RMSNormalization"})


def model_inputs(model: onnx.ModelProto) -> dict[str, InputType]:
    """{name: shape and element type} of the inputs that are not initializers, for `open_dataset`.

    Raises UserError for inputs that are no tensors of static shape.
    """
    initializers = {tensor.name for tensor in model.graph.initializer}
    return {value.name: input_type(value) for value in model.graph.input if value.name not in initializers}


def input_type(value: onnx.ValueInfoProto) -> InputType:
    if value.type.WhichOneof("value") != "tensor_type":
        raise UserError(f"model input {value.name!r} is not a tensor; only tensors can be calibrated")
    tensor = value.type.tensor_type
    dims = [dim.dim_value or dim.dim_param or "?" for dim in tensor.shape.dim]
    if not tensor.HasField("shape") or any(isinstance(dim, str) for dim in dims):
        raise UserError(f"model input {value.name!r} has shape {dims}; fix every dimension, such as with --batch")
    return InputType(tuple(map(int, dims)), onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type))


@dataclass(frozen=True, eq=False)
class Observed:
    """What was observed of a model on some runs."""

    runs: Runs
    statistics: Mapping[str, Statistics]

    def rest(self, runs: Runs, wanted: Wanted) -> Runs | None:
        """Those of the runs that these are some of, which are not among these; None where these are of others, or
        something else was observed than what is wanted."""
        if not isinstance(self.runs, Subset) or self.runs.runs is not runs:
            return None
        found = {name: one.seen.keys() for name, one in self.statistics.items()}
        if any(set(wants) != found.get(name, set()) for name, wants in wanted.items()):
            return None
        return Subset(runs, tuple(sorted(set(range(len(runs))) - set(self.runs.places))))


def observe(
    model: onnx.ModelProto,
    runs: Runs,
    wanted: Wanted,
    progress: Progress | None = None,
    memory: int = MEMORY,
    known: Observed | None = None,
) -> dict[str, Statistics]:
    """{tensor name: what is wanted of it} of the float tensors in `wanted` that `model` reads or computes at its top
    level, in graph order; nothing else is computed.

    Each run is on one thread without graph optimization, so that the result depends on nothing but model and samples,
    however many run at a time. Observations that take much memory are made in turns of at most `memory` bytes (or of
    one that is larger), and the runs are walked once a turn. `progress(done, total)` is called after each model run.

    known: what was observed of the same model on some of the runs, which then are not walked again.

    Raises UserError for NaN or infinity, naming tensor, node and sample, and for samples the model cannot run;
    ValueError for names in `wanted` that the model has not.
    """
    if known is not None and (rest := known.rest(runs, wanted)) is not None:
        more = observe(model, rest, wanted, progress, memory) if len(rest) else {}
        return {name: one.merge(more[name]) if more else one for name, one in known.statistics.items()}
    names = observable(model)
    wants = {name: tuple(dict.fromkeys(wanted.get(name, ()))) for name in names}
    tasks = [(name, want) for name in names for want in wants[name]]
    if unknown := {*wanted, *tensors_of(tasks)} - set(names):
        raise ValueError(f"the model computes no tensor {sorted(unknown)}")
    seen: Seen = {}
    turns = in_turns(model, runs, tasks, memory)
    for turn, part in enumerate(turns):
        for done, found in enumerate(shown(model, runs, part)):
            add(seen, found)
            if progress is not None:
                progress(turn * len(runs) + done + 1, len(turns) * len(runs))
    return {
        name: Statistics({want: seen[name][want] for want in wants[name] if want in seen[name]})
        for name in names
        if name in seen
    }


def add(seen: Seen, found: Seen) -> None:
    """Merge what was found into what was seen."""
    for name, wants in found.items():
        known = seen.setdefault(name, {})
        for want, one in wants.items():
            known[want] = known[want].merge(one) if want in known else one


def shown(model: onnx.ModelProto, runs: Runs, tasks: Sequence[Task]) -> Iterator[Seen]:
    """What each run shows; of a chunk of runs, which one thread watches, the last shows all.

    What chunks show merges to the same in any order. There are no more threads than `MEMORY` holds tensors for.
    """
    watched = Watched(*session_with_outputs(model, tensors_of(tasks)), tasks)
    threads = min(workers(), max(MEMORY // watched.bytes, 1))
    numbered = zip(places_of(runs), runs, strict=True)
    with ThreadPoolExecutor(threads) as pool:
        begun: deque[tuple[Chunk, Future[Seen]]] = deque()
        while chunk := list(islice(numbered, CHUNK)):
            begun.append((chunk, pool.submit(watched.watch, chunk)))
            if len(begun) > threads:
                yield from told(model, watched, *begun.popleft())
        for one in begun:
            yield from told(model, watched, *one)


def told(model: onnx.ModelProto, watched: Watched, chunk: Chunk, seen: Future[Seen]) -> Iterator[Seen]:
    """Of each run of a chunk, when all are done. Raises what the first that cannot be watched raises alone."""
    try:
        found = seen.result()
    except (NotFiniteError, UserError):
        for run, sample in chunk:
            try:
                watched.watch([(run, sample)])
            except NotFiniteError as error:
                raise not_finite(model, sample, run) from error
        raise
    yield from ({} for _ in chunk[1:])
    yield found


@dataclass(frozen=True, eq=False)
class Watched:
    """A model that is run, the outputs to ask for, and what is wanted of them and of its inputs."""

    session: ort.InferenceSession
    outputs: list[str]
    tasks: Sequence[Task]

    @property
    def bytes(self) -> int:
        """Of the tensors of a run, where their shapes are known."""
        shapes = [one.shape for one in (*self.session.get_inputs(), *self.session.get_outputs())]
        floats = sum(prod(size for size in shape if isinstance(size, int)) for shape in shapes)
        return floats * np.dtype(np.float32).itemsize or 1

    def watch(self, chunk: Chunk) -> Seen:
        """What some runs show; of tensors that are no floats there is nothing to remember.

        Small tensors wait until there are enough of them for one look.
        """
        seen: Seen = {}
        waiting: dict[Task, list[Arrays]] = {task: [] for task in self.tasks}
        for run, sample in chunk:
            arrays = run_model(self.session, self.outputs, sample, run)
            for (name, want), kept in waiting.items():
                read = [arrays[tensor] for tensor in (name, *want.beside)]
                if not all(map(is_float, read)):
                    continue
                kept.append(read)
                if run == chunk[-1][0] or not want.kind.any_rows or len(kept) * read[0].size >= TOGETHER:
                    add(seen, {name: {want: observed(want, kept)}})
                    kept.clear()
        return seen


def observed(want: Want, runs: Sequence[Arrays]) -> Observation:
    """What is wanted of the arrays of one run, or of several that are as good as one."""
    if len(runs) == 1:
        return want.of(*runs[0])
    return want.of(*(np.concatenate([np.atleast_1d(one) for one in arrays]) for arrays in zip(*runs, strict=True)))


def in_turns(model: onnx.ModelProto, runs: Runs, tasks: Sequence[Task], memory: int) -> list[list[Task]]:
    """The tasks in parts that hold `memory` bytes each; one that needs more by itself has a turn of its own."""
    large = [task for task in tasks if task[1].kind.large]
    turns, room = [[task for task in tasks if not task[1].kind.large]], memory
    if not large:
        return turns
    session, outputs = session_with_outputs(model, tensors_of(large))
    shapes = {name: array.shape for name, array in run_model(session, outputs, next(iter(runs)), 0).items()}
    for name, want in large:
        bytes_held = want.kind.size([shapes[one] for one in (name, *want.beside)], *want.args)
        if bytes_held > room and room < memory:  # there is a large one already
            turns.append([])
            room = memory
        turns[-1].append((name, want))
        room -= bytes_held
    return turns


def tensors_of(tasks: Iterable[Task]) -> list[str]:
    return list(dict.fromkeys(one for name, want in tasks for one in (name, *want.beside)))


def not_finite(model: onnx.ModelProto, sample: Mapping[str, NDArray[Any]], run: int) -> UserError:
    """Which tensor was the first to hold NaN or infinity in a run, of all that there are, as float32."""
    names = observable(model)
    arrays = run_model(*session_with_outputs(model, names), sample, run)
    with np.errstate(over="ignore"):
        floats = {name: arrays[name].astype(np.float32) for name in names if is_float(arrays[name])}
    lost = next(name for name, array in floats.items() if not np.isfinite(array).all())
    value = floats[lost][~np.isfinite(floats[lost])].flat[0]
    return UserError(f"tensor {lost!r} {made_by(model, lost)} holds {value} in sample {run}")


def always_zero(statistics: Mapping[str, Statistics]) -> dict[str, str]:
    """{tensor name: sentence for the report} of the tensors that never held anything but 0; their scale is 1."""
    return {
        name: f"was 0 in all {one.count} elements of the calibration data: its scale of 1 is arbitrary"
        for name, one in statistics.items()
        if one.always_zero
    }


def workers() -> int:
    """How many threads there are processors for."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def observable(model: onnx.ModelProto) -> list[str]:
    """Graph inputs, then node outputs, in graph order."""
    computed = [name for node in model.graph.node if node.op_type != "Constant" for name in node.output if name]
    return [*model_inputs_names(model), *computed]


def model_inputs_names(model: onnx.ModelProto) -> list[str]:
    initializers = {tensor.name for tensor in model.graph.initializer}
    return [value.name for value in model.graph.input if value.name not in initializers]


def session_with_outputs(model: onnx.ModelProto, names: Sequence[str]) -> tuple[ort.InferenceSession, list[str]]:
    """A session whose outputs include every computed tensor in `names`, and the outputs to ask for."""
    inputs = set(model_inputs_names(model))
    outputs = [name for name in dict.fromkeys(names) if name not in inputs]
    extended = onnx.ModelProto()
    extended.CopyFrom(model)
    present = {value.name for value in model.graph.output}
    # onnxruntime infers the types of outputs that declare none.
    extended.graph.output.extend(onnx.ValueInfoProto(name=name) for name in outputs if name not in present)
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    options.log_severity_level = 4  # errors are raised, too
    session = ort.InferenceSession(extended.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session, outputs


def run_model(
    session: ort.InferenceSession, outputs: list[str], sample: Mapping[str, NDArray[Any]], run: int
) -> dict[str, NDArray[Any]]:
    """{name: array} of one run, the sample's own arrays included. Raises UserError where the values do not run."""
    try:
        results = session.run(outputs, dict(sample)) if outputs else []
    except (ort.capi.onnxruntime_pybind11_state.InvalidArgument, ort.capi.onnxruntime_pybind11_state.Fail) as error:
        raise UserError(f"the model cannot run sample {run}: {str(error).splitlines()[0]}") from error
    return {**sample, **dict(zip(outputs, results, strict=True))}


def is_float(array: object) -> bool:
    return isinstance(array, np.ndarray) and array.dtype.kind == "f"


def made_by(model: onnx.ModelProto, tensor: str) -> str:
    for node in model.graph.node:
        if tensor in node.output:
            return f"({node.op_type} node {node.name!r})" if node.name else f"({node.op_type} node)"
    return "(graph input)"
