"""Int16 for what a transformer loses most in int8: residual streams, branches, queries and keys, scores and shares.

Where two activations are multiplied, int8 residual streams and int8 scores make most of the error; with the loudest of
them in int16, the others may stay int8, and a note says what that gained. Such a tensor costs a byte more
an element, and little time, as long as no product by weights reads it: those stay int8 on both sides, and so does what
leaves the model. Factors of products of two activations get 12 bits, of which 128 products fit a word, wherever zero
points lie; shares, a whole row of which is 1, have 16.

Which of them: the loudest first, by what each alone makes of the results, until those left together make a tenth of
what the tensors that stay int8 make anyway. Errors of different tensors are taken as independent, so that their powers
add; what the whole gains is measured afterwards.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import onnx_graphsurgeon as gs

from bevel.calib.formats.format import INT16, IntFormat
from bevel.passes.operators.functions.softmax import Softmax
from bevel.passes.operators.products.mat_mul import MatMul
from bevel.passes.quantize.plan import QuantizationPlan, has_weights

FACTOR = IntFormat(12, signed=True)
LEFT = 0.1  # of the error of what stays int8: 10 * log10(1.1), 0.4 dB, is all that more int16 could still gain


def find_streams(plan: QuantizationPlan, groups: Sequence[list[str]]) -> list[int]:
    """Places of the groups that may be int16 at little cost, in a network that multiplies activations."""
    if not any(isinstance(operator, MatMul) for operator, _ in plan.taken.values()):
        return []
    return [place for place, group in enumerate(groups) if is_stream(plan, group)]


def is_stream(plan: QuantizationPlan, group: list[str]) -> bool:
    if any(name in plan.leaving or not plan.points[name].inputs for name in group):
        return False
    return not any(has_weights(node, plan) for node in readers_of(plan, group))


def stream_format(plan: QuantizationPlan, group: list[str]) -> IntFormat:
    """What a group gets that is to be wide."""
    factors = any(is_factor_of_two(plan, node.name) for node in readers_of(plan, group))
    return INT16 if not factors or all(isinstance(made_by(plan, name), Softmax) for name in group) else FACTOR


def readers_of(plan: QuantizationPlan, group: list[str]) -> list[gs.Node]:
    return [node for name in group for node in plan.points[name].outputs]


def is_factor_of_two(plan: QuantizationPlan, name: str) -> bool:
    """Whether a node multiplies two activations, or is part of what does."""
    last = plan.inner.get(name, name)
    return last in plan.taken and isinstance(plan.taken[last][0], MatMul)


def made_by(plan: QuantizationPlan, point: str) -> object:
    """The operator that makes a point; None of an input of the model."""
    makers = [node.name for node in plan.points[point].inputs]
    return plan.taken[makers[0]][0] if makers and makers[0] in plan.taken else None


def loudest(noise: Mapping[int, float], rest: float) -> list[int]:
    """The groups without which the noise of the others is at most a tenth of `rest`; powers, relative to the signal."""
    chosen, left = [], sum(noise.values())
    for place in sorted(noise, key=lambda one: (-noise[one], one)):
        if left <= LEFT * rest:
            break
        chosen.append(place)
        left -= noise[place]
    return sorted(chosen)
