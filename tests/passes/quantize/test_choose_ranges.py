"""Ranges by what they leave of the results: what is fed computes what quantizers do, and the better range is found."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from bevel.calib.observe.base import Want
from bevel.calib.observe.mean import Mean
from bevel.calib.observe.observe import Wanted, observe
from bevel.calib.observe.statistics import RANGE
from bevel.calib.scales.ranges import Mse, ScaledRange
from bevel.passes.assign.assign_schemes import AssignSchemes
from bevel.passes.base import Work
from bevel.passes.canonicalize import canonicalize
from bevel.passes.exchange.export import export
from bevel.passes.quantize import QuantizeOptions, choose_ranges
from bevel.passes.quantize.choose_ranges import (
    LEAST,
    MANY,
    ChooseRanges,
    clearly_less,
    find_ranges,
    split,
    walk,
    with_ranges_of,
)
from bevel.passes.quantize.chosen import NodeFormat
from bevel.passes.quantize.insert_qdq import insert_qdq
from bevel.passes.quantize.plan_scales import PlanScales
from bevel.passes.quantize.range_probe import RangedGroup, open_probe

WEIGHTS = "float[8,8] w, float[8,3] v"
LINEAR = "a = MatMul (x, w)\n h = Relu (a)\n y = MatMul (h, v)"
BRANCH = "a = MatMul (x, w)\n h = Relu (a)\n b = MatMul (h, w)\n s = Add (h, b)\n y = MatMul (s, v)"
CLASSES = f"{LINEAR.replace('y =', 'z =')}\n y = Softmax (z)"


def runs_of(count: int = 4 * LEAST, seed: int = 0, outlier: float = 1.0) -> list[dict[str, Any]]:
    """outlier: by what the first channel of every eighth sample is multiplied."""
    rng, found = np.random.default_rng(seed), []
    for run in range(count):
        x = rng.standard_normal((6, 8)).astype(np.float32)
        x[:, 0] *= outlier if run % 8 == 0 else 1.0
        found.append({"x": x})
    return found


def work_of(text: Any, body: str, runs: list[dict[str, Any]], values: Any = None, **options: str) -> Work:
    graph, _ = canonicalize(text(body, "float[6,8] x", "float[] y", WEIGHTS, values), runs[:1])
    asked = AssignSchemes(**{"range": "auto", **options})  # type: ignore[arg-type]
    wanted = [asked.wants(graph), QuantizeOptions().wants(graph)]
    observed = observe(export(graph), runs, {name: (*a, *b) for name, a, b in both(*wanted)})
    return asked(Work(graph, data=runs, observations=observed)).work


def both(one: Wanted, other: Wanted) -> list[tuple[str, Any, Any]]:
    return [(name, one.get(name, ()), other.get(name, ())) for name in {**one, **other}]


@pytest.mark.parametrize("body", [LINEAR, BRANCH, CLASSES])
@pytest.mark.parametrize("activations", ["int8", "int4", "e2m1"])
def test_what_is_fed_computes_what_quantizers_do(text: Any, body: str, activations: str) -> None:
    """All activations quantized, against the QDQ graph with float weights in onnxruntime."""
    runs = runs_of(8)
    work = work_of(text, body, runs, activations=activations)
    found = find_ranges(work, work.observations)
    probe = open_probe(work.graph, found.groups, runs)
    assert probe is not None
    places = range(len(found.groups))
    errors = probe.errors(probe.behind(places), dict(zip(places, found.quants, strict=True)))

    graph = work.graph.copy()
    planned = PlanScales()(replace(work, graph=graph)).work.plan
    everywhere = {name for group in found.groups for name in group.points}
    points = {name: one for name, one in planned.plan.points.items() if name in everywhere}
    insert_qdq(graph, replace(planned.plan, taken={}, points=points), planned.scales, ())
    exact, rounded = (opened(export(one), list(probe.powers)) for one in (work.graph, graph))
    for run, sample in enumerate(runs):
        wanted, made = (one.run(None, sample) for one in (exact, rounded))
        error = sum(
            float(np.square(a.astype(np.float64) - b).sum()) / probe.powers[name]
            for name, a, b in zip(probe.powers, wanted, made, strict=True)
        )
        assert errors[run] == pytest.approx(error, rel=1e-3)  # float32 sums in another order tip a rounding or two


def opened(model: onnx.ModelProto, names: list[str]) -> ort.InferenceSession:
    """With outputs `names`, behind their quantizers where they have some."""
    known = {name for node in model.graph.node for name in node.output}
    del model.graph.output[:]
    for name in names:
        behind = f"{name}/dequantized"
        model.graph.output.append(onnx.ValueInfoProto(name=behind if behind in known else name))
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    return ort.InferenceSession(model.SerializeToString(), options, ["CPUExecutionProvider"])


def test_a_tensor_alone_runs_what_lies_behind_it(text: Any) -> None:
    work = work_of(text, BRANCH, runs_of(8))
    probe = open_probe(work.graph, [RangedGroup(("s",)), RangedGroup(("x",))], runs_of(8))
    assert probe is not None
    assert probe.behind([0]).given == ("s",) and probe.behind([1]).given == ("x",)
    assert set(probe.kept[0]) == {"s", "x", "y"}


def test_scores_count_beside_the_shares_that_are_made_of_them(text: Any) -> None:
    work = work_of(text, CLASSES, runs_of(8))
    probe = open_probe(work.graph, [RangedGroup(("x",))], runs_of(8))
    assert probe is not None and set(probe.powers) == {"y", "z"}


@pytest.mark.parametrize("many", [1, MANY])
def test_channels_that_nothing_hears_are_clipped_where_many_values_were_seen(
    text: Any, many: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rare loud values that the first weights ignore: least squared error keeps them, at the price of all others."""
    monkeypatch.setattr(choose_ranges, "MANY", many)
    rng = np.random.default_rng(1)
    w = rng.standard_normal((8, 8)).astype(np.float32)
    w[0] = 0
    values = {"w": w, "v": rng.standard_normal((8, 3)).astype(np.float32)}
    work = work_of(text, LINEAR, runs_of(outlier=6.0), values, activations="int4", input_format="int4")
    done = ChooseRanges()(work).work
    if many == MANY:
        assert all(one.range in (None, Mse()) for one in done.schemes.nodes.values())
        return
    method = done.schemes.nodes["x"].range
    assert isinstance(method, ScaledRange | Mse) and method != Mse()
    plain, chosen = (PlanScales()(one).work.plan.scales.quants["x"] for one in (work, done))
    assert float(chosen.scale) < 0.8 * float(plain.scale)
    note = next(one for one in done.notes if one.pass_ == "choose-ranges" and one.kind == "chosen")
    assert note.numbers["after_db"] > note.numbers["before_db"] + 1


def test_a_method_that_was_asked_for_is_kept(text: Any) -> None:
    work = work_of(text, LINEAR, runs_of(outlier=6.0), range="minmax")
    assert ChooseRanges()(work).work.schemes == work.schemes


def test_only_ranges_are_those_of_some_samples(text: Any) -> None:
    """What else was observed stays: states of recurrences, means for biases."""
    runs = runs_of(8)
    graph, _ = canonicalize(text(LINEAR, "float[6,8] x", "float[] y", WEIGHTS), runs[:1])
    mean = Want(Mean, (-1,))
    observed = observe(export(graph), runs, {"x": (RANGE, mean), "h": (mean,)})
    found = with_ranges_of(Work(graph, data=runs, observations=observed), runs[:2])
    assert found["x"].seen[mean] == observed["x"].seen[mean] and found["h"] == observed["h"]
    assert found["x"].count == 2 * 6 * 8 and observed["x"].count == 8 * 6 * 8


def test_few_samples_are_no_evidence(text: Any) -> None:
    done = ChooseRanges()(work_of(text, LINEAR, runs_of(4 * LEAST - 1))).work
    (note,) = (one for one in done.notes if one.pass_ == "choose-ranges")
    assert note.kind == "stays" and "not enough" in note.text and not done.schemes.nodes


def test_what_an_operator_fixes_is_not_searched(text: Any) -> None:
    work = work_of(text, CLASSES, runs_of(8))
    points = {name for group in find_ranges(work, work.observations).groups for name in group.points}
    assert "y" not in points and {"x", "h", "z"} <= points


def test_scales_of_uneven_steps_are_searched_too(text: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks are not: they have scales as they are computed."""
    monkeypatch.setattr(choose_ranges, "MANY", 1)
    minifloats, blocks = (
        {name for group in find_ranges(work, work.observations).groups for name in group.points}
        for work in (work_of(text, LINEAR, runs_of(8), activations=one) for one in ("e2m1", "mxfp4"))
    )
    assert minifloats == {"x", "h", "y"} and blocks == {"x", "y"}
    half = NodeFormat(range=ScaledRange(Mse(), 0.5))
    work = work_of(text, LINEAR, runs_of(8), activations="e2m1")
    schemes = replace(work.schemes, nodes={**work.schemes.nodes, "h": half})
    before, after = (PlanScales()(replace(work, schemes=one)).work.plan.scales for one in (work.schemes, schemes))
    assert float(after.quants["h"].scale) == pytest.approx(0.5 * float(before.quants["h"].scale), rel=1e-6)


def test_a_range_of_a_node_is_that_of_its_result_alone(text: Any) -> None:
    work = work_of(text, LINEAR, runs_of(8))
    half = replace(work.schemes, nodes={"x": NodeFormat(range=ScaledRange(Mse(), 0.5))})
    before, after = (PlanScales()(replace(work, schemes=one)).work.plan.scales for one in (work.schemes, half))
    assert float(after.quants["x"].scale) == pytest.approx(0.5 * float(before.quants["x"].scale), rel=1e-6)
    assert after.quants["h"] == before.quants["h"]


@pytest.mark.parametrize(("best", "most", "found"), [(0, 4, 0), (2, 4, 2), (-3, 4, -3), (9, 4, 4), (-9, 3, -3)])
def test_a_walk_ends_where_it_gets_no_better(best: int, most: int, found: int) -> None:
    asked: list[int] = []

    def errors(count: int) -> np.ndarray:
        asked.append(count)
        return np.full(8, (count - best) ** 2 + 1.0)

    assert walk(errors, errors(0), most)[0] == found
    assert len(asked) <= abs(found) + 3
    assert walk(errors, errors(0), most, down=False)[0] == max(found, 0)


def test_what_is_better_by_chance_is_not_followed() -> None:
    before = np.zeros(16)
    assert not clearly_less(np.array([1.0, -1.1] * 8), before)
    assert clearly_less(np.array([-0.9, -1.1] * 8), before) and not clearly_less(before, before)


@pytest.mark.filterwarnings("error")
def test_errors_without_end_are_those_of_fewer_samples() -> None:
    finite, once, twice = np.ones(4), np.array([np.inf, 0, 0, 0]), np.array([np.inf, 0, 0, np.inf])
    assert clearly_less(finite, once) and clearly_less(once, twice)
    assert not clearly_less(once, finite) and not clearly_less(once, once)


def test_samples_that_judge_are_others_than_those_that_ranges_are_of() -> None:
    seen, held = split([{"x": np.array(run)} for run in range(40)], 8)
    mine, others = ({int(one["x"]) for one in runs} for runs in (seen, held))
    assert others == {2, 7, 12, 17, 22, 27, 32, 37} and mine == set(range(40)) - others
