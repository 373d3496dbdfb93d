"""Other runtimes for the same network on this machine, as functions that run it once. One file, a few lines each.

    onnxruntime-float   model.onnx
    onnxruntime-u8s8    model.onnx, quantized by onnxruntime's own quantize_static: uint8 activations, int8 weights
    onnxruntime-s8s8    the same with int8 activations
    openvino-float, openvino-u8s8, openvino-s8s8     the same files
    litert              model.tflite beside model.onnx, where there is one

OpenVINO and LiteRT take part where they are installed (`pip install openvino ai-edge-litert`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from importlib import import_module, metadata
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

from bevel.backends.process import signal_stack
from bevel.tools.bench.subjects import Subject

FLOAT, U8S8, S8S8 = "float", "u8s8", "s8s8"
ACTIVATIONS = {U8S8: QuantType.QUInt8, S8S8: QuantType.QInt8}
CALIBRATED = 64  # samples at most
CPU = "CPUExecutionProvider"

Sample = Mapping[str, NDArray[Any]]
Run = Callable[[], object]


@dataclass
class LeftOut:
    """Peers that cannot take part, and why."""

    reasons: dict[str, str] = field(default_factory=dict)


class SampleReader(CalibrationDataReader):  # type: ignore[misc]
    """Samples for quantize_static."""

    def __init__(self, samples: list[dict[str, NDArray[Any]]]) -> None:
        self.left = iter(samples)

    def get_next(self) -> dict[str, NDArray[Any]] | None:
        return next(self.left, None)


def models(subject: Subject, samples: Iterator[Sample], folder: Path, refused: LeftOut) -> dict[str, Path]:
    """The network as float and as onnxruntime quantizes it, in `folder`."""
    found = {FLOAT: subject.model}
    given = [dict(one) for one in islice(samples, CALIBRATED)]
    prepared = folder / "prepared.onnx"
    try:
        quant_pre_process(str(subject.model), str(prepared), skip_symbolic_shape=True)
    except Exception as error:  # whatever another project raises is a reason, not ours to know
        refused.reasons["onnxruntime's quantizer"] = line(error)
        return found
    for name, activations in ACTIVATIONS.items():
        path = folder / f"{name}.onnx"
        try:
            quantize_static(
                str(prepared), str(path), SampleReader(given), quant_format=QuantFormat.QDQ, per_channel=True,
                activation_type=activations, weight_type=QuantType.QInt8,
            )  # fmt: skip
            found[name] = path
        except Exception as error:
            refused.reasons[f"onnxruntime's quantizer, {name}"] = line(error)
    return found


def runs(subject: Subject, files: Mapping[str, Path], sample: Sample, threads: int, refused: LeftOut) -> dict[str, Run]:
    """{peer: what runs it once}, of those that take the network."""
    makers: dict[str, Callable[[], Run]] = {}
    for name, path in files.items():
        makers[f"onnxruntime-{name}"] = partial(onnxruntime_run, path, sample, threads)
        if find_spec("openvino") is not None:
            makers[f"openvino-{name}"] = partial(openvino_run, path, sample, threads)
    flat = subject.model.with_suffix(".tflite")
    if find_spec("ai_edge_litert") is not None and flat.is_file():
        makers["litert"] = partial(litert_run, flat, threads)
    found = {}
    for name, make in makers.items():
        try:
            found[name] = make()
            found[name]()
        except Exception as error:
            found.pop(name, None)
            refused.reasons[name] = line(error)
    return found


def onnxruntime_run(path: Path, sample: Sample, threads: int, provider: str = CPU) -> Run:
    """With inputs and outputs bound, so that nothing is copied or made. Raises RuntimeError for a provider that is
    installed and does not work here, in whose place onnxruntime takes the CPU's."""
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = threads, 3
    session = ort.InferenceSession(str(path), options, [provider])
    if provider not in session.get_providers():
        raise RuntimeError(f"{provider} does not work here")
    binding = session.io_binding()
    held = [ort.OrtValue.ortvalue_from_numpy(np.ascontiguousarray(sample[one.name])) for one in session.get_inputs()]
    for one, value in zip(session.get_inputs(), held, strict=True):
        binding.bind_ortvalue_input(one.name, value)
    for one in session.get_outputs():
        binding.bind_output(one.name)
    return lambda: session.run_with_iobinding(binding)


def openvino_run(path: Path, sample: Sample, threads: int) -> Run:
    """For latency, in float32 where it computes in float."""
    openvino = import_module("openvino")
    core = openvino.Core()
    model = core.read_model(str(path))
    model.reshape({name: list(value.shape) for name, value in sample.items()})
    options = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": 1,
        "INFERENCE_PRECISION_HINT": "f32",
        "ENABLE_CPU_PINNING": False,
    }
    with signal_stack.kept():
        request = core.compile_model(model, "CPU", options).create_infer_request()
    for name, value in sample.items():
        request.set_tensor(name, openvino.Tensor(np.ascontiguousarray(value)))

    def run() -> None:
        request.start_async()
        request.wait()

    return run


def litert_run(path: Path, threads: int) -> Run:
    """With whatever its inputs hold: integers take as long whatever they are."""
    interpreter = import_module("ai_edge_litert.interpreter").Interpreter(str(path), num_threads=threads)
    interpreter.allocate_tensors()
    run: Run = interpreter.invoke
    return run


def versions() -> str:
    """Of the peers that are installed."""
    known = ("onnxruntime", "openvino", "ai-edge-litert")
    return ", ".join(f"{name} {metadata.version(name)}" for name in known if find_spec(name.replace("-", "_")))


def line(error: Exception) -> str:
    """The first line of what went wrong."""
    return next((one.strip() for one in str(error).splitlines() if one.strip()), type(error).__name__)[:160]
