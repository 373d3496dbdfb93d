"""A library with float kernels, held to what its kernels' references compute, bit for bit.

onnxruntime sums floats in an order of its own, so that most float outputs differ from its in their last bits. What the
library has to compute is defined all the same: products by weights of a few bits term by term, integers as ever, and
float islands by the very function that the library holds, compiled for this machine. So the whole program is run by
references, and a library that equals them is timed. That holds for products by weights of a few bits: where all that is
float are islands, nothing but onnxruntime's own bits will do. How near the references are to onnxruntime is judged node
by node (`bevel.passes.partition.check_islands`), and the elements that it rounds otherwise are counted.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from bevel.backends.binary.artifact import Artifact
from bevel.backends.devices.base import Device, Measurement, Vectors
from bevel.backends.program.op import Array
from bevel.backends.program.program import Program

MULTIPLICATIONS = 10**9  # that references may take: some ten seconds


def measured(device: Device, artifact: Artifact, program: Program, tests: Vectors) -> Measurement:
    """`tests`: with onnxruntime's answers; `program`: by its plain operators."""
    return held(device, artifact, program, tests, device.measure(artifact, tests))


def held(device: Device, artifact: Artifact, program: Program, tests: Vectors, found: Measurement) -> Measurement:
    """What was `found` beside onnxruntime's answers, or, where a product by weights of a few bits may differ from them
    and the whole equals its references, that, with a cost: code for another processor may differ from both."""
    if not found.mismatches or not any(call.kernel.exact and not call.kernel.stock for call in program.calls):
        return found
    macs = sum(call.kernel.macs for call in program.calls if not call.kernel.stock)
    count = min(len(tests), MULTIPLICATIONS // max(macs, 1))
    if not count:
        return found
    ours = device.measure(artifact, answered(program, tests, count))
    return found if ours.mismatches else replace(ours, rounded=found.mismatches)


def answered(program: Program, tests: Vectors, count: int) -> Vectors:
    """The first vectors, with what references answer."""
    states: dict[str, Array] = {}
    rows = []
    for index in range(count):
        if tests.starts[index]:
            states.clear()
        rows.append(program.run({name: array[index] for name, array in tests.inputs.items()}, states))
    inputs = {name: array[:count] for name, array in tests.inputs.items()}
    begins = None if tests.begins is None else tests.begins[:count]
    return Vectors(inputs, {name: np.stack([row[name] for row in rows]) for name in rows[0]}, begins)
