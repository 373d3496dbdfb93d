"""Every kernel's class has rates that were measured, and they say what it spends."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from inspect import isabstract

import numpy as np
import pytest

from bevel.backends import target as targets
from bevel.backends.devices.find import available
from bevel.backends.program.kernel import Kernel
from bevel.backends.program.op import Op
from bevel.backends.program.ops.add import Add
from bevel.backends.program.ops.copy import Copy
from bevel.backends.select.specialize import rules_for
from bevel.backends.tir.islands import Float
from bevel.calib.arithmetic.requantize import Output
from bevel.tools.bench.rate_calls import WEIGHTS, workload_of
from bevel.tools.bench.rates import TERMS, Lot, Sample, estimated, fitted, lots, name_of, own_rates, samples

AFTER = "stands in for another kernel, with its loops, once kernels are chosen (`cortex_m/shared_weights.py`)"
NO_RATES_OF_THEIR_OWN = {
    "Float": "computes a float operator in a loop of TVM's own: there is no other to choose",
    "SharedSubbyteTilesDsp": AFTER,
    "SharedPositionalGemmDsp": AFTER,
    "SharedTilesDsp": AFTER,
    "QuantizeVectors": "alone for its operator, measured by hand: 4 us for 27,648 floats",
    "NBits": "alone for its operator, by bevel.tools.bench.n_bits: 165 us for 1 row by 2048 x 2048, 4.8 ms for 64",
    "NBitsNeon": "alone for its operator, and an estimate: QEMU knows its results, and nothing of its time",
}
# Kernels whose choice estimates decide differ by more. Loops along channels depend on how many there are: three times.
# zig's code of a Softmax for Armv6-M takes 2.2 times the instructions of gcc's, with which rates are measured.
WITHIN = {"MaxPool": 5.0, "SubbyteConvMve": 2.5, "Softmax": 2.5}
OTHERS_WITHIN = 1.7
UNKNOWN = Copy(4)  # an operator that no table names


@cache
def found(target: str) -> list[Lot]:
    return list(lots(targets.load(target)))


def kernel_classes(kind: type[Op] = Kernel) -> Iterator[type[Op]]:
    """Those of every machine's room that can be made."""
    for one in kind.__subclasses__():
        yield from kernel_classes(one)
        if not isabstract(one) and one.__module__.startswith("bevel.backends."):
            yield one


@pytest.mark.long
def test_every_kernel_of_every_backend_is_measured_or_says_why_not() -> None:
    assert issubclass(Float, Kernel)  # loaded by nothing else here
    for target in targets.names():
        rules_for(targets.load(target))  # loads them
    met = {type(one).__name__ for target in targets.names() for lot in found(target) for one in lot.kernels.values()}
    classes = {one.__name__ for one in kernel_classes()}
    assert classes - met == set(NO_RATES_OF_THEIR_OWN)


def middle(name: str) -> list[Lot]:
    """Of each class that has rates, the call in the middle by what it is estimated to spend."""
    target, of_class = targets.load(name), defaultdict(list)
    for lot in found(name):
        for one in lot.kernels.values():
            if isinstance(one, Kernel) or own_rates(one, target) is not own_rates(UNKNOWN, target):
                of_class[name_of(one)].append(one)
    ordered = [sorted(some, key=lambda one: estimated(one, target)) for some in of_class.values()]
    chosen = {some[len(some) // 2] for some in ordered}
    return [one for lot in found(name) if (one := lot.only(lambda kernel: kernel in chosen)).kernels]


@pytest.mark.long
@pytest.mark.parametrize("name", ["cortex-m0plus", "cortex-m4", "cortex-m55", "rv32imc"])
def test_estimates_are_what_kernels_spend(name: str) -> None:
    target = targets.load(name)
    device = available(target)
    if device is None:
        pytest.skip(f"no device here runs {name}")
    for lot in middle(name):
        for one in samples(lot, target, device):
            within = WITHIN.get(type(one.kernel).__name__, OTHERS_WITHIN)
            share = estimated(one.kernel, target) / one.spent
            assert 1 / within < share < within, (lot.told(), name_of(one.kernel), share)


def test_amounts_are_found_again() -> None:
    """Of calls that spend just what a straight line says; what is the same in all of them is the call's."""
    target = targets.load("cortex-m4")
    adds = [Add((size,), (size,), (size,), 1 << 14, 3 << 12, 0, 15, Output(3)) for size in (100, 900, 4000)]
    amounts = fitted([Sample(one, 7.0 * 2 * one.shape[0] + 300, 40) for one in adds], target)
    assert dict(zip(TERMS, amounts, strict=True)) == pytest.approx(
        dict.fromkeys(TERMS, 0.0) | {"input": 7.0, "call": 300.0}
    )


@pytest.mark.parametrize("weights", WEIGHTS)
def test_batches_hold_every_call_once_with_what_it_reads(weights: str) -> None:
    workload = workload_of(weights)
    nodes = [call.node for call in workload.program.calls if call.node.startswith("call")]
    batches = list(workload.batches(nodes))
    assert [call.node for one in batches for call in one.program.calls if call.node in nodes] == nodes
    for one in batches:
        inputs = {name: array[0] for name, array in one.vectors.inputs.items()}
        for name, array in one.program.run(inputs).items():
            np.testing.assert_array_equal(array, one.vectors.expected[name][0])
