"""A large product by weights of 4 bits in groups of 32, beside onnxruntime's with float weights and its own of 4 bits.

    python -m bevel.tools.bench.n_bits [--rows 1,64] [--size 2048] [--isa avx2]

One thread each, in turns, the least of the medians of a few rounds, in microseconds. Ours is a library like any that
`optimize --weights int4:block32 --activations float32` makes, and equals its reference bit for bit, or there is no
time. onnxruntime's MatMulNBits multiplies floats (accuracy level 1), or rounds activations to int8 on the way (level
4), which is another function: its error beside the float product stands there, too.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click
import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from bevel.backends import target as targets
from bevel.backends.build import BuildOptions, build
from bevel.backends.devices.host import Host
from bevel.backends.process.litter import scratch
from bevel.backends.program.ops.mat_mul_n_bits import MatMulNBits
from bevel.backends.program.program import Call
from bevel.backends.program.resources import Resource
from bevel.backends.select.objective import LATENCY
from bevel.backends.target import Target
from bevel.tools.bench.rate_calls import workload
from bevel.tools.command.entry import run as run_command

Array = NDArray[Any]
BITS, GROUP, ZERO = 4, 32, 8
LEVELS = {"onnxruntime, MatMulNBits in float32": 1, "onnxruntime, MatMulNBits in int8": 4}
FLOAT = "onnxruntime, float weights"
OURS = "bevel"
ROUNDS, SECONDS = 5, 0.1
OPSET = [helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)]


def product(rows: int, size: int) -> tuple[MatMulNBits, Array, Array, Array]:
    """The operator, x, codes [k, n] and scales [groups, n], as of trained weights."""
    rng = np.random.default_rng(0)
    codes = np.clip(np.rint(rng.normal(ZERO, 2.5, (size, size))), 0, 2**BITS - 1).astype(np.uint8)
    scale = (rng.uniform(0.5, 1.5, (size // GROUP, size)) / 100).astype(np.float32)
    return MatMulNBits(rows, size, size, BITS, GROUP, ZERO), normal(rng, (rows, size)), codes, scale


def normal(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    return rng.standard_normal(shape).astype(np.float32)


def float_model(x: Array, weights: Array) -> onnx.ModelProto:
    return model(x, weights.shape[1], helper.make_node("MatMul", ["x", "w"], ["y"]), {"w": weights})


def packed_model(x: Array, codes: Array, scale: Array, level: int) -> onnx.ModelProto:
    """onnxruntime's operator: B [n, groups, bytes], two codes a byte, the first one lower; scales [n * groups]."""
    k, n = codes.shape
    by_group = codes.T.reshape(n, k // GROUP, GROUP)
    packed = by_group[..., 0::2] | by_group[..., 1::2] << BITS
    attributes = {"K": k, "N": n, "bits": BITS, "block_size": GROUP, "accuracy_level": level}
    node = helper.make_node("MatMulNBits", ["x", "w", "s"], ["y"], domain="com.microsoft", **attributes)
    return model(x, n, node, {"w": packed, "s": np.ascontiguousarray(scale.T).ravel()})


def model(x: Array, n: int, node: onnx.NodeProto, constants: Mapping[str, Array]) -> onnx.ModelProto:
    ports = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in (("x", x.shape), ("y", (len(x), n)))
    ]
    stored = [numpy_helper.from_array(np.ascontiguousarray(one), name) for name, one in constants.items()]
    graph = helper.make_graph([node], "product", ports[:1], ports[1:], stored)
    return helper.make_model(graph, opset_imports=OPSET, ir_version=10)


def opened(made: onnx.ModelProto, x: Array) -> Callable[[], Array]:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(made.SerializeToString(), options, ["CPUExecutionProvider"])
    return lambda: np.asarray(session.run(None, {"x": x})[0])


def timed(run: Callable[[], Array]) -> float:
    """The median of runs of `SECONDS`."""
    found, end = [], time.perf_counter() + SECONDS
    while time.perf_counter() < end:
        begin = time.perf_counter()
        run()
        found.append(time.perf_counter() - begin)
    return float(np.median(found))


def times(rows: int, size: int, target: Target, folder: Path) -> dict[str, tuple[float, float]]:
    """Seconds, and the error over the largest output of the product in float64. Raises RuntimeError where the library
    computes something else than its reference: our bug."""
    op, x, codes, scale = product(rows, size)
    reals = (codes.astype(np.float32) - ZERO) * np.repeat(scale, GROUP, axis=0)
    exact = x.astype(np.float64) @ reals
    call = Call("product", op, ("x",), op.packed(codes, scale, None, None), "y")
    alone = workload("product", (call,), {"x": x[np.newaxis]})
    artifact = build(alone.program, target, folder, alone.vectors, BuildOptions(objective=LATENCY))
    device = Host(target, SECONDS)
    peers = {FLOAT: opened(float_model(x, reals), x)}
    peers |= {name: opened(packed_model(x, codes, scale, level), x) for name, level in LEVELS.items()}
    results = {name: run() for name, run in peers.items()} | {OURS: alone.vectors.expected["y"][0]}
    found = dict.fromkeys(results, np.inf)
    for _ in range(ROUNDS):
        measured = device.measure(artifact, alone.vectors)
        if measured.mismatches:
            raise RuntimeError(f"the library computes something else: {measured.first_mismatch}")
        found[OURS] = min(found[OURS], measured.spent[Resource.LATENCY])
        found |= {name: min(found[name], timed(run)) for name, run in peers.items()}
    largest = np.abs(exact).max()
    return {name: (found[name], float(np.abs(results[name] - exact).max() / largest)) for name in results}


@click.command(help=__doc__)
@click.option("--rows", "given", default="1,64", help="Of the input, after commas.")
@click.option("--size", default=2048, help="Inputs, and outputs.")
@click.option("--isa", default=None, help="As of optimize.")
def command(given: str, size: int, isa: str | None) -> None:
    target = targets.load("host").with_levels(isa)
    click.echo(f"{size} x {size}, {BITS} bits, groups of {GROUP}; {Host(target).tool()}")
    with scratch():
        for rows in map(int, given.split(",")):
            with TemporaryDirectory(prefix="bevel-") as place:
                for name, (seconds, error) in times(rows, size, target, Path(place)).items():
                    click.echo(f"| {rows} rows | {name} | {seconds * 1e6:,.0f} us | {error:.1e} |")


if __name__ == "__main__":
    sys.exit(run_command(command))
