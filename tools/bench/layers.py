"""`bevel bench layers`: common layers on this machine, beside the most that it multiplies.

Each layer is a library of its own, run again and again as networks run it, outputs compared first. Weights are as
those of trained networks, near a normal distribution; sums are rescaled to fill the output, and cut off at 0. Products
by padding count, whether a kernel makes them or not, so that one that leaves them out may show more than all. Before
and after it, a loop of products in registers is timed (`backends/cpu/x86/peak.py`): what others do with the machine
meets both.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from rich.console import Console

from bevel.backends import target as targets
from bevel.backends.build import BuildOptions, arranged, build
from bevel.backends.cpu.levels import at_hand
from bevel.backends.cpu.x86.peak import Peak, peak_of
from bevel.backends.devices.host import Host, processor
from bevel.backends.process.litter import scratch
from bevel.backends.program.kernel import levels_of
from bevel.backends.program.op import Array, Op
from bevel.backends.program.ops.gemm import Gemm
from bevel.backends.program.program import Call
from bevel.backends.program.resources import Resource
from bevel.backends.select.objective import LATENCY
from bevel.backends.target import Target
from bevel.calib.arithmetic.requantize import Output, fixed_points
from bevel.calib.errors import UserError
from bevel.tools.bench import tables
from bevel.tools.bench.rate_calls import conv, workload
from bevel.tools.command.quiet import quiet_libraries
from bevel.tools.run.single_file import check_file, write_file

SECONDS = 0.2
SPREAD = 4.0
LARGEST = np.iinfo(np.int8).max
RELU = Output(-128)
FIRST = 3  # channels of a picture; all other layers are behind a ReLU


@dataclass(frozen=True)
class Layer:
    name: str
    op: Op


@dataclass(frozen=True)
class LayerRow:
    """us: the median of one run; rate, peak: products a second, of the layer and in registers at that time; level: the
    instruction set whose loops ran."""

    layer: str
    level: str
    macs: int
    us: float
    peak: float
    rate: float = field(init=False)
    share: float = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "rate", self.macs / self.us * 1e6)
        object.__setattr__(self, "share", self.rate / self.peak)


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
    device = Host(target, SECONDS)
    if target.architecture != "x86_64" or device.missing() is not None:
        raise UserError(f"layers are timed beside the products of this machine's x86-64: not those of {name}")
    console, peak = tables.console(), peak_of(target)
    console.print(f"Outputs compared first; {device.tool()}", highlight=False)
    with scratch():
        rows = [measured(layer, target, device, peak) for layer in layers()]
    show(console, rows, peak)
    if output:
        write_file(output, (json.dumps([asdict(one) for one in rows], indent=2, allow_nan=False) + "\n").encode())


def measured(layer: Layer, target: Target, device: Host, peak: Peak) -> LayerRow:
    """Raises RuntimeError where a kernel computes something else: our bug."""
    rng = np.random.default_rng(0)
    x, *constants = constants_of(layer.op, rng)
    alone = workload("layer", (Call("layer", layer.op, ("x",), tuple(constants), "y"),), {"x": x[np.newaxis]})
    (call,) = arranged(alone.program, target, LATENCY).calls
    with TemporaryDirectory(prefix="bevel-layer-") as place:
        artifact = build(alone.program, target, Path(place), alone.vectors, BuildOptions(objective=LATENCY))
        before = peak.rate()
        found = device.measure(artifact, alone.vectors)
        after = peak.rate()
    if found.mismatches:
        raise RuntimeError(f"a kernel changed the result: {found.first_mismatch}")
    seconds = found.spent[Resource.LATENCY]
    return LayerRow(layer.name, level_of(call.kernel, target), layer.op.macs, seconds * 1e6, (before + after) / 2)


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
