"""Bands of rows: the same results bit for bit, nothing computed twice, and no row overwritten before it was read."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from bevel.backends.encodings.coded import Coding
from bevel.backends.program import memory
from bevel.backends.program.kernel import Kernel
from bevel.backends.program.memory import Plan
from bevel.backends.program.op import Array, Role
from bevel.backends.program.ops.add import Add
from bevel.backends.program.ops.average_pool import AveragePool
from bevel.backends.program.ops.clip import Clip
from bevel.backends.program.ops.coded_conv import CodedConv, of_gemm
from bevel.backends.program.ops.conv import Conv
from bevel.backends.program.ops.gemm import Gemm
from bevel.backends.program.ops.max_pool import MaxPool
from bevel.backends.program.ops.mul import Mul
from bevel.backends.program.ops.quantize_fixed import QuantizeFixed
from bevel.backends.program.ops.round_mx import RoundMx
from bevel.backends.program.program import Buffer, Call, Port, Program
from bevel.backends.program.streaming import stream, streamed
from bevel.calib.arithmetic.requantize import Output
from bevel.calib.formats.mx import MxRounding

CHANNELS = 3
WIDTH = 4


def conv(height: int, pads: tuple[int, int] = (1, 1), batch: int = 1, **changes: Any) -> Conv:
    """A 3x3 convolution, depthwise with groups=CHANNELS; pads are those above and below."""
    plain: dict[str, Any] = {"kernel": (3, 3), "strides": (1, 1), "dilations": (1, 1), "groups": 1} | changes
    across = (plain["kernel"][1] // 2, plain["kernel"][1] // 2)
    edges = (pads[0], across[0], pads[1], across[1])
    return Conv(batch, height, WIDTH, CHANNELS, CHANNELS, pads=edges, x_zero_point=-5, output=Output(3), **plain)


def image(rows: int) -> tuple[int, ...]:
    return (1, rows, WIDTH, CHANNELS)


def add(rows: int, b_shape: tuple[int, ...] | None = None) -> Add:
    return Add(image(rows), image(rows), b_shape or image(rows), 700_001, 523_456, 2**19, 20, Output(-7))


def network(*layers: tuple[Kernel, str], outputs: str = "") -> Program:
    """Layers in order: a kernel and the letters of its inputs. The input is 'x', results are 'a', 'b', 'c', ..."""
    rng = np.random.default_rng(7)
    buffers, calls = {}, []
    for letter, (kernel, inputs) in zip("abcdefghijk", layers, strict=False):
        (written,) = kernel.roles(Role.OUTPUT)
        for name, operand in zip(inputs, kernel.roles(Role.INPUT), strict=True):
            buffers.setdefault(name, Buffer(name, operand.shape, operand.dtype))
        shape = written.shape if len(written.shape) > 1 else buffers[inputs[0]].shape
        buffers[letter] = Buffer(letter, shape, written.dtype)
        constants = kernel.example(rng)[len(inputs) :]
        calls.append(Call(f"node {letter}", kernel, tuple(inputs), tuple(constants), letter))
    x = buffers["x"]
    ports = tuple(Port(name, name, buffers[name].shape, "int8") for name in outputs or calls[-1].output)
    return Program("net", (Port("x", "x", x.shape, "int8"),), ports, buffers, tuple(calls))


def sample(program: Program) -> dict[str, Array]:
    rng = np.random.default_rng(11)
    return {port.name: rng.integers(-128, 128, port.shape).astype(port.dtype) for port in program.inputs}


def run_in_arena(program: Program, plan: Plan, arrays: dict[str, Array]) -> dict[str, Array]:
    """As a device runs it: all buffers in one block of memory, each call reading and writing its bytes there."""
    arena = np.full(plan.arena_bytes, 0x5A, np.uint8)

    def at(buffer: str, first: int, size: int) -> Array:
        if buffer in program.constants:
            return program.constants[buffer].view(np.uint8)[first : first + size]
        start = plan.offsets[buffer] + first
        assert start + size <= plan.arena_bytes
        return arena[start : start + size]

    for port in program.inputs:
        at(port.buffer, 0, arrays[port.name].nbytes)[:] = arrays[port.name].view(np.uint8).ravel()
    for call in program.calls:
        inputs = zip(call.reads(), call.kernel.roles(Role.INPUT), strict=True)
        given = [at(name, first, end - first).view(o.dtype).reshape(o.shape) for (name, first, end), o in inputs]
        ((name, first, end),) = call.writes()
        at(name, first, end - first)[:] = call.kernel.reference(*given, *call.constants).view(np.uint8).ravel()
    return {
        port.name: at(port.buffer, 0, program.buffers[port.buffer].bytes).view(port.dtype).reshape(port.shape).copy()
        for port in program.outputs
    }


def assert_same(program: Program, changed: Program) -> None:
    arrays = sample(program)
    expected, found = program.run(arrays), changed.run(arrays)
    placed = run_in_arena(changed, memory.plan(changed), arrays)
    for name, array in expected.items():
        assert np.array_equal(found[name], array) and np.array_equal(placed[name], array)
    assert macs(changed.calls) <= macs(program.calls)  # less where a stride leaves rows unread


def macs(calls: Sequence[Call]) -> int:
    return sum(call.kernel.macs for call in calls)


def chain_of_three() -> Program:
    return network((conv(12), "x"), (conv(12, groups=CHANNELS), "a"), (conv(12, (0, 0), kernel=(1, 1)), "b"))


@pytest.mark.parametrize("upward", [False, True])
@pytest.mark.parametrize("rows", [1, 2, 3, 5, 11, 12, 20])
def test_bands_of_any_height_give_the_same_result(rows: int, upward: bool) -> None:
    program = chain_of_three()
    assert_same(program, streamed(program, 0, 2, rows, upward))


def test_bands_inside_an_image_share_their_kernels() -> None:
    changed = streamed(chain_of_three(), 0, 2, rows=2)
    assert len(changed.calls) > 18
    assert len({call.kernel for call in changed.calls if call.node == "node b"}) == 3  # top, inside, bottom
    assert len({call.kernel for call in changed.calls if call.node == "node c"}) == 1  # no padding: all alike


def test_what_lies_between_exists_only_as_a_few_rows() -> None:
    program = chain_of_three()
    changed = streamed(program, 0, 2, rows=2)
    row = WIDTH * CHANNELS
    assert program.buffers["a"].bytes == program.buffers["b"].bytes == 12 * row
    assert changed.buffers["a"].bytes == 5 * row and changed.buffers["b"].bytes == 2 * row
    assert memory.plan(changed).arena_bytes < 0.9 * memory.plan(program).arena_bytes


def test_one_call_in_bands_lays_its_output_over_its_input() -> None:
    program = network((conv(16), "x"))
    down, up = (memory.plan(streamed(program, 0, 0, 1, upward)) for upward in (False, True))
    assert memory.plan(program).arena_bytes == 2 * 16 * 12
    assert max(down.arena_bytes, up.arena_bytes) <= (16 + 4) * 12
    assert down.offsets["a"] < down.offsets["x"] and up.offsets["a"] > up.offsets["x"]


def test_a_residual_is_kept_until_its_sum() -> None:
    program = network((conv(10), "x"), (conv(10), "a"), (add(10), "xb"))
    for rows in (1, 3, 4):
        assert_same(program, streamed(program, 0, 2, rows))


def test_a_residual_inside_the_chain_keeps_the_rows_that_the_sum_still_needs() -> None:
    program = network((conv(10), "x"), (conv(10), "a"), (conv(10), "b"), (add(10), "ac"), (conv(10), "d"))
    for rows in (1, 2, 5):
        changed = streamed(program, 0, 4, rows)
        assert_same(program, changed)
        assert changed.buffers["a"].bytes < program.buffers["a"].bytes


def test_results_that_are_read_elsewhere_stay_whole() -> None:
    program = network((conv(9), "x"), (conv(9), "a"), (conv(9), "b"), outputs="ac")
    changed = streamed(program, 0, 2, rows=2)
    assert changed.buffers["a"] == program.buffers["a"] and changed.buffers["b"] != program.buffers["b"]
    assert_same(program, changed)


def test_two_results_of_a_chain_grow_side_by_side() -> None:
    halved = {"kernel": (1, 1), "strides": (2, 2)}
    program = network((conv(12), "x"), (conv(12, (0, 0), **halved), "a"), (conv(12, (0, 1), strides=(2, 2)), "a"))
    program = replace(program, outputs=tuple(Port(n, n, program.buffers[n].shape, "int8") for n in "bc"))
    for upward in (False, True):
        assert_same(program, streamed(program, 0, 2, 2, upward))


def test_pools_and_broadcasts_run_in_bands_too() -> None:
    pool = AveragePool(1, 12, WIDTH, CHANNELS, (3, 3), (1, 1), (1, 1, 1, 1), -5, Output(2))
    largest = MaxPool(1, 12, WIDTH, CHANNELS, (3, 3), (2, 1), (2, 1), (1, 1, 2, 1))
    scale = Mul(image(12), image(12), (CHANNELS,), 1, 2, 2**30, 36, Output())
    program = network((pool, "x"), (Clip(12 * WIDTH * CHANNELS, -90, 90), "a"), (scale, "by"), (largest, "c"))
    values = np.array([9, -7, 100], np.int8)
    program = replace(program, constants={"y": values}, buffers=program.buffers | {"y": Buffer("y", (3,), "int8")})
    for upward in (False, True):
        assert_same(program, streamed(program, 0, 3, 2, upward))


@pytest.mark.parametrize("rows", [1, 3, 5])
def test_coded_weights_and_wider_activations_run_in_bands_too(rows: int) -> None:
    wider = replace(conv(12), output=Output(0, -3000, 3000, "int16"))
    coded = (CodedConv(wider, Coding(4, "int8")), CodedConv(conv(12), Coding(6, "int16", True), "int16", wide=True))
    program = network((coded[0], "x"), (coded[1], "a"))
    for upward in (False, True):
        assert_same(program, streamed(program, 0, 1, rows, upward))


@pytest.mark.parametrize("rows", [1, 4, 5])
def test_sums_are_rounded_to_blocks_in_bands_too(rows: int) -> None:
    rounding = MxRounding(1, 12, 11)
    limit = Output(0, -rounding.limit, rounding.limit, "int32")
    wide = CodedConv(replace(conv(12), output=limit), Coding(4, "int8"), "int16", wide=True)
    blocks = RoundMx(12 * WIDTH, CHANNELS, rounding)
    sums = Add(image(12), image(12), image(12), 2**12, -(2**13), 2**5, 6, limit, a_dtype="int16", b_dtype="int16")
    program = network(
        (QuantizeFixed(12 * WIDTH * CHANNELS, 2.0**-3, limit.low, limit.high), "x"),
        (blocks, "a"),
        (wide, "b"),
        (blocks, "c"),
        (sums, "bd"),
    )
    pixels = {name: replace(buffer, shape=image(12)) for name, buffer in program.buffers.items()}
    program = replace(program, inputs=(replace(program.inputs[0], dtype="float32", shape=image(12)),), buffers=pixels)
    program = replace(program, outputs=(replace(program.outputs[0], dtype="int32"),))
    for upward in (False, True):
        assert_same(program, streamed(program, 0, 4, rows, upward))


@pytest.mark.parametrize(
    ("program", "last"),
    [
        (network((Gemm(1, 8, 8, Output()), "x")), 0),
        (network((conv(8, batch=2), "x")), 0),
        (network((conv(8, (3, 3), kernel=(3, 3)), "x")), 0),  # a band could lie in the padding altogether
        (network((CodedConv(of_gemm(8, 8, 8, Output()), Coding(4, "int8")), "x")), 0),
        (network((conv(8), "x"), (add(8, (1, 1, WIDTH, CHANNELS)), "xb"), (conv(8), "b")), 1),
    ],
    ids=["no rows", "a batch", "padding as high as the window", "single pixels", "a part read whole"],
)
def test_what_cannot_be_cut_into_rows_is_left(program: Program, last: int) -> None:
    assert stream(program, 0, last, 1) is None
    with pytest.raises(ValueError, match="cannot be run in bands of 1 rows"):
        streamed(program, 0, last, 1)


@st.composite
def networks(draw: st.DrawFn) -> Program:
    """Chains with strides, dilations, uneven padding, pools and residuals."""
    layers: list[tuple[Kernel, str]] = []
    rows, heights, known = draw(st.integers(5, 14)), {}, "x"
    heights["x"] = rows
    for letter in "abcde"[: draw(st.integers(1, 5))]:
        source = known[-1]
        height = heights[source]
        alike = [name for name in known[:-1] if heights[name] == height]
        if alike and draw(st.booleans()):
            layers.append((add(height), draw(st.sampled_from(alike)) + source))
            heights[letter] = height
        else:
            taps, stride = draw(st.integers(1, 4)), draw(st.integers(1, 2))
            dilation = draw(st.integers(1, 2))
            reach = (taps - 1) * dilation + 1
            pads = (draw(st.integers(0, reach - 1)), draw(st.integers(0, reach - 1)))
            assume(height + sum(pads) - reach >= stride)
            kernel = conv(height, pads, kernel=(taps, 3), strides=(stride, 1), dilations=(dilation, 1), groups=CHANNELS)
            layers.append((kernel, source))
            heights[letter] = kernel.positions[0]
        known += letter
    outputs = "".join(sorted({known[-1], *draw(st.sets(st.sampled_from(known[1:]), max_size=1))}))
    return network(*layers, outputs=outputs)


@settings(max_examples=60)
@given(networks(), st.data())
def test_any_part_of_any_network_gives_the_same_in_bands(program: Program, data: st.DataObject) -> None:
    first = data.draw(st.integers(0, len(program.calls) - 1))
    last = data.draw(st.integers(first, len(program.calls) - 1))
    rows, upward = data.draw(st.integers(1, 6)), data.draw(st.booleans())
    assert_same(program, streamed(program, first, last, rows, upward))
