"""What attention costs beside a convolution of equal size, counted in simulation.

    python -m bevel.tools.bench.attention [--cores cortex-m7,cortex-m55]

A product of a batch of matrices [rows, terms] and [terms, columns] and a 1x1 convolution of `terms` into `columns`
channels on as many pixels as the batch has rows are of equal size: the same multiplications, sums and results. Each
product of an attention stands beside its convolution, in instructions per MAC, then the scores with their Softmax, and
the whole attention beside both convolutions. Of one row, a decoder's step, columns are the slots of its cache.
Convolutions are of int8 to int8; of int16 are what is said to be, as scores and shares are in transformers here.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
from rich.console import Console
from rich.table import Table

from bevel.backends import target as targets
from bevel.backends.build import BuildOptions, build
from bevel.backends.devices.base import Vectors
from bevel.backends.devices.find import available
from bevel.backends.program.op import Array, Op, Role
from bevel.backends.program.ops.conv import Conv
from bevel.backends.program.ops.mat_mul import MatMul, heads, product, turned
from bevel.backends.program.ops.softmax import WideSoftmax
from bevel.backends.program.program import Buffer, Call, Port, Program
from bevel.backends.program.resources import Resource
from bevel.backends.select.objective import LATENCY
from bevel.calib.arithmetic.requantize import Output
from bevel.calib.arithmetic.softmax import FINE
from bevel.calib.errors import UserError
from bevel.tools.command.entry import run as run_command

DEFAULT = "cortex-m7,cortex-m55"
INT16 = Output(-(2**15), -(2**15), 2**15 - 1, "int16")
PARTS = ("scores", "softmax", "values", "scores as a convolution", "values as a convolution")


@dataclass(frozen=True)
class AttentionShape:
    """`rows` queries of `width` channels in each of `heads` against `slots` keys and values. `scores`: the dtype of
    scores and shares, with queries, keys and values of int8. turned: whether keys lie by slots, as they are written."""

    name: str
    heads: int
    rows: int
    slots: int
    width: int
    scores: str = "int16"
    turned: bool = True

    @property
    def macs(self) -> int:
        """Of each product."""
        return self.heads * self.rows * self.slots * self.width

    def parts(self) -> dict[str, Op]:
        """By PARTS."""
        pixels = self.heads * self.rows
        scored, shared = (INT16, INT16) if self.scores == "int16" else (Output(3), Output(-128))
        coarse, bits = (FINE, 16) if self.scores == "int16" else (1, 8)
        softmax = WideSoftmax(pixels, self.slots, coarse, bits, shared, self.scores)
        return dict(
            zip(PARTS, (self.products(scored)[0], softmax, self.products(shared)[1], *self.convolutions()), strict=True)
        )

    def products(self, stored: Output) -> tuple[MatMul, MatMul]:
        """Scores of `stored`, and values of shares that are."""
        batch, rows = (self.heads,), heads(self.rows, self.heads, self.width)
        kept = heads(self.slots, self.heads, self.width)
        keys = turned(kept) if self.turned else (self.width * self.slots, self.slots, 1)
        points: dict[str, Any] = {"a_zero_point": -6, "b_zero_point": 5, "a_strides": rows, "b_strides": keys}
        first = product(batch, self.rows, self.width, self.slots, 0.002, output=stored, **points)
        shares: dict[str, Any] = {"a_zero_point": stored.low, "b_zero_point": 5, "b_strides": kept, "y_strides": rows}
        if stored.dtype == "int16":
            shares |= {"a_dtype": "int16", "largest": 2**16 * 2**8}
        ratio = 2.0**-16 if stored.dtype == "int16" else 2.0**-8
        return first, product(batch, self.rows, self.slots, self.width, ratio, **shares)

    def convolutions(self) -> tuple[Conv, Conv]:
        pixels, one, none = self.heads * self.rows, (1, 1), (0, 0, 0, 0)
        sizes = ((self.width, self.slots), (self.slots, self.width))
        first, second = (Conv(1, 1, pixels, *size, one, one, one, none, 1, -5, Output(3)) for size in sizes)
        return first, second


def attentions() -> Iterator[AttentionShape]:
    """Of the networks that we measure, in both widths; keys that lie the other way; a decoder's step."""
    for scores in ("int16", "int8"):
        yield AttentionShape("peer_vit", 4, 65, 65, 16, scores)
        yield AttentionShape("mnist_vit", 4, 50, 50, 64, scores)
        yield AttentionShape("BERT", 2, 128, 128, 64, scores)
        yield AttentionShape("stories260K", 8, 32, 32, 8, scores)
        yield AttentionShape("stories260K, step", 8, 1, 256, 8, scores)
    yield AttentionShape("peer_vit, keys turned", 4, 65, 65, 16, turned=False)
    yield AttentionShape("BERT, keys turned", 2, 128, 128, 64, turned=False)


@dataclass(frozen=True)
class Cost:
    """Instructions of each of PARTS."""

    attention: AttentionShape
    spent: dict[str, float]

    def per_mac(self, part: str) -> float:
        return self.spent[part] / self.attention.macs

    def ratio(self, *parts: str) -> float:
        """Of parts that make scores, values or both, to the convolutions of what they multiply."""
        beside = sum(self.spent[f"{part} as a convolution"] for part in parts if part != "softmax")
        return sum(self.spent[part] for part in parts) / beside


def program_of(parts: dict[str, Op]) -> tuple[Program, Vectors]:
    """All parts side by side, each with inputs of its own, as their examples are."""
    rng = np.random.default_rng(0)
    calls, buffers, inputs, outputs = [], {}, [], []
    given: dict[str, Array] = {}
    for index, (part, op) in enumerate(parts.items()):
        arrays = op.example(rng)
        operands = op.roles(Role.INPUT)
        names = [f"x{index}_{place}" for place in range(len(operands))]
        for name, operand in zip((*names, f"y{index}"), (*operands, *op.roles(Role.OUTPUT)), strict=True):
            buffers[name] = Buffer(name, operand.shape, operand.dtype)
        inputs += [Port(name, name, buffers[name].shape, buffers[name].dtype) for name in names]
        outputs.append(Port(f"y{index}", f"y{index}", buffers[f"y{index}"].shape, buffers[f"y{index}"].dtype))
        given |= dict(zip(names, arrays, strict=False))
        calls.append(Call(part, op, tuple(names), arrays[len(names) :], f"y{index}"))
    program = Program("net", tuple(inputs), tuple(outputs), buffers, tuple(calls))
    expected = program.run(given)
    return program, Vectors(with_one(given), with_one(expected))


def with_one(arrays: dict[str, Array]) -> dict[str, Array]:
    return {name: array[np.newaxis] for name, array in arrays.items()}


def measured(attention: AttentionShape, core: str) -> Cost:
    """What each part spends on `core`, built for latency. Raises RuntimeError where one computes something else: our
    bug."""
    target = targets.load(core)
    device = available(target)
    if device is None:
        raise UserError(f"no device here runs {core}")
    parts = attention.parts()
    program, vectors = program_of(parts)
    with tempfile.TemporaryDirectory(prefix="bevel-attention-") as place:
        artifact = build(program, target, Path(place), vectors, BuildOptions(objective=LATENCY))
        found = device.measure(artifact, vectors)
    if found.mismatches:
        raise RuntimeError(f"a kernel changed the result: {found.first_mismatch}")
    counts = (cost.spent[Resource.INSTRUCTIONS] for cost in found.per_call)
    return Cost(attention, dict(zip(parts, counts, strict=True)))


def table_of(core: str, costs: list[Cost]) -> Table:
    columns = ("attention", "scores", "MACs", "convolution", "scores", "ratio", "Softmax", "with scores", "ratio")
    table = Table(title=f"{core}: instructions per MAC, of Softmax per element")
    for column in (*columns, "values", "ratio", "whole"):
        table.add_column(column, justify="left" if column == "attention" else "right")
    for cost in costs:
        one, scored = cost.attention, cost.spent["scores"] + cost.spent["softmax"]
        table.add_row(
            one.name,
            one.scores,
            f"{one.macs:,}",
            f"{cost.per_mac('scores as a convolution'):.2f}",
            f"{cost.per_mac('scores'):.2f}",
            f"{cost.ratio('scores'):.2f}",
            f"{cost.spent['softmax'] / (one.heads * one.rows * one.slots):.1f}",
            f"{scored / one.macs:.2f}",
            f"{cost.ratio('scores', 'softmax'):.2f}",
            f"{cost.per_mac('values'):.2f}",
            f"{cost.ratio('values'):.2f}",
            f"{cost.ratio('scores', 'softmax', 'values'):.2f}",
        )
    return table


@click.command(help=__doc__)
@click.option("--cores", default=DEFAULT, show_default=True, metavar="A,B", help="Targets that a device here runs.")
@click.option("--only", metavar="NAME", help="Attentions whose name begins so.")
def main(cores: str, only: str | None) -> None:
    wanted = [one for one in attentions() if one.name.startswith(only or "")]
    for core in cores.split(","):
        Console(width=140).print(table_of(core, [measured(one, core) for one in wanted]))


if __name__ == "__main__":
    sys.exit(run_command(main))
