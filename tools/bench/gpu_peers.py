"""onnxruntime beside a GPU's product: the time of the same quantized.onnx by each of its providers that is installed.

TensorRT's and CUDA's providers run on the GPU, and come with packages of onnxruntime's own for them; the CPU's is
always there, and says what this machine's processor takes, not what a GPU does.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from statistics import median
from time import perf_counter

import onnx
import onnxruntime as ort

from bevel.tools.bench.peers import CPU, Run, onnxruntime_run
from bevel.tools.run import bundle, vectors

PROVIDERS = ("TensorrtExecutionProvider", "CUDAExecutionProvider", CPU)
ITS_OWN = 0  # threads: as many as onnxruntime takes by itself
SECONDS, FEWEST = 0.2, 5


def beside(folder: Path) -> dict[str, float]:
    """{provider: median seconds of a run} of the quantized model of a bundle, with its first test vector."""
    path = folder / bundle.QUANTIZED
    sample = next(vectors.samples(vectors.load(folder), onnx.load(path)))
    found = {}
    for provider in (one for one in PROVIDERS if one in ort.get_available_providers()):
        with suppress(Exception):  # whatever another project raises where there is no GPU, or not its libraries
            found[provider] = timed(onnxruntime_run(path, sample, ITS_OWN, provider))
    return found


def timed(run: Run) -> float:
    run()
    times: list[float] = []
    while len(times) < FEWEST or sum(times) < SECONDS:
        begin = perf_counter()
        run()
        times.append(perf_counter() - begin)
    return median(times)
