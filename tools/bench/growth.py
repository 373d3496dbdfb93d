"""How the time of each stage grows with a network: chains of residual blocks, each twice as long as the one before.

    python -m bevel.tools.bench.growth [--nodes 600,1200,2400,4800]

A stage whose time grows with the number of nodes doubles from one row to the next; one that compares all pairs of
nodes takes four times as long. Seconds are processor time of this machine; the ratios are what counts.

Left out is what onnxruntime does alone, running and opening models, and with it the search for tensors that need int16:
in a chain of a thousand residual blocks int8 loses every tensor, and how often it then runs says nothing of graphs.
"""

from __future__ import annotations

import gc
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import click
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from bevel.backends import target as targets
from bevel.backends.binary.c.bundle import bundle
from bevel.backends.build import arranged
from bevel.backends.program import memory
from bevel.backends.tir import importer
from bevel.calib.data.dataset import random_dataset
from bevel.calib.observe.observe import model_inputs, observe
from bevel.passes.canonicalize import canonicalize
from bevel.passes.exchange.load import load
from bevel.passes.integerize.integerize import integerize
from bevel.passes.partition.partition import partition
from bevel.passes.quantize import QuantizeOptions, export, export_quantized, quantize

BLOCK = 4  # nodes: two convolutions, one Relu, one Add
CHANNELS, SIDE = 4, 4
SAMPLES = 2
TARGET = "cortex-m7"
Made = TypeVar("Made")


def chain(nodes: int) -> onnx.ModelProto:
    """A network of about `nodes` nodes, in residual blocks of small convolutions."""
    rng = np.random.default_rng(0)
    made, weights, tensor = [], [], "x"
    for block in range(nodes // BLOCK):
        for name in (f"w{block}a", f"w{block}b"):
            values = rng.standard_normal((CHANNELS, CHANNELS, 1, 1)).astype(np.float32) / 4
            weights.append(numpy_helper.from_array(values, name))
        made += [
            helper.make_node("Conv", [tensor, f"w{block}a"], [f"a{block}"], f"conv{block}a"),
            helper.make_node("Relu", [f"a{block}"], [f"r{block}"], f"relu{block}"),
            helper.make_node("Conv", [f"r{block}", f"w{block}b"], [f"b{block}"], f"conv{block}b"),
            helper.make_node("Add", [tensor, f"b{block}"], [f"y{block}"], f"add{block}"),
        ]
        tensor = f"y{block}"
    shape = [1, CHANNELS, SIDE, SIDE]
    ports = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in ("x", tensor)]
    graph = helper.make_graph(made, "chain", ports[:1], ports[1:], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)


def stages(nodes: int) -> dict[str, float]:
    """{stage: seconds} of one network."""
    spent: dict[str, float] = {}

    def timed(stage: str, work: Callable[[], Made]) -> Made:
        gc.collect()
        gc.freeze()  # what earlier stages made: its next collection is not this one's time
        start = time.process_time()
        made = work()
        spent[stage] = time.process_time() - start
        return made

    model, target, options = loaded(nodes, timed), targets.load(TARGET), QuantizeOptions()
    samples = random_dataset(model_inputs(model), SAMPLES, seed=0)
    graph, _ = timed("canonicalize", lambda: canonicalize(model, iter(samples)))
    canonical = export(graph)
    statistics = timed("observe", lambda: observe(canonical, samples, options.wants(graph)))
    quantized = timed("quantize", lambda: quantize(graph, statistics, options))
    timed("export", lambda: export_quantized(quantized.graph))
    integer, _ = timed("integerize", lambda: integerize(quantized.graph, inputs="quantized", outputs="quantized"))
    program, _ = timed("partition", lambda: partition(integer, "chain", islands=False, importer=importer))
    special = timed("select", lambda: arranged(program, target))
    plan = timed("plan", lambda: memory.plan(special))
    timed("generate", lambda: bundle(special, plan))
    return spent


def loaded(nodes: int, timed: Callable[[str, Callable[[], onnx.ModelProto]], onnx.ModelProto]) -> onnx.ModelProto:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "chain.onnx"
        onnx.save(chain(nodes), path)
        return timed("load", lambda: load(path).model)


def rows(sizes: list[int]) -> Iterator[list[str]]:
    """A line a network: its nodes, and seconds of each stage with the ratio to the line before."""
    before: dict[str, Any] = {}
    for nodes in sizes:
        spent = stages(nodes)
        if not before:
            yield ["nodes", *spent]
        yield [str(nodes), *(shown(spent[stage], before.get(stage)) for stage in spent)]
        before = spent


def shown(seconds: float, before: float | None) -> str:
    return f"{seconds:.2f}" + (f" ({seconds / before:.1f}x)" if before else "")


@click.command()
@click.option("--nodes", default="600,1200,2400,4800", show_default=True, metavar="LIST", help="Sizes to measure.")
def command(nodes: str) -> None:
    """Time the stages of optimize on chains of growing length."""
    for row in rows([int(size) for size in nodes.split(",")]):
        click.echo("".join(f"{cell:>15}" for cell in row))


if __name__ == "__main__":
    command()
