"""Candidates, and putting choices into a program."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

from bevel.backends.program.kernel import Kernel
from bevel.backends.program.op import Array, Operand, activation, constant, output
from bevel.backends.program.ops.conv import Conv
from bevel.backends.program.program import Buffer, Call, Port, Program
from bevel.backends.select import tune
from bevel.backends.select.tune import Choice
from bevel.calib.arithmetic.requantize import Output

SIZE = 6


@dataclass(frozen=True)
class Plain(Kernel):
    """y = w * x. With any `tile` but 1 it takes w backwards, with `tile` 0 it has another output."""

    tile: int = 1

    def operands(self) -> tuple[Operand, ...]:
        size = SIZE if self.tile else SIZE - 1
        return activation("x", (SIZE,)), constant("w", (SIZE,), "int8"), output("y", (size,))

    def reference(self, *arrays: Array) -> Array:
        return (arrays[0] * (arrays[1] if self.tile == 1 else arrays[1][::-1])).astype(np.int8)

    def build(self, name: str) -> Any:
        raise NotImplementedError

    def example(self, rng: np.random.Generator) -> tuple[Array, ...]:
        return tuple(rng.integers(-3, 4, SIZE, dtype=np.int8) for _ in range(2))


@dataclass(frozen=True)
class Scale(Plain):
    def variants(self) -> Iterable[Kernel]:
        return (replace(self, tile=tile) for tile in (1, 2, 3))

    def repack(self, constants: tuple[Array, ...], variant: Kernel) -> tuple[Array, ...]:
        return (np.ascontiguousarray(constants[0][::-1]),)


def program(kernel: Kernel) -> Program:
    call = Call("node", kernel, ("x",), (np.arange(SIZE, dtype=np.int8),), "y")
    buffers = {name: Buffer(name, (SIZE,), "int8") for name in "xy"}
    return Program("p", (Port("x", "x", (SIZE,), "int8"),), (Port("y", "y", (SIZE,), "int8"),), buffers, (call,))


def test_the_kernel_as_it_stands_is_the_first_candidate_and_none_repeats() -> None:
    found = tune.candidates(Scale(), tune.FLAGS["gcc"])
    assert found[0] == Choice(Scale())
    assert len(found) == len(set(found)) == 3 * len(tune.FLAGS["gcc"])


def test_few_candidates_differ_in_variant_and_in_flags() -> None:
    few = tune.candidates(Scale(), tune.FLAGS["gcc"])[:4]
    assert len({choice.kernel for choice in few}) > 1 and len({choice.flags for choice in few}) > 1


def test_a_kernel_without_variants_is_tried_with_all_flags() -> None:
    assert [choice.flags for choice in tune.candidates(Plain(), tune.FLAGS["zig"])] == list(tune.FLAGS["zig"])


def test_a_chosen_variant_gets_its_constants_repacked_and_computes_the_same() -> None:
    before = program(Scale())
    after, flags = tune.choose(before, {Scale(): Choice(Scale(2), ("-O2",))})
    assert after.calls[0].kernel == Scale(2) and flags == {Scale(2): ("-O2",)}
    given = {"x": np.arange(-3, 3, dtype=np.int8)}
    np.testing.assert_array_equal(after.run(given)["y"], before.run(given)["y"])


def test_choices_for_other_kernels_change_nothing() -> None:
    before = program(Plain())
    assert tune.choose(before, {Scale(): Choice(Scale(2))})[0] == before


def test_a_variant_with_another_output_is_refused() -> None:
    with pytest.raises(ValueError, match="other inputs or outputs"):
        tune.choose(program(Scale()), {Scale(): Choice(Scale(0))})


def test_a_key_leaves_out_what_differs_between_networks_of_one_shape() -> None:
    def conv(zero_point: int, channels: int) -> Conv:
        output = Output(zero_point)
        return Conv(1, 5, 5, channels, 4, (3, 3), (1, 1), (1, 1), (0, 0, 0, 0), 1, zero_point, output)

    assert tune.key(conv(3, 2)) == tune.key(conv(5, 2)) != tune.key(conv(3, 4))
    assert "kernel=(3, 3)" in tune.key(conv(3, 2))


def test_a_key_survives_a_field_that_is_added_with_a_default() -> None:
    @dataclass(frozen=True)
    class Scale(Plain):  # as the class above, one version later
        rows: tuple[int, int] = (1, 1)

    assert tune.key(Scale(tile=2)) == tune.key(scale_of_today(2)) == "Scale(tile=2)"
    assert tune.key(Scale(tile=2, rows=(2, 1))) == "Scale(tile=2, rows=(2, 1))"


def scale_of_today(tile: int) -> Scale:
    return Scale(tile)
