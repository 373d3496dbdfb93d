"""Choose, for each call, the kernel that uses what the target can do; the plain kernel is what remains.

A specialised kernel is a kernel like any other, in a file of its own beside the plain one (`conv_dsp.py` beside
`conv.py`): other loops, constants packed for them, perhaps scratch, and the same results bit for bit. Its rule looks
at a call and answers with the kernel and its constants, or with the reason why it does not apply.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from importlib.resources import files

from bevel.backends.cortex_m.dsp import (
    add_dsp,
    average_pool_dsp,
    coded_conv_dsp,
    conv_dsp,
    depthwise_dsp,
    gemm_dsp,
    mat_mul_dsp,
    max_pool_dsp,
    narrow_depthwise_dsp,
    narrow_tiles_dsp,
    positional_gemm_dsp,
    reduce_mean_dsp,
)
from bevel.backends.cortex_m.mve import (
    add_mve,
    conv_mve,
    depthwise_mve,
    gemm_mve,
    narrow_conv_mve,
    narrow_depthwise_mve,
    positional_mve,
)
from bevel.backends.program.bounds import with_bounds
from bevel.backends.program.kernel import Special
from bevel.backends.program.op import Bounds, Op
from bevel.backends.program.program import TAKEN, Asked, Call, Program
from bevel.backends.program.switching import exceptions
from bevel.backends.target import Target
from bevel.backends.tir.kernels import bitplane_conv, coded_conv

Rule = Callable[[Call, Target], Special | str]

# Asked in order; the first that applies wins. Where weights take fewer than eight bits, flash counts more than speed.
RULES: tuple[Rule, ...] = (
    bitplane_conv.specialize,
    positional_mve.specialize,
    narrow_conv_mve.specialize,
    narrow_depthwise_mve.specialize,
    narrow_depthwise_dsp.specialize,
    positional_gemm_dsp.specialize,
    narrow_tiles_dsp.specialize,
    coded_conv_dsp.specialize,
    coded_conv.specialize,
    conv_mve.specialize,
    gemm_mve.specialize,
    depthwise_mve.specialize,
    add_mve.specialize,
    depthwise_dsp.specialize,
    gemm_dsp.specialize,
    conv_dsp.specialize,
    mat_mul_dsp.specialize,
    add_dsp.specialize,
    reduce_mean_dsp.specialize,
    average_pool_dsp.specialize,
    max_pool_dsp.specialize,
)


MORE_EXCEPTIONS = 4  # times those of the plain kernel: multipliers and shifts may stand among packed weights


Key = tuple[Op, tuple[int, ...], tuple[Bounds | None, ...]]


@dataclass(frozen=True)
class Specializer:
    """Specialises calls for one target; each kernel with the same arrays once, as bands of an image share weights."""

    target: Target
    # By kernel, identity of the constants, which the calls kept here hold alive, and what the inputs may be.
    known: dict[Key, tuple[Call, Call]] = field(default_factory=dict, compare=False)

    def program(self, program: Program) -> Program:
        return replace(program, calls=tuple(self.call(call) for call in with_bounds(program).calls))

    def call(self, call: Call) -> Call:
        key = (call.kernel, tuple(id(array) for array in call.constants), call.input_bounds)
        if key not in self.known:
            self.known[key] = (call, specialized(call, self.target))
        special = self.known[key][1]
        return replace(
            call,
            kernel=special.kernel,
            constants=special.constants,
            narrower=special.narrower,
            asked=special.asked,
        )


def specialize(program: Program, target: Target) -> Program:
    """`program` with the fastest kernel that applies to each call on `target`."""
    return Specializer(target).program(program)


def specialized(call: Call, target: Target) -> Call:
    """`call` with the kernel of the first rule that has one, and what every rule before it answered."""
    alone = replace(call, narrower={})
    asked: list[Asked] = []
    for rule in RULES:
        found = rule(alone, target)
        special = special_call(call, alone, found, rule, target) if isinstance(found, Special) else found
        if isinstance(special, Call):
            return replace(special, asked=(*asked, Asked(rule_name(rule), TAKEN)))
        asked.append(Asked(rule_name(rule), special))
    return replace(call, asked=tuple(asked))


def special_call(call: Call, alone: Call, found: Special, rule: Rule, target: Target) -> Call | str:
    special = replace(alone, kernel=found.kernel, constants=found.constants)
    if not call.narrower:
        return special
    return at_every_width(call, special, rule, target) or "it is another kernel, or stores weights twice, at fewer bits"


def rule_name(rule: Rule) -> str:
    return rule.__module__.rpartition(".")[2]


def at_every_width(call: Call, special: Call, rule: Rule, target: Target) -> Call | None:
    """`special` with its constants at the other widths; None where it is another kernel there, or would have to store
    weights again: a few elements a channel may be exceptions, as the bias is."""
    narrower = {}
    for bits, constants in call.narrower.items():
        found = rule(replace(call, constants=constants, narrower={}), target)
        if not isinstance(found, Special) or found.kernel != special.kernel:
            return None
        narrower[bits] = found.constants
    switching = replace(special, narrower=narrower)
    return switching if exceptions(switching) <= MORE_EXCEPTIONS * exceptions(call) else None


INCLUDED = re.compile(r'^#include "(bevel_\w+\.h)"$', re.MULTILINE)


def helper_text(header: str) -> str:
    """The text of a C header of `backends/cortex_m/c/`, with those of the same folder that it includes put in place."""
    text = files("bevel.backends.cortex_m").joinpath("c", header).read_text(encoding="utf-8")
    return INCLUDED.sub(lambda match: helper_text(match[1]), text)
