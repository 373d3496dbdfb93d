"""Weights of several calls are stored once on every core, in programs that compute what they did."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from bevel.backends.binary.c.constants import collect
from bevel.backends.cortex_m.dsp.shared_positional_gemm_dsp import SharedPositionalGemmDsp
from bevel.backends.cortex_m.dsp.shared_subbyte_tiles_dsp import SharedSubbyteTilesDsp
from bevel.backends.cortex_m.dsp.shared_tiles_dsp import SharedTilesDsp
from bevel.backends.cortex_m.shared_weights import share_weights
from bevel.backends.program.kernel import Kernel
from bevel.backends.program.op import Array
from bevel.backends.program.ops.conv import Conv
from bevel.backends.program.ops.gemm import Gemm
from bevel.backends.program.program import Buffer, Call, Port, Program
from bevel.backends.program.switching import rounded
from bevel.backends.select.specialize import specialize
from bevel.backends.target import load
from bevel.calib.arithmetic.requantize import Output

CORES = ("cortex-m0plus", "cortex-m4", "cortex-m7", "cortex-m33", "cortex-m55", "rv32imc")
DSP, HOST = load("cortex-m4"), load("host")
LAYERS, CHANNELS = 4, 16
MOST = 1.1  # times the host's weights: channels are filled up to blocks, and ends of blocks take a word more

Gemms = Gemm(8, 64, 64, Output())
Convs = Conv(1, 8, 6, CHANNELS, CHANNELS, (3, 3), (1, 1), (1, 1), (1, 1, 1, 1), 1, 5, Output())
Pixels = replace(Convs, height=4, kernel=(1, 1), channels_in=48, channels_out=48, pads=(0, 0, 0, 0))
KERNELS: dict[str, Kernel] = {"gemm": Gemms, "conv": Convs, "pixels": Pixels}


def layer(kernel: Any, weights: Array, seed: int, least_shift: int = 34) -> Call:
    """A call on `weights` with a bias, ratios and an output's zero point of its own."""
    rng = np.random.default_rng(seed)
    count = len(weights)
    bias = rng.integers(-(2**12), 2**12, count).astype(np.int32)
    multiplier = rng.integers(2**30, 2**31 - 1, count).astype(np.int32)
    shift = rng.integers(least_shift, 44, count).astype(np.int8)
    own = replace(kernel, output=Output(zero_point=seed - 3))
    return Call(f"layer{seed}", own, (f"b{seed}",), (weights.copy(), bias, multiplier, shift), f"b{seed + 1}")


def program_of(*calls: Call) -> Program:
    """The calls one after the other, on buffers of their inputs' shape."""
    (x,) = (operand for operand in calls[0].kernel.operands() if operand.name == "x")
    buffers = {name: Buffer(name, x.shape, "int8") for name in (f"b{index}" for index in range(len(calls) + 1))}
    inputs, outputs = Port("x", "b0", x.shape, "int8"), Port("y", f"b{len(calls)}", x.shape, "int8")
    return Program("net", (inputs,), (outputs,), buffers, calls)


def weights_of(kernel: Kernel, seed: int = 0, bits: int = 8) -> Array:
    shape = next(operand.shape for operand in kernel.operands() if operand.name == "w")
    half = 2 ** (bits - 1)
    return np.random.default_rng(seed).integers(1 - half, half, shape).astype(np.int8)


def tied(kernel: Kernel, bits: int = 8, least_shift: int = 34) -> Program:
    weights = weights_of(kernel, bits=bits)
    return program_of(*(layer(kernel, weights, index, least_shift) for index in range(LAYERS)))


def results(program: Program, seed: int = 0) -> Array:
    (port,) = program.inputs
    return program.run({"x": np.random.default_rng(seed).integers(-128, 128, port.shape).astype(np.int8)})["y"]


@pytest.mark.parametrize("core", CORES)
@pytest.mark.parametrize("kind", KERNELS)
def test_weights_of_several_layers_take_about_what_they_take_on_the_host(kind: str, core: str) -> None:
    plain = tied(KERNELS[kind])
    shared = share_weights(specialize(plain, load(core)))
    assert collect(shared).bytes <= MOST * collect(specialize(plain, HOST)).bytes
    np.testing.assert_array_equal(results(shared), results(plain))


@pytest.mark.parametrize("kind", KERNELS)
@pytest.mark.parametrize("bits", [2, 4])
def test_codes_of_several_layers_are_stored_once(kind: str, bits: int) -> None:
    plain = tied(KERNELS[kind], bits)
    before = specialize(plain, DSP)
    shared = share_weights(before)
    assert {type(call.kernel) for call in shared.calls} == {SharedSubbyteTilesDsp}
    codes = shared.calls[0].constants[0].nbytes
    assert collect(before).bytes - collect(shared).bytes == (LAYERS - 1) * codes > 0
    np.testing.assert_array_equal(results(shared), results(plain))


def test_weights_of_several_channels_to_a_halfword_are_stored_once() -> None:
    plain = tied(replace(Gemms, rows=1), bits=4)
    before = specialize(plain, DSP)
    shared = share_weights(before)
    assert {type(call.kernel) for call in shared.calls} == {SharedPositionalGemmDsp}
    assert collect(before).bytes - collect(shared).bytes == (LAYERS - 1) * shared.calls[0].constants[0].nbytes > 0
    np.testing.assert_array_equal(results(shared), results(plain))


def test_layers_that_requantize_in_different_ways_share_weights() -> None:
    weights = weights_of(Convs)
    plain = program_of(*(layer(Convs, weights, index, least) for index, least in enumerate((34, 31, 34, 31))))
    shared = share_weights(specialize(plain, DSP))
    kernels = [call.kernel for call in shared.calls]
    assert [isinstance(kernel, SharedTilesDsp) and kernel.inner.apart for kernel in kernels] == [False, True] * 2
    assert len({call.constants[0].tobytes() for call in shared.calls}) == 1
    np.testing.assert_array_equal(results(shared), results(plain))


def test_layers_of_other_sizes_share_weights() -> None:
    weights = weights_of(Convs)
    low = replace(Convs, height=4)
    calls = [layer(Convs, weights, 0), replace(layer(low, weights, 1), inputs=("b0",), output="b2")]
    shared = share_weights(specialize(program_of(*calls), DSP))
    assert len({call.kernel for call in shared.calls}) == 2
    assert len({call.constants[0].tobytes() for call in shared.calls}) == 1


def test_layers_with_weights_of_their_own_stay_as_they_are() -> None:
    calls = [layer(Convs, weights_of(Convs, seed), seed) for seed in range(LAYERS)]
    special = specialize(program_of(*calls), DSP)
    assert share_weights(special) is special


def test_bands_of_one_layer_stay_as_they_are() -> None:
    """All of their constants are the same anyway."""
    call = layer(Convs, weights_of(Convs), 0)
    bands = [replace(call, inputs=(f"b{index}",), output=f"b{index + 1}") for index in range(LAYERS)]
    special = specialize(program_of(*bands), DSP)
    assert share_weights(special) is special


def test_weights_that_take_less_than_functions_for_them_stay_as_they_are() -> None:
    few = Gemm(1, 8, 8, Output())
    special = specialize(tied(few), DSP)
    assert share_weights(special) is special


def test_layers_beside_those_that_share_stay_as_they_are() -> None:
    weights = weights_of(Convs)
    plain = program_of(layer(Convs, weights, 0), layer(Convs, weights_of(Convs, 9), 1), layer(Convs, weights, 2))
    special = specialize(plain, DSP)
    shared = share_weights(special)
    assert [one is other for one, other in zip(shared.calls, special.calls, strict=True)] == [False, True, False]


def test_weights_that_change_their_width_are_shared_at_every_width() -> None:
    plain = tied(Convs)

    def switching(call: Call) -> Call:
        weights, *others = call.constants
        return replace(call, narrower={bits: (rounded(weights, bits), *others) for bits in (4, 2)})

    changing = replace(plain, calls=tuple(map(switching, plain.calls)), widths=(8, 4, 2))
    shared = share_weights(specialize(changing, DSP))
    assert {type(call.kernel) for call in shared.calls} == {SharedTilesDsp}
    for bits in (8, 4, 2):
        np.testing.assert_array_equal(
            results(replace(shared, width=bits)), results(replace(changing, width=bits)), err_msg=str(bits)
        )
    for bits in (4, 2):
        assert len({call.narrower[bits][0].tobytes() for call in shared.calls}) == 1
