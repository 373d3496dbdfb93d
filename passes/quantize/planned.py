"""What is known of a quantized graph before it is one: which tensors, on which scales."""

from __future__ import annotations

from dataclasses import dataclass

from bevel.passes.quantize.choose_scales import Scales
from bevel.passes.quantize.plan import QuantizationPlan


@dataclass(frozen=True)
class Planned:
    plan: QuantizationPlan
    scales: Scales
