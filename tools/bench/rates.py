"""What kernels spend and how much code they are, fitted to measured calls: the `rates` that a kernel's class declares.

    python -m bevel.tools.bench.rates [--target cortex-m4]

Calls of common shapes are built with every kernel that a rule of the target has for them, with weights of several
formats, run on the target's device, and compared element for element. For each class of kernels, amounts that are not
negative are fitted to the counts, so that relative errors are least; the last columns say what the fit gives as a share
of what was measured, at its lowest and its highest.
"""

from __future__ import annotations

import tempfile
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from scipy.optimize import nnls

from bevel.backends import target as targets
from bevel.backends.binary.artifact import Artifact
from bevel.backends.build import BuildOptions, arranged, build
from bevel.backends.devices.base import Device, Vectors
from bevel.backends.devices.find import available
from bevel.backends.program.op import Op, Role
from bevel.backends.program.ops.add import Add
from bevel.backends.program.ops.average_pool import AveragePool
from bevel.backends.program.ops.conv import Conv
from bevel.backends.program.ops.gemm import Gemm
from bevel.backends.program.ops.mat_mul import product
from bevel.backends.program.ops.max_pool import MaxPool
from bevel.backends.program.ops.reduce_mean import ReduceMean
from bevel.backends.program.program import Buffer, Call, Port, Program
from bevel.backends.program.rates import work_of
from bevel.backends.program.resources import Resource
from bevel.backends.select.objective import BALANCED
from bevel.backends.select.specialize import PLAIN, rules_for
from bevel.backends.target import Target
from bevel.calib.arithmetic.requantize import Output
from bevel.calib.errors import UserError
from bevel.tools.assign.trial import code_sizes

WEIGHTS: Mapping[str, tuple[int, ...]] = {
    "int8": tuple(range(-127, 128)),
    "int4": tuple(range(-8, 8)),
    "int2": tuple(range(-2, 2)),
    "e2m1": (-12, -8, -6, -4, -3, -2, -1, 0, 1, 2, 3, 4, 6, 8, 12),
}
INPUTS = 1  # instructions hardly depend on them
TERMS = ("mac", "input", "output", "byte", "call")


@dataclass(frozen=True)
class Sample:
    """One measured call: a kernel, what it spent (instructions, or seconds), and the bytes of its code."""

    kernel: Op
    spent: float
    code: int


def shapes() -> Iterator[Op]:
    """Calls as common networks have them, small to large."""
    same, whole = (1, 1, 1, 1), (0, 0, 0, 0)

    def conv(size: int, channels: tuple[int, int], kernel: int, stride: int = 1, groups: int = 1) -> Conv:
        pads = same if kernel == 3 else whole
        return Conv(1, size, size, *channels, (kernel,) * 2, (stride,) * 2, (1, 1), pads, groups, -5, Output(3))

    yield from (conv(16, (3, 16), 3), conv(16, (16, 16), 3), conv(16, (16, 32), 3, 2), conv(8, (32, 32), 3))
    yield from (conv(8, (64, 64), 1), conv(12, (32, 64), 1), conv(4, (64, 128), 1), conv(2, (128, 128), 1))
    yield from (conv(size, (n, n), 3, groups=n) for size, n in ((24, 16), (12, 32), (12, 64), (6, 64), (4, 128)))
    yield from (Gemm(rows, k, n, Output(3)) for rows, k, n in ((1, 64, 10), (1, 256, 64), (1, 640, 128), (4, 128, 64)))
    yield from (product((4,), m, k, n, 0.001) for m, k, n in ((65, 16, 65), (65, 65, 16), (16, 32, 16), (1, 32, 16)))
    yield from (Add(shape, shape, shape, 1 << 14, 3 << 12, 0, 15, Output(3)) for shape in ((4096,), (512,)))
    yield from (MaxPool(1, size, size, n, (2, 2), (2, 2), (1, 1), whole) for size, n in ((16, 16), (8, 64)))
    yield from (AveragePool(1, size, size, n, (4, 4), (4, 4), whole, -5, Output(3)) for size, n in ((16, 16), (8, 64)))
    yield from (ReduceMean(1, reduced, n, -5, 1 << 30, 38, Output(3)) for reduced, n in ((64, 64), (16, 128)))


def program_of(weights: str) -> Program:
    """All shapes side by side, weights drawn of the values that a format has."""
    rng = np.random.default_rng(0)
    calls, buffers, inputs, outputs = [], {}, [], []
    for index, op in enumerate(shapes()):
        given = op.example(rng)
        names = [f"x{index}_{place}" for place in range(len(op.roles(Role.INPUT)))]
        constants = list(given[len(names) :])
        if op.macs and constants:
            constants[0] = rng.choice(WEIGHTS[weights], constants[0].shape).astype(np.int8)
        for name, operand in zip((*names, f"y{index}"), op.roles(Role.INPUT, Role.OUTPUT), strict=True):
            buffers[name] = Buffer(name, operand.shape, operand.dtype)
        inputs += [Port(name, name, buffers[name].shape, "int8") for name in names]
        outputs.append(Port(f"y{index}", f"y{index}", buffers[f"y{index}"].shape, "int8"))
        calls.append(Call(f"call{index}", op, tuple(names), tuple(constants), f"y{index}"))
    return Program("net", tuple(inputs), tuple(outputs), buffers, tuple(calls))


def vectors(program: Program) -> Vectors:
    rng = np.random.default_rng(1)
    drawn = {port.name: rng.integers(-128, 128, port.shape).astype(np.int8) for port in program.inputs}
    expected = program.run(drawn)
    inputs, outputs = ({name: one[np.newaxis] for name, one in arrays.items()} for arrays in (drawn, expected))
    return Vectors(inputs, outputs)


def samples(target: Target, device: Device) -> Iterator[Sample]:
    """Every kernel that a rule of the target has for the shapes, and their plain loops, each once."""
    seen: set[Op] = set()
    for weights in WEIGHTS:
        program = program_of(weights)
        tests = vectors(program)
        for rule in (PLAIN, *rules_for(target)):
            kernels = [call.kernel for call in arranged(program, target, BALANCED, rule).calls]
            new = {place for place, kernel in enumerate(kernels) if kernel not in seen}
            if new:
                found = measured(program, rule, target, device, tests)
                yield from (Sample(kernels[place], *found[place]) for place in sorted(new))
                seen |= set(kernels)


def measured(program: Program, rule: str, target: Target, device: Device, tests: Vectors) -> list[tuple[float, int]]:
    """What each call spends with the kernel of `rule`, where there is one, and the bytes of its code.

    Raises RuntimeError where a kernel computes something else: our bug."""
    with tempfile.TemporaryDirectory(prefix="bevel-rates-") as place:
        artifact = build(program, target, Path(place), tests, BuildOptions(selections={}, preferred=rule))
        found = device.measure(artifact, tests)
        code = code_of(artifact)
    if found.mismatches:
        raise RuntimeError(f"a kernel changed the result: {found.first_mismatch}")
    return [(next(iter(cost.spent.values())), size) for cost, size in zip(found.per_call, code, strict=True)]


def code_of(artifact: Artifact) -> list[int]:
    sizes = code_sizes(artifact)
    return [sizes.get(symbol, 0) for symbol in artifact.call_symbols]


def name_of(kernel: Op) -> str:
    """Kernels whose codes are looked up in a table are a class of their own."""
    codes: Any = getattr(kernel, "codes", None)
    return type(kernel).__name__ + (", tabled" if getattr(codes, "tabled", False) else "")


def fitted(some: Iterable[Sample]) -> tuple[NDArray[np.float64], float, float]:
    """The amounts of TERMS, and the lowest and highest share of a measured count that they give."""
    rows = np.array([(*work_of(one.kernel), 1) for one in some], float)
    if rows[:, 0].any():
        rows[:, 1] = 0  # products are of weights and inputs; what else reads inputs goes with the output
    else:
        rows[:, 2] = 0
    counts = np.array([one.spent for one in some])
    amounts, _ = nnls(rows / counts[:, np.newaxis], np.ones(len(counts)))
    shares = rows @ amounts / counts
    return amounts, float(shares.min()), float(shares.max())


@click.command(help=__doc__)
@click.option("--target", "name", default="cortex-m4", show_default=True, help="A target that a device here runs.")
def main(name: str) -> None:
    target = targets.load(name)
    device = available(target)
    if device is None:
        raise UserError(f"no device here runs {name}")
    found: dict[str, list[Sample]] = defaultdict(list)
    for one in samples(target, device):
        found[name_of(one.kernel)].append(one)
    table = Table("kernel", *TERMS, "code", "calls", "least", "most")
    for kind, some in sorted(found.items()):
        amounts, least, most = fitted(some)
        code = np.mean([one.code for one in some])
        table.add_row(
            kind, *(f"{one:.3g}" for one in amounts), f"{code:.0f}", f"{len(some)}", f"{least:.2f}", f"{most:.2f}"
        )
    console = Console(width=140)
    console.print(f"{Resource.INSTRUCTIONS if device.kind == 'simulator' else 'seconds'} of {name} ({device.tool()})")
    console.print(table)


if __name__ == "__main__":
    main()
