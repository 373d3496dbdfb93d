"""A program that is too large is run in bands where that helps, as little as need be, or the smallest is told."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bevel.backends.build import build
from bevel.backends.devices.base import Vectors
from bevel.backends.devices.find import device
from bevel.backends.program import memory
from bevel.backends.program.fit import BandChain, Way, cheapest, fit, in_bands
from bevel.backends.program.kernel import Kernel
from bevel.backends.program.op import Array, Operand, Role, scratch
from bevel.backends.program.ops.add import Add
from bevel.backends.program.ops.conv import Conv
from bevel.backends.program.ops.gemm import Gemm
from bevel.backends.program.program import Buffer, Call, Port, Program
from bevel.backends.target import load
from bevel.calib.arithmetic.requantize import Output

SIZE = 16


def conv(size: int, channels: tuple[int, int], **changes: Any) -> Conv:
    plain: dict[str, Any] = {"kernel": (3, 3), "strides": (1, 1), "pads": (1, 1, 1, 1), "groups": 1}
    plain |= {"dilations": (1, 1), "x_zero_point": -128, "output": Output(-128)}
    return Conv(1, size, size, *channels, **(plain | changes))


def add(size: int, channels: int) -> Add:
    shape = (1, size, size, channels)
    return Add(shape, shape, shape, 700_001, 523_456, 2**19, 20, Output(-7))


def network(*layers: tuple[Kernel, str]) -> Program:
    """Layers in order: a kernel and the letters of its inputs. The input is 'x', results are 'a', 'b', 'c', ..."""
    rng = np.random.default_rng(5)
    buffers, calls = {}, []
    for letter, (kernel, inputs) in zip("abcdefgh", layers, strict=False):
        operands = zip((*inputs, letter), kernel.roles(Role.INPUT, Role.OUTPUT), strict=True)
        for name, operand in operands:
            buffers.setdefault(name, Buffer(name, operand.shape, operand.dtype))
        calls.append(Call(letter, kernel, tuple(inputs), tuple(kernel.example(rng)[len(inputs) :]), letter))
    x, y = buffers["x"], buffers[calls[-1].output]
    ports = (Port("in", "x", x.shape, "int8"),), (Port("out", y.name, y.shape, "int8"),)
    return Program("net", *ports, buffers, tuple(calls))


def separable() -> Program:
    """Like the beginning of a MobileNet: the second image is the widest."""
    return network(
        (conv(SIZE, (3, 8)), "x"),
        (conv(SIZE, (8, 8), groups=8), "a"),
        (conv(SIZE, (8, 16), kernel=(1, 1), pads=(0, 0, 0, 0)), "b"),
        (conv(SIZE, (16, 16), groups=16, strides=(2, 2), pads=(0, 0, 1, 1)), "c"),
        (Gemm(1, SIZE // 2 * SIZE // 2 * 16, 10, Output()), "d"),
    )


def residual() -> Program:
    return network(
        (conv(SIZE, (3, 8)), "x"), (conv(SIZE, (8, 8)), "a"), (conv(SIZE, (8, 8)), "b"), (add(SIZE, 8), "ac")
    )


@dataclass(frozen=True)
class Scratchy(Kernel):
    """Another kernel that wants working memory besides."""

    plain: Kernel

    def operands(self) -> tuple[Operand, ...]:
        return *self.plain.operands(), scratch("rows", (64,), "int8")

    def reference(self, *arrays: Array) -> Array:
        return self.plain.reference(*arrays)

    def build(self, name: str) -> Any:
        raise NotImplementedError

    def example(self, rng: np.random.Generator) -> tuple[Array, ...]:
        return self.plain.example(rng)


def with_scratch(program: Program) -> Program:
    return replace(program, calls=tuple(replace(call, kernel=Scratchy(call.kernel)) for call in program.calls))


def sample(program: Program) -> dict[str, Any]:
    return {"in": np.random.default_rng(3).integers(-128, 128, program.inputs[0].shape).astype(np.int8)}


def test_a_program_that_fits_is_left_as_it_is() -> None:
    program = separable()
    found = fit(program, memory.plan(program).arena_bytes)
    assert found.fits and found.program is program and not found.chains


@pytest.mark.parametrize("program", [separable(), residual()], ids=["separable", "residual"])
@pytest.mark.parametrize("percent", [90, 75, 60])
def test_the_limit_is_kept_and_the_result_stays(program: Program, percent: int) -> None:
    limit = memory.plan(program).arena_bytes * percent // 100
    found = fit(program, limit)
    assert found.fits and found.plan.arena_bytes <= limit and found.chains
    assert found.plan == memory.plan(found.program)
    assert np.array_equal(found.program.run(sample(program))["out"], program.run(sample(program))["out"])


def test_the_chains_found_give_the_same_program_again() -> None:
    program = separable()
    found = fit(program, memory.plan(program).arena_bytes // 2)
    again = fit(program, memory.plan(program).arena_bytes // 2)
    assert found.chains == again.chains
    assert [call.kernel for call in in_bands(program, found.chains).calls] == [c.kernel for c in found.program.calls]


def test_a_limit_out_of_reach_gives_the_smallest_program() -> None:
    program = separable()
    found = fit(program, 100)
    assert not found.fits
    assert SIZE * SIZE * 3 <= found.plan.arena_bytes < 0.45 * memory.plan(program).arena_bytes  # the input is whole


def test_a_program_without_rows_stays_when_it_cannot_fit() -> None:
    program = network((Gemm(1, 64, 64, Output()), "x"))
    found = fit(program, 64)
    assert not found.fits and found.program is program and found.plan.arena_bytes == 128


def test_scratch_that_the_planner_knows_of_counts() -> None:
    program = separable()
    limit = memory.plan(program).arena_bytes
    found = fit(program, limit, lambda changed: memory.plan(with_scratch(changed)))
    assert found.chains and found.plan.arena_bytes <= limit
    assert any(found.plan.scratch_sizes)


def test_the_cheapest_way_under_the_limit_is_taken() -> None:
    def alone(index: int, peak: int) -> Way:
        return Way(index, index, None, peak, 0)

    def chain(first: int, last: int, peak: int, cost: int) -> Way:
        return Way(first, last, BandChain(first, last, 1), peak, cost)

    single = [alone(0, 50), alone(1, 90), alone(2, 80)]
    dear, cheap = chain(0, 1, 60, 500), chain(1, 2, 70, 300)
    assert cheapest([*single, dear, cheap], 3, 90) == tuple(single)
    assert cheapest([*single, dear, cheap], 3, 85) == (single[0], cheap)
    assert cheapest([*single, dear, cheap], 3, 65) is None
    assert cheapest([*single, dear, chain(1, 2, 60, 900)], 3, 60) == (single[0], chain(1, 2, 60, 900))


@pytest.mark.parametrize("target", ["cortex-m4", "cortex-m0plus"])
def test_a_core_computes_the_same_in_bands(target: str, tmp_path: Path) -> None:
    program = separable()
    found = fit(program, memory.plan(program).arena_bytes // 2)
    assert found.fits
    inputs = np.stack([sample(program)["in"], np.full(program.inputs[0].shape, 127, np.int8)])
    outputs = np.stack([program.run({"in": one})["out"] for one in inputs])
    vectors = Vectors({"in": inputs}, {"out": outputs})
    artifact = build(found.program, load(target), tmp_path, vectors)
    measured = device("unicorn", load(target)).measure(artifact, vectors)
    assert measured.mismatches == 0 and measured.inputs == 2
    assert len(measured.per_call) == len(found.program.calls) > len(program.calls)
