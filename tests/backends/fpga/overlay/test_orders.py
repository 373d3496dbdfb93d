"""Transposes are at inputs, whatever is done before them, and change nothing."""

from __future__ import annotations

import numpy as np
import pytest

from bevel.backends.fpga.overlay.orders import with_transposed_inputs
from bevel.backends.program.op import Op, Role
from bevel.backends.program.ops.copy import Copy
from bevel.backends.program.ops.gemm import Gemm
from bevel.backends.program.ops.mul import Mul
from bevel.backends.program.ops.reduce_mean import ReduceMean
from bevel.backends.program.ops.table import Table
from bevel.backends.program.ops.transpose import Transpose
from bevel.backends.program.program import Buffer, Call, Port, Program
from bevel.calib.arithmetic.requantize import Output, fixed_point

IMAGE, LAST = (1, 3, 4, 5), (0, 2, 3, 1)
SCALED = (3, -128, *fixed_point(0.004), Output())
MEAN = ReduceMean(3, 20, 1, 3, *fixed_point(1 / 20), Output())


def program(calls: dict[str, tuple[Op, list[str]]], outputs: list[str], image: tuple[int, ...] = IMAGE) -> Program:
    """Of an input `x` and constants `k`, one of a channel, and `full`, one of each element."""
    rng = np.random.default_rng(0)
    shapes = {"x": image, "k": (image[1], 1, 1), "full": image}
    buffers = {name: Buffer(name, shape, "int8") for name, shape in shapes.items()}
    made = []
    for name, (op, inputs) in calls.items():
        (out,) = op.roles(Role.OUTPUT)
        buffers[name] = Buffer(name, out.shape, out.dtype)
        made.append(Call(name, op, tuple(inputs), op.example(rng)[len(inputs) :], name))
    held = {name: rng.integers(-128, 128, shapes[name]).astype(np.int8) for name in ("k", "full")}
    ports = [Port(name, name, buffers[name].shape, buffers[name].dtype) for name in ("x", *outputs)]
    return Program("orders", (ports[0],), tuple(ports[1:]), buffers, tuple(made), held)


def scaled(image: tuple[int, ...] = IMAGE) -> Mul:
    return Mul(image, image, (image[1], 1, 1), *SCALED)


GATED: dict[str, tuple[Op, list[str]]] = {
    "mean": (MEAN, ["x"]),
    "gate": (Table(3), ["mean"]),
    "gated": (Mul(IMAGE, (1, 3, 1, 1), IMAGE, *SCALED), ["gate", "x"]),
}
CASES: dict[str, tuple[dict[str, tuple[Op, list[str]]], list[str]]] = {
    "scaled": ({"y": (scaled(), ["x", "k"]), "t": (Transpose(IMAGE, LAST), ["y"])}, ["t"]),
    "looked up": ({"y": (Table(60), ["x"]), "t": (Transpose(IMAGE, LAST), ["y"])}, ["t"]),
    "by a constant": (
        {"y": (Mul(IMAGE, IMAGE, IMAGE, *SCALED), ["x", "full"]), "t": (Transpose(IMAGE, LAST), ["y"])},
        ["t"],
    ),
    "gated": (GATED | {"t": (Transpose(IMAGE, LAST), ["gated"])}, ["t"]),
    "gated, and out as it came": (GATED, ["gated"]),
    "scaled, and out as it came": ({"y": (scaled(), ["x", "k"])}, ["y"]),
    "flattened behind": (
        {"y": (scaled(), ["x", "k"]), "t": (Transpose(IMAGE, LAST), ["y"]), "g": (Gemm(1, 60, 4, Output()), ["y"])},
        ["t", "g"],
    ),
}


@pytest.mark.parametrize("case", list(CASES))
def test_results_are_those_of_the_program_as_it_was(case: str) -> None:
    given = program(*CASES[case])
    x = np.random.default_rng(1).integers(-128, 128, IMAGE).astype(np.int8)
    found = with_transposed_inputs(given)
    wanted, made = given.run({"x": x}), found.run({"x": x})
    assert wanted.keys() == made.keys()
    for name, values in wanted.items():
        np.testing.assert_array_equal(made[name], values)
    first, *rest = found.calls
    assert isinstance(first.kernel, Transpose) and first.inputs == ("x",)
    inside = [call for call in rest if isinstance(call.kernel, Transpose)]
    assert [call.output for call in inside] == (["y"] if "g" in wanted else [one for one in wanted if one != "t"])


def test_one_channel_lies_the_same_in_both_orders() -> None:
    found = with_transposed_inputs(program({"y": (scaled((1, 1, 4, 5)), ["x", "k"])}, ["y"], (1, 1, 4, 5)))
    assert [type(call.kernel) for call in found.calls] == [Copy, Mul, Copy]


def test_an_input_that_is_read_transposed_or_in_no_order_stays() -> None:
    for op in (Transpose(IMAGE, LAST), Gemm(1, 60, 4, Output())):
        given = program({"y": (op, ["x"])}, ["y"])
        assert with_transposed_inputs(given) is given
