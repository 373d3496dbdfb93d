"""Programs of many nodes beside each other: one simulation shows whether all of them compute what they should."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from bevel.backends.fpga import timing
from bevel.backends.fpga.design import Design, design
from bevel.backends.fpga.network import Folded, StreamNetwork, network_of
from bevel.backends.fpga.node import Folding, node_of
from bevel.backends.program.op import Array, Op, Role, of_type
from bevel.backends.program.ops import (
    add,
    arg_max,
    average_pool,
    coded_conv,
    concat,
    conv,
    gemm,
    mat_mul,
    max_pool,
    mul,
    normalize,
    reduce_mean,
    round_even,
    slice,
    softmax,
    table,
)
from bevel.backends.program.program import Buffer, Call, Port, Program
from bevel.calib.arithmetic.requantize import Output, fixed_point
from bevel.calib.formats.float_format import E2M1, E2M3, FloatFormat

IMAGES = (add, arg_max, average_pool, conv, gemm, max_pool, mul, reduce_mean, softmax, table)
TRANSFORMERS = (coded_conv, concat, mat_mul, mul, normalize, round_even, slice, softmax, table)
LARGEST = 700  # elements of all operands of a case
MOST_OF_A_TYPE = 5  # cases
MOST_MULTIPLIERS = 12  # of a folding, so that a C++ compiler is not long about it


def beside(ops: Sequence[Op], rng: np.random.Generator, weights: Mapping[int, Array] | None = None) -> Program:
    """A program of operators that have nothing to do with each other, each with ports of its own. weights: values that
    those of an operator are drawn from, by its place."""
    calls, buffers = [], {}
    ports: dict[Role, list[Port]] = {Role.INPUT: [], Role.OUTPUT: []}
    for number, op in enumerate(ops):
        names: dict[Role, list[str]] = {Role.INPUT: [], Role.OUTPUT: []}
        for role in ports:
            for operand in op.roles(role):
                name = f"{type(op).__name__.lower()}{number}_{operand.name}"
                buffers[name] = Buffer(name, operand.shape, operand.dtype)
                ports[role].append(Port(name, name, operand.shape, operand.dtype))
                names[role].append(name)
        constants = op.example(rng)[len(names[Role.INPUT]) :]
        if weights and number in weights:
            constants = (rng.choice(weights[number], constants[0].shape).astype(np.int8), *constants[1:])
        call = Call(f"{type(op).__name__} {number}", op, tuple(names[Role.INPUT]), constants, names[Role.OUTPUT][0])
        calls.append(call)
    return Program("beside", tuple(ports[Role.INPUT]), tuple(ports[Role.OUTPUT]), buffers, tuple(calls))


def repeated() -> list[Op]:
    """Products by a pixel for all pixels, by an element for some that are neighbours, by one, from both sides."""
    shape, zeros = (1, 4, 3, 6), (3, -128)
    scaled = (*zeros, *fixed_point(0.004), Output(zero_point=-5))
    others = ((6,), (1, 1, 3, 6), (1, 4, 3, 1), (4, 1, 1), (1,))
    return [mul.Mul(shape, *pair, *scaled) for other in others for pair in ((shape, other), (other, shape))]


def holding(program: Program, place: int, values: Array) -> Program:
    """The input port at `place` is constant, instead."""
    port, ports = program.inputs[place], (*program.inputs[:place], *program.inputs[place + 1 :])
    return replace(program, inputs=ports, constants=program.constants | {port.buffer: values})


def followed(program: Program, op: Op, rng: np.random.Generator) -> Program:
    """The last operator's result is read by `op`, whose own goes out in its place."""
    last, out = program.calls[-1], op.roles(Role.OUTPUT)[0]
    name = f"{last.output}_{type(op).__name__.lower()}"
    call = Call(f"behind {last.node}", op, (last.output,), op.example(rng)[1:], name)
    ports = (*program.outputs[:-1], Port(name, name, out.shape, out.dtype))
    buffers = program.buffers | {name: Buffer(name, out.shape, out.dtype)}
    return replace(program, outputs=ports, buffers=buffers, calls=(*program.calls, call))


def streamable(modules: Sequence[Any], dtypes: Sequence[str], largest: int = LARGEST) -> Iterator[Op]:
    """The test cases of operators that have hardware, with such inputs and at most so many elements."""
    had: Counter[type[Op]] = Counter()
    for module in modules:
        for op in module.cases():
            inputs = op.roles(Role.INPUT)
            small = all(one.dtype in dtypes for one in inputs) and sum(one.size for one in op.operands()) < largest
            if small and had[type(op)] < MOST_OF_A_TYPE and not isinstance(refused(op), str):
                had[type(op)] += 1
                yield op


def narrow() -> tuple[list[Op], dict[int, Array]]:
    """Products with results of 4 and of 3 bits, and weights of 4 bits, of minifloats and powers of two: `beside`'s
    arguments."""
    four, three = Output(2, -8, 7), Output(-1, -3, 3, even=True)
    small, wide = (steps_of(one) for one in (E2M1, E2M3))
    taken: list[tuple[Op, Array]] = []
    for output, values in ((four, np.arange(-7, 8)), (three, small)):
        dense = conv.Conv(1, 5, 5, 3, 4, (3, 3), (1, 1), (1, 1), (1, 1, 1, 1), 1, -3, output)
        taken += [(dense, values), (gemm.Gemm(2, 9, 6, output), values)]
    taken.append((conv.Conv(1, 4, 4, 4, 4, (2, 2), (2, 2), (1, 1), (0, 0, 0, 0), 1, 5, Output()), wide))
    taken.append((conv.Conv(1, 4, 4, 4, 4, (3, 3), (1, 1), (1, 1), (0, 0, 0, 0), 4, 5, four), wide))
    taken.append((gemm.Gemm(2, 9, 6, Output()), np.array([-4, -1, 0, 2])))
    return [op for op, _ in taken], {place: values for place, (_, values) in enumerate(taken)}


def steps_of(minifloat: FloatFormat) -> Array:
    """Its values in units of the smallest."""
    values = minifloat.values()
    return np.rint(values / values[values > 0].min()).astype(np.int64)


def refused(op: Op) -> Any:
    constants = op.example(np.random.default_rng(0))[len(op.roles(Role.INPUT)) :]
    inputs = tuple(bounds for one in op.roles(Role.INPUT) if (bounds := of_type(one.dtype)) is not None)
    return node_of(Call("n", op, ("x",) * len(inputs), constants, "y"), "n", inputs)


def drawn(network: StreamNetwork, rng: np.random.Generator) -> list[Folding]:
    """A folding of each node, any of them but the very large."""
    found = []
    for node in network.nodes:
        small = [one for one in node.foldings() if sum(stage.lanes for stage in node.stages(one)) <= MOST_MULTIPLIERS]
        chosen = small[int(rng.integers(len(small)))]
        multiplier: Any = rng.choice(["dsp", "lut"])
        found.append(Folding(chosen.outputs, chosen.rows, chosen.channels, multiplier))
    return found


def designed(program: Program, rng: np.random.Generator) -> tuple[Folded, Design]:
    network = network_of(program)
    folded = Folded.of(network, drawn(network, rng))
    return folded, design(folded, timing.depths(folded), timing.modelled(folded))


def frames(program: Program, count: int, rng: np.random.Generator) -> tuple[dict[str, Array], dict[str, Array]]:
    """Inputs at random, those of 16 bits as operators have them for examples, and what the program makes of them:
    {port: [count, *shape]}."""

    def drawn_for(call: Call) -> dict[str, Array]:
        operands = call.kernel.roles(Role.INPUT)
        if all(one.dtype == "int8" for one in operands) and call.kernel.any_codes:
            values = [rng.integers(-128, 128, one.shape, dtype=np.int8) for one in operands]
        else:
            values = list(call.kernel.example(rng)[: len(operands)])
        return dict(zip(call.inputs, values, strict=True))

    ports = {port.name for port in program.inputs}
    drawings = ([drawn_for(call) for call in program.calls] for _ in range(count))
    given = [{name: one for call in drawing for name, one in call.items() if name in ports} for drawing in drawings]
    made = [program.run(one) for one in given]
    return stacked(given), stacked(made)


def stacked(rows: Iterable[dict[str, Array]]) -> dict[str, Array]:
    found = list(rows)
    return {name: np.stack([row[name] for row in found]) for name in found[0]}
