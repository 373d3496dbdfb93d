"""On a CUDA device, where there is one: every call of every kernel's largest case is compared, and each is timed;
outputs are compared where launches were recorded as a graph.

    pytest tests/backends/gpu/test_cuda_device.py

takes some minutes there.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bevel.backends.build import build
from bevel.backends.devices import gpu_product
from bevel.backends.devices.cuda import Cuda
from bevel.backends.gpu import kernels, nvcc, statics, tensor_kernels
from bevel.backends.program.op import Op
from bevel.backends.program.resources import Resource
from bevel.backends.target import load
from bevel.backends.tir import rules
from kernel_cases import PLAIN, cases
from kernel_programs import program_of

pytestmark = pytest.mark.long
TOGETHER = 30


def parts() -> list[list[tuple[str, Op]]]:
    last = {module: (f"{module}_{index}", case) for module, index, case in [*PLAIN, *cases(rules, kernels)]}
    matrices = [(f"{module}_{index}", case) for module, index, case in cases(tensor_kernels)]
    several = [*matrices, *last.values()]
    return [several[first : first + TOGETHER] for first in range(0, len(several), TOGETHER)]


@pytest.mark.parametrize("part", parts(), ids=lambda part: part[0][0])
@pytest.mark.parametrize("name", ["cuda-sm87", "cuda-sm90"])
def test_every_call_computes_what_its_reference_does_and_is_timed(
    name: str, part: list[tuple[str, Op]], tmp_path: Path
) -> None:
    target = load(name)
    if why := Cuda(target).missing() or nvcc.missing():
        pytest.skip(why)
    program, vectors = program_of(part)
    artifact = build(program, target, tmp_path, vectors)
    measured = Cuda(target).measure(artifact, vectors)
    assert (measured.mismatches, measured.first_mismatch) == (0, None)
    with gpu_product.harness(artifact, {}) as plain:
        recorded = replace(plain, recorded=True).outputs(vectors)
    for port, expected in vectors.expected.items():
        np.testing.assert_array_equal(recorded[port], expected)
    known = [index for index, call in enumerate(statics.load(tmp_path, program.name)) if call.device]
    assert [one.call for one in measured.per_call] == known
    assert all(one.spent[Resource.LATENCY] > 0 for one in measured.per_call)
    assert measured.spent[Resource.LATENCY] > 0
