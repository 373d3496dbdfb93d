"""What kernels spend and how much code they are, fitted to measured calls: the `rates` that a kernel's class declares.

    python -m bevel.tools.bench.rates [--target cortex-m4] [--only ConvDsp]

Calls of common shapes (`rate_calls.py`) are built with every kernel that a rule of the target has for them, with
weights of several formats, run on the target's device, and compared element for element. For each class of kernels,
amounts that are not negative are fitted to the counts, so that relative errors are least. `fit` says what they give as
a share of what was measured, at the lowest and the highest, `declared` what the rates that stand in the code give.
"""

from __future__ import annotations

import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from scipy.optimize import nnls

from bevel.backends import target as targets
from bevel.backends.backend import backend_of
from bevel.backends.build import BuildOptions, arranged, build
from bevel.backends.cortex_m.decoding import Decoding
from bevel.backends.devices.base import Device
from bevel.backends.devices.find import available
from bevel.backends.program.bounds import with_bounds
from bevel.backends.program.kernel import Kernel
from bevel.backends.program.op import Op
from bevel.backends.program.rates import Rates, work_of
from bevel.backends.program.resources import Resource
from bevel.backends.select.objective import BALANCED
from bevel.backends.select.specialize import offers
from bevel.backends.target import Target
from bevel.backends.tir.base import TirBackend
from bevel.backends.tir.rates import nearest
from bevel.calib.errors import UserError
from bevel.tools.assign.trial import code_sizes, with_room
from bevel.tools.bench.rate_calls import WEIGHTS, Workload, workload_of
from bevel.tools.command.entry import run as run_command

TERMS = ("mac", "input", "output", "byte", "besides", "call")
WORTH_A_TERM = 0.01  # of what was measured, by which a call's own amount must bring the worst fit nearer


@dataclass(frozen=True)
class Sample:
    """One measured call: a kernel, what it spent (instructions, or seconds), and the bytes of its code."""

    kernel: Op
    spent: float
    code: int


@dataclass(frozen=True)
class Lot:
    """Kernels that one rule has for calls of a workload, by the calls' nodes, each once."""

    workload: Workload
    weights: str
    rule: str
    kernels: Mapping[str, Op]

    def only(self, wanted: Callable[[Op], bool]) -> Lot:
        return replace(self, kernels={node: one for node, one in self.kernels.items() if wanted(one)})

    def told(self) -> str:
        return f"{self.weights}, {self.rule}: {len(self.kernels)} kernels"


def lots(target: Target) -> Iterator[Lot]:
    """Every kernel that a rule of the target has for the shapes, and their plain loops, each once."""
    seen: set[Op] = set()
    for weights in WEIGHTS:
        workload = workload_of(weights)
        found: dict[str, dict[Op, str]] = defaultdict(dict)
        for call in with_bounds(workload.program).calls:
            for one in offers(call, target).kernels:
                if one.call.kernel not in seen:
                    found[one.rule][one.call.kernel] = call.node
        for rule, nodes in found.items():
            seen |= set(nodes)
            yield Lot(workload, weights, rule, {node: kernel for kernel, node in nodes.items()})


def samples(lot: Lot, target: Target, device: Device) -> Iterator[Sample]:
    for batch in lot.workload.batches(list(lot.kernels)):
        yield from measured(batch, lot.rule, target, device, set(lot.kernels))


def measured(workload: Workload, rule: str, target: Target, device: Device, nodes: set[str]) -> list[Sample]:
    """What each call of `nodes` spends with the kernel of `rule`, and the bytes of its code.

    Raises RuntimeError where a kernel computes something else: our bug."""
    options = BuildOptions(selections={}, preferred=rule)
    calls = arranged(workload.program, target, BALANCED, rule).calls
    with tempfile.TemporaryDirectory(prefix="bevel-rates-") as place:
        artifact = build(workload.program, with_room(target), Path(place), workload.vectors, options)
        found = device.measure(artifact, workload.vectors)
        code = code_sizes(artifact)
    if found.mismatches:
        raise RuntimeError(f"a kernel changed the result: {found.first_mismatch}")
    return [
        Sample(call.kernel, next(iter(cost.spent.values())), code.get(symbol, 0))
        for call, cost, symbol in zip(calls, found.per_call, artifact.call_symbols, strict=True)
        if call.node in nodes
    ]


def name_of(kernel: Op) -> str:
    """Kernels whose codes are looked up in a table are a class of their own."""
    codes: Any = getattr(kernel, "codes", None)
    return type(kernel).__name__ + (", tabled" if getattr(codes, "tabled", False) else "")


def own_rates(op: Op, target: Target) -> Rates:
    """What its class declares, or the target says of it."""
    backend = backend_of(target)
    assert isinstance(backend, TirBackend), "others have no kernels of ours"
    table = backend.rates(target)
    return op.own_rates if isinstance(op, Kernel) and type(op) not in table else nearest(op, table)


def fitted(some: Sequence[Sample], target: Target) -> NDArray[np.float64]:
    """The amounts of TERMS that the class's own rates were to be, beside what else is in its estimates."""
    work = np.array([(*work_of(one.kernel), 1) for one in some], float)
    alike = np.append(np.ptp(work, axis=0)[:-1] == 0, False)  # these go with the call
    used = np.array([name in terms_of(some[0].kernel) for name in TERMS]) & ~alike
    counts = np.array([one.spent for one in some])
    shares = work / counts[:, np.newaxis]
    left = 1 - np.array([beyond(one.kernel, target) for one in some]) / counts
    alone, with_calls = (nnls(shares * (used & also), left)[0] for also in (np.array(TERMS) != "call", True))
    errors = [np.abs(shares @ one - left).max() for one in (alone, with_calls)]
    return with_calls if errors[1] < errors[0] - WORTH_A_TERM else alone


def beyond(kernel: Op, target: Target) -> float:
    """What an estimate holds beyond the class's own rates: of decoding, what is done with the weights."""
    rates = own_rates(kernel, target)
    return estimated(kernel, target) - rates.of(kernel)[rates.unit]


def terms_of(kernel: Op) -> Sequence[str]:
    """What the work of a kernel is in proportion to. Products are of weights and inputs: what else reads inputs goes
    with the output; decoding reads constants alone."""
    if isinstance(kernel, Decoding):
        return "byte", "call"
    if kernel.besides:
        return "mac", "output", "besides", "call"
    return ("mac", "output", "byte", "call") if kernel.macs else ("input", "byte", "call")


def estimated(kernel: Op, target: Target) -> float:
    """Instructions, or seconds, that choices are made by."""
    return next(
        amount for name, amount in backend_of(target).estimate(kernel, target).items() if name != Resource.FLASH
    )


def shares_of(some: Sequence[Sample], given: Iterable[float]) -> str:
    """The lowest and the highest of the given, as shares of what was measured."""
    found = [one / sample.spent for one, sample in zip(given, some, strict=True)]
    return f"{min(found):.2f} .. {max(found):.2f}"


def row_of(kind: str, some: Sequence[Sample], target: Target) -> list[str]:
    amounts = fitted(some, target)
    fit = (float(np.dot(amounts, (*work_of(one.kernel), 1))) + beyond(one.kernel, target) for one in some)
    declared = (estimated(one.kernel, target) for one in some)
    code = np.mean([one.code for one in some])
    cells = [f"{one:.3g}" if one else "" for one in amounts]
    return [kind, *cells, f"{code:.0f}", f"{len(some)}", shares_of(some, fit), shares_of(some, declared)]


@click.command(help=__doc__)
@click.option("--target", "name", default="cortex-m4", show_default=True, help="A target that a device here runs.")
@click.option("--only", multiple=True, help="Only this class of kernels or operators; may be repeated.")
def main(name: str, only: tuple[str, ...]) -> None:
    target = targets.load(name)
    device = available(target)
    if device is None:
        raise UserError(f"no device here runs {name}")
    found: dict[str, list[Sample]] = defaultdict(list)
    for whole in lots(target):
        lot = whole.only(lambda kernel: not only or type(kernel).__name__ in only)
        if lot.kernels:
            click.echo(lot.told(), err=True)
        for one in samples(lot, target, device):
            found[name_of(one.kernel)].append(one)
    table = Table("kernel", *TERMS, "code", "calls", "fit", "declared")
    for kind, some in sorted(found.items()):
        table.add_row(*row_of(kind, some, target))
    console = Console(width=140)
    console.print(f"{Resource.INSTRUCTIONS if device.kind == 'simulator' else 'seconds'} of {name} ({device.tool()})")
    console.print(table)


if __name__ == "__main__":
    sys.exit(run_command(main))
