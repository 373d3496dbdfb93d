"""`bevel bench layers`: common layers on this machine, beside the most that it multiplies.

Each layer is a library of its own, run again and again as networks run it, outputs compared first. Weights are as
those of trained networks, near a normal distribution; sums are rescaled to fill the output, and cut off at 0. Products
by padding count, whether a kernel makes them or not, so that one that leaves them out may show more than all. Layers
take turns, and in each a loop of products in registers is timed around it (`backends/cpu/x86/peak.py`), so that what
others do with the machine meets both; medians of all turns are told.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numpy as np
from rich.console import Console

from bevel.backends import target as targets
from bevel.backends.binary.toolchain import for_target
from bevel.backends.build import BuildOptions, arranged, build
from bevel.backends.cpu.levels import at_hand
from bevel.backends.cpu.x86.peak import Peak, peak_of
from bevel.backends.devices.base import compared
from bevel.backends.devices.host import Host, processor
from bevel.backends.devices.native import build_harness, outputs, times
from bevel.backends.process.litter import scratch
from bevel.backends.program.kernel import levels_of
from bevel.backends.program.op import Array, Op
from bevel.backends.program.ops.gemm import Gemm
from bevel.backends.program.program import Call
from bevel.backends.select.objective import LATENCY
from bevel.backends.target import Target
from bevel.calib.arithmetic.requantize import Output, fixed_points
from bevel.calib.errors import UserError
from bevel.tools.bench import tables
from bevel.tools.bench.rate_calls import conv, workload
from bevel.tools.command.quiet import quiet_libraries
from bevel.tools.run.single_file import check_file, write_file

SECONDS, TURNS = 0.02, 15
SPREAD = 4.0
LARGEST = np.iinfo(np.int8).max
RELU = Output(-128)
FIRST = 3  # channels of a picture; all other layers are behind a ReLU


@dataclass(frozen=True)
class Layer:
    name: str
    op: Op


class Turn(NamedTuple):
    """Of one run; and products a second in registers at that time."""

    seconds: float
    peak: float


@dataclass(frozen=True)
class LayerRow:
    """Medians. us: of one run; rate, peak: products a second, of the layer and in registers; share: of a turn's rate in
    those in registers before and after it; level: the instruction set whose loops ran."""

    layer: str
    level: str
    macs: int
    us: float
    peak: float
    share: float
    rate: float = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "rate", self.macs / self.us * 1e6)

    @classmethod
    def of_turns(cls, layer: str, level: str, macs: int, turns: Sequence[Turn]) -> LayerRow:
        seconds, peak = median(one.seconds for one in turns), median(one.peak for one in turns)
        share = median(macs / (one.seconds * one.peak) for one in turns)
        return cls(layer, level, macs, seconds * 1e6, peak, share)


def layers() -> Iterator[Layer]:
    """Convolutions of 3x3 and of pixels, a first layer, depthwise ones, and products by a matrix."""
    for size, channels, kernel in (
        (32, (3, 16), 3), (32, (16, 16), 3), (16, (32, 32), 3), (32, (40, 40), 3), (8, (64, 64), 3), (16, (80, 80), 3),
        (12, (64, 64), 1), (8, (128, 128), 1), (4, (256, 256), 1), (8, (256, 256), 1),
    ):  # fmt: skip
        name = f"{kernel}x{kernel} {channels[0]}->{channels[1]}, {size}x{size}"
        behind = conv(size, channels, kernel)
        behind = behind if channels[0] == FIRST else replace(behind, x_zero_point=RELU.low)
        yield Layer(name, replace(behind, output=RELU))
    for size, groups in ((24, 32), (12, 64)):
        yield Layer(
            f"3x3 depthwise {groups}, {size}x{size}",
            replace(conv(size, (groups, groups), 3, groups=groups), output=RELU),
        )
    for rows, k, n in ((1, 640, 128), (65, 64, 256)):
        yield Layer(f"{rows} row{'s' * (rows > 1)} {k}->{n}", Gemm(rows, k, n, RELU))


def show_bench(name: str, isa: str | None, output: Path | None) -> None:
    quiet_libraries()
    if output is not None:
        check_file(output)
    target = targets.load(name).with_levels(isa)
    device = Host(target)
    if target.architecture != "x86_64" or device.missing() is not None:
        raise UserError(f"layers are timed beside the products of this machine's x86-64: not those of {name}")
    console, peak = tables.console(), peak_of(target)
    console.print(f"Outputs compared first; {device.tool()}", highlight=False)
    with scratch(), TemporaryDirectory(prefix="bevel-") as place:
        ready = [built(layer, device, Path(place) / f"{number}") for number, layer in enumerate(layers())]
        rows = list(measured(ready, peak))
    show(console, rows, peak)
    if output:
        write_file(output, (json.dumps([asdict(one) for one in rows], indent=2, allow_nan=False) + "\n").encode())


@dataclass(frozen=True)
class TimedLayer:
    """level: whose loops run; harness: the folder of a program that times them."""

    layer: Layer
    level: str
    harness: Path


def built(layer: Layer, device: Host, folder: Path) -> TimedLayer:
    """Raises RuntimeError where a kernel computes something else: our bug."""
    rng, target = np.random.default_rng(0), device.target
    x, *constants = constants_of(layer.op, rng)
    alone = workload("layer", (Call("layer", layer.op, ("x",), tuple(constants), "y"),), {"x": x[np.newaxis]})
    (call,) = arranged(alone.program, target, LATENCY).calls
    product, harness = folder / "product", folder / "harness"
    for one in (product, harness):
        one.mkdir(parents=True)
    artifact = build(alone.program, target, product, alone.vectors, BuildOptions(objective=LATENCY))
    build_harness(artifact, for_target(target), harness, static=False)
    found = compared(device, outputs(artifact, alone.vectors, harness), alone.vectors)
    if found.mismatches:
        raise RuntimeError(f"a kernel changed the result: {found.first_mismatch}")
    return TimedLayer(layer, level_of(call.kernel, target), harness)


def measured(ready: Sequence[TimedLayer], peak: Peak) -> Iterator[LayerRow]:
    """Each layer in each turn, between two looks at the products in registers."""
    turns: list[list[Turn]] = [[] for _ in ready]
    for _ in range(TURNS):
        for one, found in zip(ready, turns, strict=True):
            before, seconds, after = peak.rate(), times(one.harness, SECONDS).run, peak.rate()
            found.append(Turn(seconds, (before + after) / 2))
    for one, found in zip(ready, turns, strict=True):
        yield LayerRow.of_turns(one.layer.name, one.level, one.layer.op.macs, found)


def constants_of(op: Op, rng: np.random.Generator) -> tuple[Array, ...]:
    """An input, and what a quantizer makes of weights whose largest are `SPREAD` standard deviations."""
    x, w, bias, *_ = op.example(rng)
    drawn = rng.normal(size=w.shape).clip(-SPREAD, SPREAD).reshape(len(w), -1)
    drawn *= LARGEST / np.abs(drawn).max(axis=1, keepdims=True)
    deviation = np.sqrt((drawn**2).sum(axis=1)) * x.std()
    multiplier, shift = fixed_points(2 * LARGEST / (SPREAD * deviation))
    return x, np.rint(drawn).astype(np.int8).reshape(w.shape), bias, multiplier, shift


def level_of(kernel: Op, target: Target) -> str:
    """Whose loops run here."""
    ran = (level.name for level in at_hand(target) if level.name in levels_of(kernel))
    return next(ran, target.levels[-1])


def show(console: Console, rows: Sequence[LayerRow], peak: Peak) -> None:
    table = tables.numbers("layer", "loops", right=("MACs", "us", "GMAC/s", "in registers", "of it"))
    for one in rows:
        numbers = (f"{one.macs:,}", f"{one.us:.2f}", f"{one.rate / 1e9:.0f}", f"{one.peak / 1e9:.0f}")
        table.add_row(one.layer, one.level, *numbers, f"{100 * one.share:.0f}%")
    title = f"Layers on one thread of {processor()}, beside products of {peak.level} in registers"
    tables.show(console, title, table)
