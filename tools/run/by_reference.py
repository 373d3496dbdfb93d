"""A library with float kernels, held to what its kernels' references compute, bit for bit.

onnxruntime sums floats in an order of its own, so that most float outputs differ from its in their last bits. What the
library has to compute is defined all the same: products by weights of a few bits term by term, integers as ever, and
float islands by the very function that the library holds, compiled for this machine. So the whole program is run by
references, and a library that equals them is timed. How near the references are to onnxruntime is judged node by node
(`bevel.passes.partition.check_islands`), and the elements that it rounds otherwise are counted.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from bevel.backends.binary.artifact import Artifact
from bevel.backends.devices.base import Device, Measurement, Vectors
from bevel.backends.program.island import has_islands
from bevel.backends.program.op import Array
from bevel.backends.program.program import Program

MULTIPLICATIONS = 10**9  # that references may take: some ten seconds


def measured(device: Device, artifact: Artifact, program: Program, tests: Vectors) -> Measurement:
    """`tests`: with onnxruntime's answers; `program`: by its plain operators."""
    found = device.measure(artifact, tests)
    return held(device, artifact, program, tests, found) if found.mismatches and has_islands(program) else found


def held(device: Device, artifact: Artifact, program: Program, tests: Vectors, found: Measurement) -> Measurement:
    """What was `found` beside onnxruntime's answers, or, where the product equals its references, that, with a cost:
    code for another processor may differ from both."""
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
