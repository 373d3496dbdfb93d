"""Layers with codes of one format share its table, and compute what they did."""

from __future__ import annotations

import numpy as np

from bevel.backends.encodings import coded
from bevel.backends.program.ops.coded_conv import CodedConv, call_of, of_gemm
from bevel.backends.program.program import Buffer, Call, Port, Program
from bevel.backends.select.shared_tables import share_tables
from bevel.calib.arithmetic.requantize import Output
from bevel.calib.formats.coded import counted
from bevel.calib.formats.format import parse

WIDE = np.unique(parse("e4m3").values() * 512).astype(np.int64)
K, N = 64, 16


def layer(values: np.ndarray, seed: int, source: str, output: str) -> Call:
    """A product whose weights are drawn from `values`."""
    rng = np.random.default_rng(seed)
    weights = rng.choice(values, (N, 1, 1, K))
    rescaling = (rng.integers(-(2**20), 2**20, N), rng.integers(2**12, 2**13, N).astype(np.int32))
    shift = np.full(N, 34, np.int8)
    kernel, constants = call_of(
        of_gemm(2, K, N, Output()), coded.shortest(weights, counted(weights)), (*rescaling, shift), wide=True
    )
    return Call(output, kernel, (source,), constants, output)


def program(*values: np.ndarray) -> Program:
    """A layer for each set of values, side by side."""
    names = [f"y{index}" for index in range(len(values))]
    calls = tuple(layer(one, index, "x", names[index]) for index, one in enumerate(values))
    buffers = {"x": Buffer("x", (2, K), "int8")} | {name: Buffer(name, (2, N), "int8") for name in names}
    outputs = tuple(Port(name, name, (2, N), "int8") for name in names)
    return Program("net", (Port("x", "x", (2, K), "int8"),), outputs, buffers, calls)


def tables(found: Program) -> set[bytes]:
    return {call.constants[1].tobytes() for call in found.calls if found_tabled(call)}


def found_tabled(call: Call) -> bool:
    return isinstance(call.kernel, CodedConv) and call.kernel.coding.tabled


def assert_same_results(one: Program, other: Program) -> None:
    x = {"x": np.random.default_rng(0).integers(-128, 128, (2, K)).astype(np.int8)}
    expected, found = one.run(x), other.run(x)
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array)


def test_layers_of_one_format_share_its_table() -> None:
    before = program(WIDE, WIDE, WIDE)
    after = share_tables(before)
    assert (len(tables(before)), len(tables(after))) == (3, 1)
    assert_same_results(before, after)


def test_a_small_layer_takes_longer_codes_rather_than_a_table_of_its_own() -> None:
    before = program(WIDE, WIDE[::3])
    after = share_tables(before)
    assert len(tables(after)) == 1
    assert {call.kernel.coding.bits for call in after.calls if isinstance(call.kernel, CodedConv)} == {8}
    assert_same_results(before, after)


def test_values_that_are_too_many_together_stay_apart() -> None:
    before = program(WIDE, WIDE + 1)
    assert share_tables(before) == before


def test_tables_of_another_type_stay_apart() -> None:
    before = program(WIDE, np.array([-9000, 17, 400, 8000, 9]))
    assert share_tables(before) == before


def test_weights_without_a_table_stay_as_they_are() -> None:
    before = program(np.arange(-8, 8), np.arange(-8, 8))
    assert share_tables(before) == before
