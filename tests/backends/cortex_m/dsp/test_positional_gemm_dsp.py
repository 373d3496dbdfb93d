"""The rule for few rows on weights of two to four bits, and its kernels at shapes that nobody chose."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from kernel_code import compiled, computed, function_of

from bevel.backends.cortex_m.dsp.positional_gemm_dsp import MOST_ROWS, PositionalGemmDsp, specialize
from bevel.backends.program.kernel import Special
from bevel.backends.program.op import Array
from bevel.backends.program.ops.gemm import Gemm
from bevel.backends.program.program import Call
from bevel.backends.select.specialize import specialized
from bevel.backends.target import load
from bevel.calib.arithmetic.requantize import Output

M7 = load("cortex-m7")
RANGES = {4: (-8, 7), 3: (-4, 3), 2: (-1, 1)}


def call_of(gemm: Gemm, low: int, high: int, seed: int = 0) -> tuple[Call, Array]:
    """A call with weights of a range and ratios that any kernel takes, and an input."""
    rng = np.random.default_rng(seed)
    x, w, bias, multiplier, _ = gemm.example(rng)
    weights = rng.integers(low, high + 1, w.shape, dtype=np.int8)
    shift = rng.integers(36, 44, len(bias)).astype(np.int8)
    return Call("node", gemm, ("x",), (weights, bias // 8, multiplier, shift), "y"), x


def test_layers_of_any_shape_compute_what_the_plain_ones_do(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    calls = []
    for seed in range(18):
        rows, n = int(rng.integers(1, MOST_ROWS + 1)), 8 * 5 * int(rng.integers(1, 3)) - seed % 2
        output = Output(int(rng.choice([-128, -3, 127])), int(rng.choice([-128, -20])), int(rng.choice([127, 90])))
        calls.append(call_of(Gemm(rows, int(rng.integers(40, 300)), n, output), *[*RANGES.values()][seed % 3], seed))
    found = [specialize(call, M7) for call, _ in calls]
    taken = [one for one in found if isinstance(one, Special)]
    assert len(taken) == len(calls), found
    library = compiled({f"f{index}": one.kernel for index, one in enumerate(taken)}, tmp_path)
    for index, (one, (call, x)) in enumerate(zip(taken, calls, strict=True)):
        expected = call.kernel.reference(x, *call.constants)
        np.testing.assert_array_equal(one.kernel.reference(x, *one.constants), expected, err_msg=str(one.kernel))
        got = computed(getattr(library, f"f{index}"), one.kernel, (x, *one.constants))
        np.testing.assert_array_equal(got, expected, err_msg=str(one.kernel))
    assert {one.kernel.bits for one in taken if isinstance(one.kernel, PositionalGemmDsp)} == {2, 3, 4}


@pytest.mark.parametrize(("bits", "inputs"), [(4, 511), (3, 1000), (2, 511)])
@pytest.mark.parametrize("pixel", [-128, 127])
def test_the_largest_sums_of_a_place_come_out(bits: int, inputs: int, pixel: int) -> None:
    """Codes of 0 and 2**bits - 1 side by side, and sums as close to the limit as one step more would not be."""
    call, x = call_of(Gemm(1, inputs, 40, Output()), *RANGES[bits])
    w, bias, multiplier, _ = call.constants
    half = 2 ** (bits - 1)
    w = np.where(np.arange(40)[:, np.newaxis] % 2, half - 1, -half) * np.ones_like(w)
    w[0, : 2 * half] = np.arange(-half, half)
    call = replace(call, constants=(w.astype(np.int8), 0 * bias, multiplier, np.full(40, 44, np.int8)))
    found = specialize(call, M7)
    assert isinstance(found, Special) and isinstance(found.kernel, PositionalGemmDsp)
    x = np.full_like(x, pixel)
    got = computed(function_of(found.kernel), found.kernel, (x, *found.constants))
    np.testing.assert_array_equal(got, call.kernel.reference(x, *call.constants))


@pytest.mark.parametrize(
    ("gemm", "weights", "reason"),
    [
        (Gemm(MOST_ROWS + 1, 64, 40, Output()), (-8, 7), "share the cost"),
        (Gemm(1, 64, 40, Output()), (-16, 15), "no codes that fill a halfword"),
        (Gemm(1, 64, 40, Output()), (-127, 127), "no smaller as codes"),
        (Gemm(1, 64, 40, Output()), (0, 15), "no 4 bits"),
        (Gemm(1, 8000, 40, Output()), (-8, 7), "place in a word"),
        (Gemm(1, 64, 40, Output(-300, -2000, 2**15 - 1, "int16")), (-8, 7), "its results are int16"),
    ],
)
def test_the_rule_says_what_it_does_not_take(gemm: Gemm, weights: tuple[int, int], reason: str) -> None:
    assert reason in str(specialize(call_of(gemm, *weights)[0], M7))


@pytest.mark.parametrize(("channels", "taken"), [(9, False), (90, True)])
def test_channels_that_mostly_fill_up_a_block_are_left_to_other_codes(channels: int, taken: bool) -> None:
    call, _ = call_of(Gemm(1, 640, channels, Output()), -1, 1)
    assert isinstance(specialize(call, M7), Special)
    assert isinstance(specialized(call, M7).kernel, PositionalGemmDsp) == taken


def test_nothing_is_packed_without_the_dsp_extension() -> None:
    assert "no DSP" in str(specialize(call_of(Gemm(1, 64, 40, Output()), -8, 7)[0], load("cortex-m0plus")))
