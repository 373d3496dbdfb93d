"""The search: what it promises about measured products, and whole runs of `optimize` with budgets."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest

from bevel.backends.binary.toolchain import for_target
from bevel.backends.program.resources import NOTHING, Resource, Resources
from bevel.backends.target import load
from bevel.calib.errors import UserError
from bevel.passes.assign.output_noise import OutputNoise
from bevel.passes.assign.problem import Assignment, Costs, FormatSite, Problem
from bevel.tools.assign import costs as assign_costs
from bevel.tools.assign.accuracy import cheapest, missed
from bevel.tools.assign.costs import Figures, Places
from bevel.tools.assign.measure import build_all
from bevel.tools.assign.score import Reference, Score, score
from bevel.tools.assign.search import Everywhere, Search, samples_of, spread
from bevel.tools.assign.within import within
from bevel.tools.command.optimize import main
from bevel.tools.report import report
from bevel.tools.run.budgets import Budgets

FORMATS = ("int8", "int4")
BYTES = np.array([[100.0, 50.0], [200.0, 100.0], [400.0, 200.0]])
LOSSES = np.array([[0.01, 0.5], [0.01, 1.0], [0.01, 4.0]])


@dataclass
class World:
    """Products whose flash is what the costs say, and `beside` more as soon as formats are mixed."""

    beside: int = 0
    built_: list[Assignment] = field(default_factory=list)
    name: str = "net"
    options: Any = field(default_factory=lambda: SimpleNamespace(solver="milp"))

    def built(self, formats: Any, measure: bool) -> Any:
        assignment = tuple(FORMATS.index(name) for name in formats.values())
        self.built_.append(assignment)
        return SimpleNamespace(
            artifact=SimpleNamespace(takes=flash_only(flash_of(assignment, self.beside))), measurement=None
        )

    def quantized(self, formats: Any) -> Assignment:
        return tuple(FORMATS.index(name) for name in formats.values())


def flash_only(amount: float) -> Resources:
    return Resources({Resource.FLASH: amount})


def flash_of(assignment: Assignment, beside: int) -> int:
    mixed = beside if len(set(assignment)) > 1 else 0
    return int(BYTES[np.arange(3), assignment].sum()) + mixed


def sqnr_of(assignment: Assignment) -> Score:
    return Score(-10 * float(np.log10(LOSSES[np.arange(3), assignment].sum())))


def search_in(world: World) -> Search:
    problem = Problem(
        (FormatSite("a"), FormatSite("b"), FormatSite("c")),
        FORMATS,
        LOSSES,
        Costs({Resource.FLASH: BYTES}),
        np.ones((3, 2), np.bool_),
    )
    noise = OutputNoise(1.0, np.diag(LOSSES.ravel()), 2, 8)
    uniforms = [Everywhere((f,) * 3, Figures(flash_only(flash_of((f,) * 3, 0)), (), ())) for f in range(2)]
    samples, formats = SimpleNamespace(score=sqnr_of), {name: name for name in FORMATS}
    places = Places({}, {}, {})
    return Search(world, problem, formats, places, (0,) * 3, noise, noise.products, tuple(uniforms), samples)  # type: ignore[arg-type]


def ignore(done: int, total: int) -> None:
    assert 0 < done <= total


@pytest.mark.parametrize("flash", [350, 400, 450, 500, 550, 600, 650, 700])
def test_the_answer_is_the_most_accurate_of_all_products_that_fit(flash: int) -> None:
    world = World()
    found = within(search_in(world), Budgets(flash_only(flash)), flash_only(flash))
    every = [(i, j, k) for i in range(2) for j in range(2) for k in range(2)]
    fitting = [one for one in every if flash_of(one, 0) <= flash]
    assert sqnr_of(found).sqnr_db == max(sqnr_of(one).sqnr_db for one in fitting)


@pytest.mark.parametrize("flash", [430, 530, 600, 640])
def test_a_product_that_came_out_larger_than_predicted_is_asked_for_again(flash: int) -> None:
    world = World(beside=60)
    found = within(search_in(world), Budgets(flash_only(flash)), flash_only(flash))
    assert flash_of(found, 60) <= flash
    assert sqnr_of(found).sqnr_db >= sqnr_of((1, 1, 1)).sqnr_db


def test_where_mixing_costs_more_than_it_saves_one_format_everywhere_is_the_answer() -> None:
    found = within(search_in(World(beside=10_000)), Budgets(flash_only(600)), flash_only(600))
    assert found == (1, 1, 1)


def test_a_budget_below_the_smallest_is_refused_with_that() -> None:
    with pytest.raises(
        UserError, match=r"keep 300 bytes of flash; the nearest: 350 bytes of flash at .* dB \(int4 everywhere\)"
    ):
        within(search_in(World()), Budgets(flash_only(300)), flash_only(300))


@dataclass(frozen=True)
class Judged:
    """Right answers fall with the loss."""

    budgets: Budgets

    def score(self, assignment: Assignment) -> Score:
        right = 100 - round(LOSSES[np.arange(3), assignment].sum())
        return Score(sqnr_of(assignment).sqnr_db, 100, 100, right, 100 - right, 0)

    def passes(self, assignment: Assignment) -> bool:
        return not missed(self.budgets, self.score(assignment))


@pytest.mark.parametrize(
    ("drop", "expected"), [(0.01, (1, 0, 0)), (0.02, (1, 1, 0)), (0.06, (1, 1, 1)), (0.0, (1, 0, 0))]
)
def test_of_those_accurate_enough_the_smallest_is_taken(drop: float, expected: Assignment) -> None:
    found = cheapest(search_in(World()), Judged(Budgets(drop=drop)), NOTHING, ignore)  # type: ignore[arg-type]
    smallest = min(
        (flash_of(one, 0), one)
        for one in [(i, j, k) for i in range(2) for j in range(2) for k in range(2)]
        if Judged(Budgets(drop=drop)).passes(one)
    )
    assert flash_of(found, 0) == smallest[0]


def test_accuracy_that_the_finest_format_does_not_reach_is_refused_with_what_it_has() -> None:
    with pytest.raises(UserError, match=r"--min-sqnr 40: 15.23 dB with int8 everywhere"):
        cheapest(search_in(World()), Judged(Budgets(sqnr=40.0)), NOTHING, ignore)  # type: ignore[arg-type]


def test_a_drop_counts_lost_and_gained_answers_on_the_same_samples() -> None:
    exact = [{"y": np.array([[0.9, 0.1]])}, {"y": np.array([[0.4, 0.6]])}, {"y": np.array([[0.8, 0.2]])}]
    found = [{"y": np.array([[0.1, 0.9]])}, {"y": np.array([[0.4, 0.6]])}, {"y": np.array([[0.3, 0.7]])}]
    one = score(Reference((), tuple(exact), {}, np.array([0, 1, 1]), "y"), found)
    assert (one.right_float, one.right, one.lost, one.gained, one.drop) == (2, 2, 1, 1, 0.0)


def test_samples_are_spread_over_data_that_lie_in_order() -> None:
    assert spread(range(100), 4) == {0, 25, 50, 75} and spread(range(3), 64) == {0, 1, 2}


@pytest.mark.parametrize(
    ("runs", "outputs", "first", "second"),
    [(400, 2, 128, 128), (200, 10, 102, 98), (100, 640, 32, 68), (40, 10, 40, 40)],
)
def test_assignments_are_compared_on_other_samples_where_there_are_enough(
    runs: int, outputs: int, first: int, second: int
) -> None:
    probed, held_out = samples_of(range(runs), outputs)  # type: ignore[arg-type]
    assert (len(probed), len(held_out)) == (first, second)
    assert set(probed).isdisjoint(held_out) or probed == held_out


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """What is known of costs is known from this module alone."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("cache")
        patch.setattr(assign_costs, "cache_folder", lambda: folder)
        yield folder


@pytest.fixture(scope="module")
def folder(
    tmp_path_factory: pytest.TempPathFactory,
    make_model: Callable[[], onnx.ModelProto],
    make_samples: Callable[[], dict[str, np.ndarray]],
) -> Path:
    place = tmp_path_factory.mktemp("mine")
    onnx.save(make_model(), place / "model.onnx")
    np.savez(place / "calib.npz", allow_pickle=False, **make_samples())
    return place


def command(folder: Path, output: Path, *options: str) -> list[str]:
    data = str(folder / "calib.npz")
    required = [str(folder / "model.onnx"), "--target", "cortex-m7", "--calib", data, "--eval", data]
    return [*required, "-o", str(output), "--vectors", "2", *options]


def told(output: Path) -> Any:
    return json.loads((output / "report.json").read_text())


def test_a_run_keeps_its_budgets_and_says_why(
    folder: Path, cache: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    options = ("--max-flash", "64k", "--max-latency", "1Mi", "--min-sqnr", "5", "--formats", "int8,int4")
    assert main(command(folder, tmp_path / "out", *options)) == 0
    found = told(tmp_path / "out")
    chosen = found["assignment"]
    assert {(one["node"], one["part"]) for one in chosen["nodes"]} == {("summed", "weights"), ("scores", "weights")}
    assert all(one["reason"].startswith(f"{one['part']} in {one['format']}: ") for one in chosen["nodes"])
    assert [one["formats"] for one in chosen["uniform"]] == ["int8 everywhere", "int4 everywhere"]
    assert [one["option"] for one in chosen["budgets"]] == ["--max-flash", "--max-latency", "--min-sqnr"]
    assert chosen["sqnr_db"] >= max(one["sqnr_db"] for one in chosen["uniform"])
    assert found["measurement"]["mismatches"] == 0
    notes = {node["name"]: node["notes"] for node in found["nodes"]}
    assert all(any(note["text"] == one["reason"] for note in notes[one["node"]]) for one in chosen["nodes"])
    assert "int4 everywhere" in capfd.readouterr().out
    again = report.read(tmp_path / "out")
    assert again.assignment is not None and json.loads(report.text(again)) == found
    assert list(cache.glob("costs/*.json"))


@pytest.mark.parametrize("metric", ["kl", "hessian-trace"])
def test_the_smallest_that_keeps_an_accuracy_by_any_metric(folder: Path, tmp_path: Path, metric: str) -> None:
    options = ("--min-sqnr", "15", "--formats", "int8,int4", "--sensitivity", metric, "--device", "none")
    assert main(command(folder, tmp_path / "out", *options)) == 0
    found = told(tmp_path / "out")
    assert found["accuracy"]["sqnr_db"] >= 15 and found["assignment"]["sensitivity"] == metric


def test_what_a_file_fixes_stays_and_the_rest_is_chosen(folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "formats.toml"
    file.write_text('[[node]]\nmatch = "sum*"\nweights = "int3"\nactivations = "int6"\n')
    options = ("--format-file", str(file), "--max-flash", "64k", "--formats", "int8,int4", "--device", "none")
    assert main(command(folder, tmp_path / "out", *options)) == 0
    found = told(tmp_path / "out")
    formats = {node["name"]: node["format"] for node in found["nodes"]}
    assert formats["summed"] == "int3 weights, int6"
    assert [one["node"] for one in found["assignment"]["nodes"] if one["part"] == "weights"] == ["scores"]
    assert not [one for one in found["assignment"]["nodes"] if one["node"] == "summed"]


def test_a_format_that_cannot_be_built_is_left_out_and_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def uniform(maker: Any, formats: str, measure: bool) -> str:
        if formats == "wide":
            raise UserError("needs 9 bytes of RAM")
        return formats

    monkeypatch.setattr(assign_costs, "uniform", uniform)
    wide, narrow = ("e4m3", "int8"), ("int4", "int8")
    built, left_out = build_all(None, {wide: "wide", narrow: "narrow"}, False, ignore)  # type: ignore[arg-type,dict-item]
    assert list(built) == [narrow] and left_out == {wide: "needs 9 bytes of RAM"}
    with pytest.raises(UserError, match="9 bytes"):
        build_all(None, {wide: "wide"}, False, ignore)  # type: ignore[arg-type,dict-item]


MODELS = Path(__file__).parents[3] / "models"
# Flash of a part that the perceptron does not fit in int8, and a budget that int4 keeps: zig's code is larger.
TIGHT = {"gcc": (24, 22), "zig": (31, 28)}


@pytest.fixture(scope="module")
def tight(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The report of a perceptron for a part that its int8 product does not fit."""
    out = tmp_path_factory.mktemp("tight") / "out"
    data = [item for kind in ("calib", "eval") for item in (f"--{kind}", str(MODELS / f"digits_{kind}.npz"))]
    part, budget = TIGHT[for_target(load("cortex-m7")).kind]
    options = ["--flash", f"{part}k", "--max-flash", f"{budget}k", "--max-drop", "9", "--formats", "int8,int4"]
    command = [str(MODELS / "mlp.onnx"), "--target", "cortex-m7", *data, "--eval-samples", "100"]
    assert main([*command, *options, "--vectors", "2", "-o", str(out)]) == 0
    return told(out) | {"part": part * 1024, "budget": budget * 1024}


@pytest.mark.long
def test_a_model_too_large_for_its_part_is_made_to_fit(tight: Any) -> None:
    assert tight["size"]["flash_bytes"] <= tight["budget"]
    assert tight["assignment"]["uniform"][0]["flash_bytes"] > tight["part"]
    assert tight["measurement"]["mismatches"] == 0
    told = tight["accuracy"]
    answers = told["answers"]
    assert answers["labelled"] == 100
    assert answers["lost"] - answers["gained"] == round(100 * (told["float"] - told["integer"])) <= 9


def test_the_answer_beats_every_format_that_is_everywhere_and_fits(tight: Any) -> None:
    chosen = tight["assignment"]
    fitting = [one["sqnr_db"] for one in chosen["uniform"] if one["flash_bytes"] <= tight["budget"]]
    assert fitting and chosen["sqnr_db"] >= max(fitting)
    weights = [one for one in chosen["nodes"] if one["part"] == "weights"]
    assert len({one["format"] for one in weights}) > 1
    saved = {one["format"] for one in weights if "saves" in one["reason"]}
    assert saved and "int8" not in saved


def test_a_file_alone_needs_no_budget(folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "formats.toml"
    file.write_text('[[node]]\nmatch = "sco*"\nweights = "int4"\n')
    assert main(command(folder, tmp_path / "out", "--format-file", str(file), "--device", "none")) == 0
    found = told(tmp_path / "out")
    assert {node["name"]: node["format"] for node in found["nodes"]}["scores"] == "int4 weights, int8"
    assert found["assignment"] is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--max-flash", "1k"), "the nearest: "),
        (("--max-latency", "1us"), "the nearest: "),
        (("--min-sqnr", "90"), "--min-sqnr 90: "),
        (("--max-flash", "64k", "--weights", "int4"), "budgets choose from --formats"),
        (("--formats", "int4"), "give it a budget"),
        (("--max-flash", "64k", "--formats", "int5x"), "int5x"),
        (("--max-latency", "1Mi", "--device", "none"), "--max-latency is measured"),
        (("--max-latency", "1Mi", "--target", "host"), "measures seconds"),
    ],
)
def test_what_cannot_be_kept_is_refused_in_one_line(
    folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], options: tuple[str, ...], message: str
) -> None:
    assert main(command(folder, tmp_path / "out", "--formats", "int8,int4", *options)) == 2
    error = capfd.readouterr().err
    assert message in error and error.startswith("error: ") and error.count("\n") == 1
    assert not (tmp_path / "out").exists()
