"""Kernels from their names in a tuning database, and the calls that ask for them."""

from __future__ import annotations

import ast
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from typing import Any

import numpy as np

from bevel.backends.cortex_m import dsp, mve
from bevel.backends.program import ops
from bevel.backends.program.op import Op, Role
from bevel.backends.program.program import Buffer, Call, Port, Program
from bevel.backends.tir import kernels
from bevel.calib.arithmetic.requantize import Output
from kernel_cases import modules, result_ports

# What a name leaves out, where a class asks for it: numbers that decide nothing, and what int8 goes without saying.
UNTOLD = {"output": Output(-3), "zero_point": 3, "multiplier": 2**20, "shift": 22, "offset": 0, "dtype": "int8"}

LEAST_SHIFT = 40  # a network's products are scaled down by far more than the quarter below which kernels differ


@cache
def classes() -> dict[str, type]:
    """{name: class} of all operators and kernels."""
    rooms = modules(ops, kernels, dsp, mve)
    return {name: one for room in rooms for name, one in vars(room).items() if isinstance(one, type)}


def kernel(name: str) -> Op:
    """The kernel of a name as `tune.key` writes it. Raises KeyError where the class is no more, TypeError where it has
    no such fields."""
    made = read(ast.parse(name, mode="eval").body)
    assert isinstance(made, Op)
    return made


def read(node: ast.expr) -> Any:
    if not isinstance(node, ast.Call):
        return ast.literal_eval(node)
    assert isinstance(node.func, ast.Name)
    made = classes()[node.func.id]
    told = {str(keyword.arg): read(keyword.value) for keyword in node.keywords}
    needed = [field.name for field in fields(made) if field.default is MISSING and field.default_factory is MISSING]
    return made(**told, **{name: untold(name) for name in needed if name not in told})


def untold(name: str) -> Any:
    return next(value for ending, value in UNTOLD.items() if name.endswith(ending))


def plain(one: Op) -> Op:
    """The operator that a kernel computes."""
    inner = next((getattr(one, field.name) for field in fields(one) if is_dataclass(getattr(one, field.name))), None)
    return plain(inner) if isinstance(inner, Op) else one


def program(one: Op, seed: int = 0) -> Program:
    """A program of one call, with seeded constants that scale as a network's do."""
    given = iter(one.example(np.random.default_rng(seed)))
    inputs, constants = [], []
    for operand in one.roles(Role.INPUT, Role.CONSTANT):
        array = next(given)
        if operand.role is Role.CONSTANT:
            constants.append(np.maximum(array, LEAST_SHIFT) if operand.name == "shift" else array)
        else:
            inputs.append(Port(operand.name, operand.name, operand.shape, operand.dtype))
    outputs = result_ports(one, "out")
    buffers = {port.buffer: Buffer(port.buffer, port.shape, port.dtype) for port in (*inputs, *outputs)}
    written, *more = (port.buffer for port in outputs)
    call = Call("node", one, tuple(port.buffer for port in inputs), tuple(constants), written, more=tuple(more))
    return Program("one", tuple(inputs), tuple(outputs), buffers, (call,))
