"""Int16 for the few tensors that int8 loses: those that, rounded to int8 alone, leave less than 20 dB of a result.

A logarithm of powers, an exponential, a variance beside its square root: values that span more binades than int8 has
bits, and whose small ones count. Whether they count shows in the model's results alone, so it is measured there: the
float model runs on calibration samples with quantizers that can be switched on and off, in the manner of group testing
(Dorfman 1943). All at once first; a set that leaves 20 dB of every result holds no such tensor, any other is halved.
A healthy network is decided by one run a sample, and has no such tensor.

Of a transformer's streams, factors, scores and shares (`streams`), the loudest are found as well, however much they
leave.

What is found gets int16, or 12 bits where `streams` says so, if the model with all other tensors in int8 gains a
decibel by it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any, ClassVar

import numpy as np
import onnx_graphsurgeon as gs
import onnxruntime as ort
from numpy.typing import NDArray

from bevel.calib.data.dataset import Runs
from bevel.calib.formats.format import INT8, IntFormat
from bevel.calib.observe.statistics import Statistics
from bevel.calib.scales.ranges import RangeMethod
from bevel.passes.base import Condition, Note, Pass, PassResult, Stage, Work
from bevel.passes.conditions import FLOAT, SAMPLED
from bevel.passes.exchange.export import export
from bevel.passes.graph.quantizers import is_dequantize, is_quantize
from bevel.passes.quantize.choose_scales import choose_scales
from bevel.passes.quantize.chosen import Chosen, NodeFormat, owner, owners
from bevel.passes.quantize.clamp_masks import behind_clips
from bevel.passes.quantize.insert_qdq import insert_qdq
from bevel.passes.quantize.part_results import part_results
from bevel.passes.quantize.plan import QuantizationPlan, make_plan
from bevel.passes.quantize.streams import find_streams, loudest, stream_format
from bevel.passes.quantize.wanted import Ask, ranges

LEAST = 20.0  # dB of a result that the rounding of one tensor alone must leave: an error of a tenth of it
GAIN = 1.0  # dB that int16 must bring the whole: a fifth of the error's power, for a byte an element
SAMPLES = 8
WORK = 4 * 10**9  # elements that all runs together may compute: some ten seconds
SWITCHES = "switches"
Array = NDArray[Any]


@dataclass(frozen=True)
class WidenActivations(Pass):
    """Of those that are int8 because nobody said otherwise. The graph stays as it is; `schemes` have int16 for more."""

    name: ClassVar[str] = "widen-activations"
    stage: ClassVar[Stage] = "assign"
    follows: ClassVar[tuple[str, ...]] = ("assign-schemes",)
    requires: ClassVar[tuple[Condition, ...]] = (FLOAT, SAMPLED)

    @property
    def asks(self) -> tuple[Ask, ...]:
        return (ranges,)

    def call(self, work: Work) -> PassResult:
        schemes = work.schemes
        found = widen_activations(work.graph, work.observations, schemes.method, schemes, work.samples, work.states)
        nodes = {**schemes.nodes, **found.nodes}
        return work.result(False, found.notes, schemes=replace(schemes, nodes=nodes))


@dataclass
class Widened:
    """nodes: int16, or 12 bits, for the nodes and inputs that make the tensors found."""

    nodes: dict[str, NodeFormat] = field(default_factory=dict)
    notes: list[Note] = field(default_factory=list)


def widen_activations(
    graph: gs.Graph,
    statistics: Mapping[str, Statistics],
    method: RangeMethod,
    chosen: Chosen,
    dataset: Runs,
    states: Mapping[str, str] | None = None,
) -> Widened:
    """Which tensors of the canonical float `graph` need int16; it stays as it is."""
    statistics = behind_clips(graph, statistics)
    copy, plan = planned(graph, statistics, method, states)
    groups = [group for group in plan.ties if may_widen(group, plan, chosen)]
    outputs = [tensor.name for tensor in graph.outputs if tensor.dtype == np.float32]
    if not groups or not outputs:
        return Widened()
    samples = list(islice(iter(dataset), sample_count(copy, len(groups))))
    streams, formats = find_streams(plan, groups), [stream_format(plan, group) for group in groups]
    insert_qdq(copy, undecided(plan, chosen), choose_scales(plan, statistics, method), ())
    probe = SwitchedModel(copy, groups, outputs, samples)
    everything = range(len(groups))
    alone = {one: probe.decibels([one]) for one in probe.lost(everything)}
    alone |= probe.loud([one for one in streams if one not in alone], [one for one in everything if one not in alone])
    if not alone:
        return Widened()
    found = widened(plan, groups, chosen, {one: (formats[one], left) for one, left in alone.items()})
    copy, plan = planned(graph, statistics, method, states)
    scales = choose_scales(plan, statistics, method, replace(chosen, nodes={**chosen.nodes, **found.nodes}))
    insert_qdq(copy, undecided(plan, chosen), scales, ())
    before, after = probe.decibels(everything), SwitchedModel(copy, groups, outputs, samples).decibels(everything)
    if after < before + GAIN:
        return Widened()
    whole = f"all tensors in int8 leave {before:.1f}, these in more bits {after:.1f}"
    numbers = {"all_int8_db": before, "with_int16_db": after}
    return replace(
        found,
        notes=[
            replace(note, text=f"{note.text}; {whole}", numbers={**note.numbers, **numbers}) for note in found.notes
        ],
    )


def planned(
    graph: gs.Graph,
    statistics: Mapping[str, Statistics],
    method: RangeMethod,
    states: Mapping[str, str] | None = None,
) -> tuple[gs.Graph, QuantizationPlan]:
    """A copy of `graph`, and what is to be quantized in it."""
    copy = gs.import_onnx(gs.export_onnx(graph))
    plan = make_plan(copy, states)
    part_results(copy, plan, statistics, method)
    return copy, plan


def may_widen(group: list[str], plan: QuantizationPlan, chosen: Chosen) -> bool:
    """Whether the tensors are int8 because nobody said otherwise, and all that touches them has int16 kernels."""
    fixed = plan.int8_only | plan.pixels
    return chosen.activations == INT8 and not is_asked(group, plan, chosen) and fixed.isdisjoint(group)


def is_asked(group: list[str], plan: QuantizationPlan, chosen: Chosen) -> bool:
    """Whether somebody asked for a format of one of the tensors."""
    names = (name for point in group for name in owners(point, plan))
    return any(chosen.nodes.get(name, NodeFormat()).activations for name in names)


def undecided(plan: QuantizationPlan, chosen: Chosen) -> QuantizationPlan:
    """The tensors whose format nobody asked for, and no products. Coarse steps of the others (`--product-inputs int4`)
    would turn what int8 of these loses into whole steps, and hide what more bits bring."""
    names = {point for group in plan.ties if not is_asked(group, plan, chosen) for point in group}
    return replace(plan, taken={}, points={name: one for name, one in plan.points.items() if name in names})


def sample_count(graph: gs.Graph, groups: int, most: int = SAMPLES, work: int = WORK) -> int:
    """How many samples there is time for if every group must be tried: no clock, so that choices repeat."""
    return int(max(1, min(most, work // (2 * groups * max(elements_of(graph), 1)))))


def elements_of(graph: gs.Graph) -> int:
    """Of all tensors that a run computes."""
    return sum(int(np.prod(one.shape)) for one in graph.tensors().values() if isinstance(one, gs.Variable))


def widened(
    plan: QuantizationPlan, groups: list[list[str]], chosen: Chosen, alone: Mapping[int, tuple[IntFormat, float]]
) -> Widened:
    """Formats of the groups in `alone`, with what int8 of each leaves."""
    found = Widened()
    for index, (format, left) in alone.items():
        for point in groups[index]:
            name = owner(point, plan)
            found.nodes[name] = replace(chosen.nodes.get(name, NodeFormat()), activations=format)
            text = f"{format.name}: int8 of it alone leaves {left:.1f} dB of the results"
            found.notes.append(Note(WidenActivations.name, name, "chosen", text, {"int8_alone_db": left}))
    return found


class SwitchedModel:
    """A model with quantizers of `groups` that are on or off, and what it makes of samples with all of them off."""

    def __init__(
        self, graph: gs.Graph, groups: list[list[str]], outputs: list[str], samples: Sequence[Mapping[str, Array]]
    ) -> None:
        put_switches(graph, groups)
        options = ort.SessionOptions()
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.log_severity_level = 4  # errors are raised, too
        model = export(graph.cleanup().toposort()).SerializeToString()
        self.session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        self.outputs, self.samples, self.count = outputs, samples, len(groups)
        self.wanted = [self.run(sample, ()) for sample in samples]

    def run(self, sample: Mapping[str, Array], on: Sequence[int]) -> list[Array]:
        switches = np.zeros(self.count, bool)
        switches[list(on)] = True
        found: list[Array] = self.session.run(self.outputs, {**sample, SWITCHES: switches})
        return found

    def decibels(self, on: Sequence[int]) -> float:
        """SQNR of the worst result with the quantizers of these groups on; minus infinity where one is not finite."""
        signal, noise = np.zeros(len(self.outputs)), np.zeros(len(self.outputs))
        for sample, wanted in zip(self.samples, self.wanted, strict=True):
            for place, (found, true) in enumerate(zip(self.run(sample, on), wanted, strict=True)):
                reals = true.astype(np.float64)
                with np.errstate(invalid="ignore", over="ignore"):  # what is not finite is lost, and says so below
                    signal[place] += (reals**2).sum()
                    noise[place] += ((found - reals) ** 2).sum()
        heard = signal > 0
        if not np.isfinite(noise[heard]).all():
            return -np.inf
        wrong = heard & (noise > 0)
        return float(10 * np.log10((signal[wrong] / noise[wrong]).min(initial=np.inf)))

    def loud(self, streams: Sequence[int], others: Sequence[int]) -> dict[int, float]:
        """Those of the streams that make most of the error, and what each leaves; `others`: all that may be heard."""
        alone = {one: self.decibels([one]) for one in streams}
        rest = noise(self.decibels([one for one in others if one not in alone])) if alone else 0.0
        return {one: alone[one] for one in loudest({one: noise(left) for one, left in alone.items()}, rest)}

    def lost(self, among: Sequence[int]) -> Iterator[int]:
        """The groups that alone leave less than `LEAST` of a result."""
        if not among or self.decibels(among) >= LEAST:
            return
        if len(among) == 1:
            yield among[0]
            return
        half = len(among) // 2
        yield from self.lost(among[:half])
        yield from self.lost(among[half:])


def noise(decibels: float) -> float:
    """Its power over that of the signal."""
    return float(10 ** (-decibels / 10))


def put_switches(graph: gs.Graph, groups: list[list[str]]) -> None:
    """Behind each quantizer a choice between what it makes and what it reads; without one where its group has none."""
    group_of = {point: index for index, group in enumerate(groups) for point in group}
    switches = gs.Variable(SWITCHES, np.bool_, [len(groups)])
    graph.inputs.append(switches)
    for node in [node for node in graph.nodes if is_dequantize(node)]:
        name, quantize = node.name.removesuffix("/dequantize"), node
        while quantize.inputs[0].inputs and not is_quantize(quantize):
            quantize = quantize.inputs[0].inputs[0]
        point = quantize.name.removesuffix("/quantize")
        if point not in group_of:
            continue
        target = node.outputs[0]
        rounded = gs.Variable(f"{name}/switched", np.float32, target.shape)
        on = gs.Variable(f"{name}/on", np.bool_, [])
        node.outputs = [rounded]
        index = gs.Constant(f"{name}/group", np.array(group_of[point], np.int64))
        graph.nodes.append(gs.Node("Gather", f"{name}/switch", {}, [switches, index], [on]))
        graph.nodes.append(gs.Node("Where", f"{name}/choose", {}, [on, rounded, quantize.inputs[0]], [target]))
