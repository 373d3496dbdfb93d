"""Which tensors are quantized, and the scale and zero point of each, from what was observed of them.

Source: Krishnamoorthi 2018, "Quantizing deep convolutional networks for efficient inference: A whitepaper", sections 2
and 3.1. `plan` says what is quantized and which tensors share a scale, `choose_scales` gives every group its scale.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from bevel.calib.observe.observe import always_zero
from bevel.passes.base import COMMAND, Condition, Note, Pass, PassResult, Stage, Work
from bevel.passes.conditions import FLOAT
from bevel.passes.quantize.choose_scales import Scales, choose_scales
from bevel.passes.quantize.clamp_masks import behind_clips
from bevel.passes.quantize.formats import node_formats
from bevel.passes.quantize.part_results import part_results
from bevel.passes.quantize.plan import PASS, make_plan
from bevel.passes.quantize.planned import Planned
from bevel.passes.quantize.wanted import Ask, ranges
from bevel.passes.quantize.weights_alone import plan_weights


@dataclass(frozen=True)
class PlanScales(Pass):
    """By the schemes that were assigned. The graph stays as it is; `planned` is new. beside_floats: activations stay
    float32, and weights alone are quantized."""

    name: ClassVar[str] = "plan-scales"
    stage: ClassVar[Stage] = "quantize"
    requires: ClassVar[tuple[Condition, ...]] = (FLOAT,)
    beside_floats: bool = field(default=False, metadata=COMMAND)

    @property
    def asks(self) -> tuple[Ask, ...]:
        return () if self.beside_floats else (ranges,)

    def call(self, work: Work) -> PassResult:
        schemes = work.schemes
        if self.beside_floats:
            plan, scales = plan_weights(work.graph), Scales()
            formats = dict(node_formats(plan, scales, schemes))
            return work.result(False, plan.notes, planned=Planned(plan, scales), formats=formats)
        plan = make_plan(work.graph, work.states)
        observations = behind_clips(work.graph, work.observations)
        part_results(work.graph, plan, observations, schemes.method)
        scales = choose_scales(plan, observations, schemes.method, schemes)
        formats = dict(node_formats(plan, scales, schemes))
        zeros = always_zero({name: observations[name] for name in plan.points})
        return work.result(
            False,
            [*plan.notes, *scales.notes, *(Note(PASS, name, "warned", text) for name, text in zeros.items())],
            planned=Planned(plan, scales),
            observations=observations,
            formats=formats,
        )
