"""What a run quantized serves those that ask for the same, and no others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import bevel
from bevel.backends import target as targets
from bevel.backends.process import cache
from bevel.calib.data.dataset import open_dataset
from bevel.calib.observe.observe import model_inputs
from bevel.passes.base import CHECKS, Work
from bevel.passes.canonicalize import canonicalize
from bevel.passes.exchange.load import fix_batch
from bevel.passes.graph.stored import NotStored
from bevel.tools.report import report
from bevel.tools.run import earlier, manifest
from bevel.tools.run.earlier import Earlier, samples, written

OWN = {report.NAME, manifest.NAME}  # hold seconds


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv(CHECKS)
    monkeypatch.setattr(earlier, "folder", lambda: tmp_path / "entries")
    return tmp_path / "entries"


def made(
    place: Path, model: onnx.ModelProto, given: dict[str, Any], **options: Any
) -> tuple[set[str], dict[str, bytes]]:
    """The stages of a run, and its files."""
    told = bevel.optimize(model, target="cortex-m7", calib=given, eval=given, output=place, **options)
    files = {str(path.relative_to(place)): path.read_bytes() for path in place.rglob("*") if path.is_file()}
    kept = {name: one for name, one in files.items() if name not in OWN}
    return {one.name for one in told.stages}, kept, replace(told, stages=())


def test_second_run_makes_the_same_product_without_quantizing(
    tmp_path: Path, make_model: Callable[[], Any], make_samples: Callable[[], Any]
) -> None:
    first, one, told = made(tmp_path / "one", make_model(), make_samples())
    second, two, _ = made(tmp_path / "two", make_model(), make_samples(), eval_samples=1, vectors=2)
    assert "quantize" in first and "quantize" not in second
    same = {"quantized.onnx", "integer.onnx"}
    assert {name: one[name] for name in same} == {name: two[name] for name in same}
    third, three, again = made(tmp_path / "three", make_model(), make_samples())
    assert "quantize" not in third and three == one and again == told


def test_other_samples_and_other_options_are_quantized_anew(
    tmp_path: Path, make_model: Callable[[], Any], make_samples: Callable[[], Any], folder: Path
) -> None:
    made(tmp_path / "one", make_model(), make_samples())
    other = {name: one * 2 if one.dtype.kind == "f" else one for name, one in make_samples().items()}
    for count, (given, options) in enumerate(((other, {}), (make_samples(), {"rounding": "kernel-wise"})), 2):
        assert "quantize" in made(tmp_path / str(count), make_model(), given, **options)[0]
        assert len(list(folder.iterdir())) == count


def work(model: onnx.ModelProto, given: dict[str, Any], target: str = "cortex-m7") -> Work:
    model = fix_batch(model, 1, {})
    inputs = model_inputs(model)
    data = open_dataset({name: given[name] for name in inputs}, inputs)
    graph, _ = canonicalize(model, [])
    return Work(graph, targets.load(target), data)


def test_place_depends_on_the_weights_the_target_and_what_else_decides(
    make_model: Callable[[], Any], make_samples: Callable[[], Any]
) -> None:
    model, given = make_model(), make_samples()
    changed = make_model()
    weights = next(one for one in changed.graph.initializer if len(one.dims) > 1)
    weights.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(weights) + 1, weights.name))
    places = [
        Earlier.of(work(model, given), "auto"),
        Earlier.of(work(model, given), "none"),
        Earlier.of(work(model, given, "cortex-m4"), "auto"),
        Earlier.of(work(changed, given), "auto"),
    ]
    assert len({one.path for one in places}) == len(places)
    assert Earlier.of(work(make_model(), make_samples()), "auto").path == places[0].path


def test_nothing_is_kept_where_passes_are_checked_or_samples_are_many(
    make_model: Callable[[], Any], make_samples: Callable[[], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    given = work(make_model(), make_samples())
    assert Earlier.of(given, "auto").path is not None
    monkeypatch.setattr(earlier, "LIMIT", 8)
    assert Earlier.of(given, "auto").path is None
    with pytest.raises(NotStored, match="8 bytes"):
        list(samples(given.samples))  # type: ignore[arg-type]
    monkeypatch.undo()
    monkeypatch.setenv(CHECKS, "1")
    assert Earlier.of(given, "auto").path is None


def test_nothing_is_kept_of_a_large_model(
    make_model: Callable[[], Any], make_samples: Callable[[], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    given = work(make_model(), make_samples())
    assert Earlier.of(given, "auto").path is not None
    monkeypatch.setattr(earlier, "ENTRY", 100)
    assert Earlier.of(given, "auto").path is None


def test_damaged_and_foreign_entries_are_none(tmp_path: Path) -> None:
    place = Earlier(tmp_path / "entry")
    place.keep({"a": np.arange(3)})
    assert list(place.read()) == ["a"]
    content = (tmp_path / "entry").read_bytes()
    (tmp_path / "entry").write_bytes(content[:-1] + b"!")
    assert place.read() is None
    cache.write(tmp_path / "entry", b"whole, and no pickle")
    assert place.read() is None


def test_sets_are_written_in_one_order_and_unknown_things_not_at_all() -> None:
    assert list(written(frozenset("abcdefgh"))) == list(written(frozenset("hgfedcba")))
    assert list(written(({"a": 1}, "b"))) != list(written(({"a": 1, "b": 0},)))
    for unknown in (object(), lambda: 1, Path("file")):
        with pytest.raises(NotStored):
            list(written(unknown))
    assert list(written(written)) == ["bevel.tools.run.earlier.written"]
