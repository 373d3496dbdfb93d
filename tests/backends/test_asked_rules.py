"""Each call says which rules were asked for its kernel, and what they answered."""

import numpy as np

from bevel.backends.program.ops.conv import Conv
from bevel.backends.program.ops.table import Table
from bevel.backends.program.program import TAKEN, Call
from bevel.backends.select.specialize import RULES, rule_name, specialized
from bevel.backends.target import load
from bevel.calib.arithmetic.requantize import Output

WINDOW = {"strides": (1, 1), "dilations": (1, 1), "pads": (1, 1, 1, 1), "groups": 1}
SHAPE = {"batch": 1, "height": 8, "width": 8, "channels_in": 8, "channels_out": 8, "kernel": (3, 3)}


def conv() -> Call:
    kernel = Conv(**SHAPE, **WINDOW, x_zero_point=-128, output=Output())
    constants = kernel.example(np.random.default_rng(0))[1:]
    return Call("conv", kernel, ("x",), constants, "y")


def test_the_rules_before_the_one_taken_say_why_not() -> None:
    found = specialized(conv(), load("cortex-m7"))
    assert type(found.kernel).__name__ == "ConvDsp"
    *refused, taken = found.asked
    assert (taken.rule, taken.answer) == ("conv_dsp", TAKEN)
    assert [one.rule for one in refused] == [rule_name(rule) for rule in RULES[: len(refused)]]
    assert {one.rule: one.answer for one in refused}["conv_mve"] == "cortex-m7 has no Helium"


def test_a_call_that_keeps_its_plain_kernel_has_every_rules_reason() -> None:
    found = specialized(conv(), load("cortex-m0plus"))
    assert found.kernel == conv().kernel
    assert [one.rule for one in found.asked] == [rule_name(rule) for rule in RULES]
    assert all(one.answer != TAKEN and one.answer for one in found.asked)


def test_an_operator_without_faster_kernels_asks_too() -> None:
    table = Table(size=4)
    found = specialized(Call("t", table, ("x",), table.example(np.random.default_rng(0))[1:], "y"), load("cortex-m7"))
    assert found.kernel == table and len(found.asked) == len(RULES)
