"""When sums and means take their kernels for the DSP extension, and when they do not."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from bevel.backends.cortex_m.dsp import add_dsp, average_pool_dsp, reduce_mean_dsp
from bevel.backends.cortex_m.dsp.add_dsp import AddDsp, AddWideDsp, largest_total
from bevel.backends.cortex_m.dsp.reduce_mean_dsp import ReduceMeanDsp
from bevel.backends.cortex_m.mve import add_mve
from bevel.backends.program.kernel import WIDER, Special
from bevel.backends.program.op import Op, Role
from bevel.backends.program.ops.add import Add
from bevel.backends.program.ops.average_pool import AveragePool
from bevel.backends.program.ops.reduce_mean import ReduceMean
from bevel.backends.program.program import Call
from bevel.backends.target import load
from bevel.calib.arithmetic.requantize import Output

DSP, PLAIN, HELIUM = load("cortex-m7"), load("cortex-m0plus"), load("cortex-m55")
INT16 = Output(3, -(2**15), 2**15 - 1, "int16")
ADD = Add((4, 8), (4, 8), (4, 8), 700_001, 523_456, 2**19, 20, Output(-7))
MEAN = ReduceMean(1, 49, 16, -128, 2**30, 36, Output(-128))


def call_of(kernel: Op) -> Call:
    inputs = ("a", "b")[: len(kernel.roles(Role.INPUT))]
    return Call("node", kernel, inputs, kernel.example(np.random.default_rng(0))[len(inputs) :], "y")


def test_a_sum_of_two_tensors_of_one_shape_is_taken() -> None:
    assert add_dsp.specialize(call_of(ADD), DSP) == Special(AddDsp(ADD), ())


def test_a_broadcast_sum_is_left_to_the_plain_kernel() -> None:
    assert add_dsp.specialize(call_of(replace(ADD, b_shape=(8,))), DSP) == "not an addition of two tensors of one shape"


@pytest.mark.parametrize(
    ("rule", "plain"),
    [
        (reduce_mean_dsp.specialize, replace(MEAN, x_dtype="int16")),
        (reduce_mean_dsp.specialize, replace(MEAN, output=INT16)),
        (average_pool_dsp.specialize, AveragePool(1, 8, 8, 8, (2, 2), (2, 2), (0, 0, 0, 0), 0, INT16, "int16")),
        (add_mve.specialize, replace(ADD, b_dtype="int16")),
    ],
)
def test_wider_integers_are_left_to_the_plain_kernels(rule: Any, plain: Op) -> None:
    assert rule(call_of(plain), HELIUM) == WIDER


def test_sums_of_int16_are_of_64_bits() -> None:
    for plain in (replace(ADD, a_dtype="int16"), replace(ADD, output=INT16)):
        for target in (DSP, HELIUM):
            assert add_dsp.specialize(call_of(plain), target) == Special(AddWideDsp(plain), ())
    assert "wider than int16" in str(add_dsp.specialize(call_of(replace(ADD, a_dtype="int32")), DSP))
    steep = replace(ADD, a_dtype="int16", a_multiplier=2**30, shift=10)
    assert "may leave a word" in str(add_dsp.specialize(call_of(steep), DSP))


def test_a_sum_is_left_where_its_zero_point_would_leave_32_bits() -> None:
    roomy = replace(ADD, shift=23, output=Output(-128), offset=2**31 - 1 - 2**30 - 128 * (700_001 + 523_456))
    assert largest_total(roomy) == 2**31 - 1
    assert isinstance(add_dsp.specialize(call_of(roomy), DSP), Special)
    crowded = replace(roomy, offset=roomy.offset + 1)
    assert "32 bits" in str(add_dsp.specialize(call_of(crowded), DSP))


def test_a_sum_of_int16_is_left_where_its_zero_point_would_leave_64_bits() -> None:
    sums = 2**15 * 700_001 + 128 * 523_456
    roomy = replace(ADD, a_dtype="int16", shift=55, output=Output(-128), offset=2**63 - 1 - 2**62 - sums)
    assert largest_total(roomy) == 2**63 - 1
    kernel = AddWideDsp(roomy)
    assert add_dsp.specialize(call_of(roomy), DSP) == Special(kernel, ()) and kernel.build("add") is not None
    crowded = replace(roomy, offset=roomy.offset + 1)
    assert "64 bits" in str(add_dsp.specialize(call_of(crowded), DSP))


@pytest.mark.parametrize(("reduced", "taken"), [(256, True), (257, False)])
def test_a_mean_is_taken_while_its_sums_fit_halfwords(reduced: int, taken: bool) -> None:
    found = reduce_mean_dsp.specialize(call_of(replace(MEAN, reduced=reduced)), DSP)
    assert isinstance(found, Special) == taken


@pytest.mark.parametrize(("inner", "words"), [(4, 1), (7, 1), (8, 2), (33, 2)])
def test_a_mean_of_enough_channels_sums_two_words_at_a_time(inner: int, words: int) -> None:
    plain = replace(MEAN, inner=inner)
    assert reduce_mean_dsp.specialize(call_of(plain), DSP) == Special(ReduceMeanDsp(plain, words), ())


def test_a_mean_of_three_channels_is_left_to_the_plain_kernel() -> None:
    assert "4 channels or more" in str(reduce_mean_dsp.specialize(call_of(replace(MEAN, inner=3)), DSP))


@pytest.mark.parametrize("shift", [8, 56])
def test_a_mean_that_cannot_be_rescaled_from_the_upper_word_is_left(shift: int) -> None:
    assert "cannot rescale" in str(reduce_mean_dsp.specialize(call_of(replace(MEAN, shift=shift)), DSP))


@pytest.mark.parametrize(("rule", "kernel"), [(add_dsp.specialize, ADD), (reduce_mean_dsp.specialize, MEAN)])
def test_a_target_without_the_dsp_extension_keeps_plain_kernels(rule: object, kernel: Op) -> None:
    assert callable(rule)
    assert rule(call_of(kernel), PLAIN) == "cortex-m0plus has no DSP extension"
