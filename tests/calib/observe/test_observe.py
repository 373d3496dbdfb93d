"""One pass over a small model: which tensors are seen, what is remembered, and what is refused."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from bevel.calib.data.dataset import Dataset, InputType, Subset, open_dataset, random_dataset
from bevel.calib.errors import UserError
from bevel.calib.observe import observe as observing
from bevel.calib.observe.base import Want
from bevel.calib.observe.inputs import Inputs
from bevel.calib.observe.mean import Mean
from bevel.calib.observe.observe import Observed, always_zero, model_inputs, observable, observe
from bevel.calib.observe.statistics import RANGE, Statistics

HEADER = '<ir_version: 10, opset_import: ["" : 21]>\n'


def model(
    body: str, inputs: str = "float[1,2,4] x", outputs: str = "float[1,2,4] y", weights: str = ""
) -> onnx.ModelProto:
    return onnx.parser.parse_model(f"{HEADER}g ({inputs}) => ({outputs}) <{weights}> {{\n{body}\n}}")


RELU = model("half = Constant <value = float {0.5}> ()\n h = Mul(x, half)\n y = Relu(h)")


def data(folder: Path, x: np.ndarray, subject: onnx.ModelProto = RELU) -> Dataset:
    np.save(folder / "d.npy", x)
    return open_dataset(folder / "d.npy", model_inputs(subject))


def samples(count: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((count, 2, 4)).astype(np.float32)


def ranges(subject: onnx.ModelProto) -> dict[str, list[Want]]:
    return {name: [RANGE] for name in observable(subject)}


def test_inputs_and_computed_float_tensors_are_observed_in_graph_order(tmp_path: Path) -> None:
    x = samples(6)
    found = observe(RELU, data(tmp_path, x), ranges(RELU))
    assert list(found) == ["x", "h", "y"]
    for name, expected in (("x", x), ("h", x / 2), ("y", np.maximum(x / 2, 0))):
        assert found[name] == Statistics.of(expected)


def test_the_result_does_not_depend_on_the_batch(tmp_path: Path) -> None:
    batched = onnx.ModelProto()
    batched.CopyFrom(RELU)
    for value in (batched.graph.input[0], batched.graph.output[0]):
        value.type.tensor_type.shape.dim[0].dim_value = 3
    x = samples(6)
    assert observe(batched, data(tmp_path, x, batched), ranges(RELU)) == observe(RELU, data(tmp_path, x), ranges(RELU))


def test_only_the_tensors_asked_for_are_observed(tmp_path: Path) -> None:
    assert list(observe(RELU, data(tmp_path, samples(2)), {"h": [RANGE]})) == ["h"]
    assert list(observe(RELU, data(tmp_path, samples(2)), {"x": [RANGE]})) == ["x"]


def test_a_name_that_the_model_has_not_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="'nothing'"):
        observe(RELU, data(tmp_path, samples(1)), {"nothing": [RANGE]})


def test_runs_that_are_known_are_not_walked_again(tmp_path: Path) -> None:
    runs, wanted = data(tmp_path, samples(40)), ranges(RELU)
    some, walked = Subset(runs, (0, 3, 4, 39)), list[tuple[int, int]]()
    known = Observed(some, observe(RELU, some, wanted))
    found = observe(RELU, runs, wanted, lambda *done: walked.append(done), known=known)
    assert found == observe(RELU, runs, wanted) and walked[-1] == (36, 36)
    every = Subset(runs, tuple(range(40)))
    assert observe(RELU, runs, wanted, known=Observed(every, found)) == found
    more = {name: [*wants, Want(Mean, (1,))] for name, wants in wanted.items()}
    assert observe(RELU, runs, more, known=known) == observe(RELU, runs, more)


def test_a_sample_is_named_by_its_number_among_all(tmp_path: Path) -> None:
    x = samples(60)
    x[[41, 47], 0, 0] = np.inf
    with pytest.raises(UserError, match=r"tensor 'x' \(graph input\) holds inf in sample 47"):
        observe(RELU, Subset(Held(x), (3, 4, 7, 30, 47, 50)), ranges(RELU))
    with pytest.raises(UserError, match="in sample 41"):
        observe(RELU, Held(x), ranges(RELU))


class Held(list[dict[str, np.ndarray]]):
    """Runs whose samples nobody has checked."""

    def __init__(self, x: np.ndarray) -> None:
        super().__init__({"x": one[np.newaxis]} for one in x)


def test_the_model_is_left_as_it_was(tmp_path: Path) -> None:
    before = RELU.SerializeToString()
    observe(RELU, data(tmp_path, samples(1)), ranges(RELU))
    assert RELU.SerializeToString() == before


def test_progress_is_told_after_each_run(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    observe(RELU, data(tmp_path, samples(3)), ranges(RELU), progress=lambda done, total: seen.append((done, total)))
    assert seen == [(1, 3), (2, 3), (3, 3)]


def test_integer_tensors_are_left_out(tmp_path: Path) -> None:
    subject = model("shape = Shape(x)\n y = Reshape(x, shape)")
    assert list(observe(subject, data(tmp_path, samples(1), subject), ranges(subject))) == ["x", "y"]


def test_a_tensor_that_becomes_infinite_is_named_with_its_node_and_sample(tmp_path: Path) -> None:
    subject = model("[scale] h = Exp(x)\n y = Relu(h)")
    x = samples(4)
    x[2, 0, 0] = 1000
    with pytest.raises(UserError, match=r"tensor 'h' \(Exp node 'scale'\) holds inf in sample 2"):
        observe(subject, data(tmp_path, x, subject), {"y": [RANGE]})


def test_a_number_that_float32_does_not_hold_is_infinite_and_named(tmp_path: Path) -> None:
    subject = model("d = Cast <to = 11> (x)\n e = Exp (d)\n y = Cast <to = 1> (d)")
    x = np.full((1, 2, 4), 100, np.float32)  # e**100 is 2.7e43
    with pytest.raises(UserError, match=r"tensor 'e' \(Exp node\) holds inf in sample 0"):
        observe(subject, data(tmp_path, x, subject), {"e": [RANGE]})


def test_a_sample_that_the_model_cannot_run_is_named(tmp_path: Path) -> None:
    subject = model("y = Gather(table, x)", "int64[1,1] x", "float[1,1,2] y", "float[2,2] table = {1, 2, 3, 4}")
    np.save(tmp_path / "d.npy", np.array([[1], [7]]))
    with pytest.raises(UserError, match=r"cannot run sample 1: .*Gather"):
        observe(subject, open_dataset(tmp_path / "d.npy", model_inputs(subject)), ranges(subject))


def test_tensors_that_are_always_zero_are_reported(tmp_path: Path) -> None:
    x = -np.abs(samples(2))
    report = always_zero(observe(RELU, data(tmp_path, x), ranges(RELU)))
    assert list(report) == ["y"] and "all 16 elements" in report["y"]


def test_readers_that_mean_different_axes_each_have_their_means(tmp_path: Path) -> None:
    both = model(
        "y = MatMul(x, w)\n z = Relu(x)",
        weights="float[4,2] w = {1,2,3,4,5,6,7,8}",
        outputs="float[1,2,2] y, float[1,2,4] z",
    )
    x = samples(5)
    found = observe(both, data(tmp_path, x, both), {"x": [Want(Mean, (-1,)), Want(Mean, (1,))]})["x"]
    # float64 sums of ten float32 values
    np.testing.assert_allclose(found.channel_mean(-1), x.mean((0, 1), dtype=np.float64), atol=1e-14)
    np.testing.assert_allclose(found.channel_mean(1), x.mean((0, 2), dtype=np.float64), atol=1e-14)
    with pytest.raises(KeyError):
        _ = found.histogram


LARGE = {name: [Want(Inputs, (2,))] for name in ("x", "h", "y")}
HELD = 2 * 2 * 4 * 4  # of two samples [2, 4] in float32


@pytest.mark.parametrize(("memory", "turns"), [(3 * HELD, 1), (2 * HELD, 2), (HELD, 3), (1, 3)])
def test_large_observations_are_made_in_turns_that_fit_the_memory(tmp_path: Path, memory: int, turns: int) -> None:
    x = samples(3)
    wanted = LARGE | {"h": [*LARGE["h"], RANGE]}
    at_once = observe(RELU, data(tmp_path, x), wanted)
    seen: list[tuple[int, int]] = []
    found = observe(RELU, data(tmp_path, x), wanted, lambda *done: seen.append(done), memory)
    assert found == at_once and list(found) == ["x", "h", "y"]
    assert seen == [(done + 1, 3 * turns) for done in range(3 * turns)]
    kept = found["x"].one(Inputs, 2).samples()
    assert {one.tobytes() for one in kept} <= {one.tobytes() for one in x.reshape(-1, *kept.shape[1:])}


def test_tensors_that_are_kept_together_keep_the_same_samples(tmp_path: Path) -> None:
    want = Want(Inputs, (4,), beside=("y",))
    kept = observe(RELU, data(tmp_path, samples(20)), {"h": [want]})["h"].one(Inputs, 4)
    assert kept.samples().shape == (4, 2, 4)
    np.testing.assert_array_equal(kept.samples(1), np.maximum(kept.samples(0), 0))


def test_only_what_is_wanted_is_asked_of_onnxruntime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[str]] = []
    run = observing.run_model

    def spied(session: Any, outputs: list[str], sample: Any, number: int) -> Any:
        asked.append(outputs)
        return run(session, outputs, sample, number)

    monkeypatch.setattr(observing, "run_model", spied)
    observe(RELU, data(tmp_path, samples(2)), {"h": [RANGE], "x": [RANGE]})
    assert asked == [["h"], ["h"]]


def test_random_data_observes_too() -> None:
    found = observe(RELU, random_dataset(model_inputs(RELU), 3, seed=0), {"x": [RANGE]})
    assert found["x"].count == 24


def test_model_inputs_are_those_without_an_initializer() -> None:
    subject = model("y = Mul(x, w)", "float[1,2,4] x, float w", weights="float w = {2}")
    assert model_inputs(subject) == {"x": InputType((1, 2, 4), np.dtype(np.float32))}


def test_a_model_input_of_unknown_size_is_refused() -> None:
    with pytest.raises(UserError, match=r"'x' has shape \['N', 4\]"):
        model_inputs(model("y = Relu(x)", "float[N,4] x", "float[N,4] y"))
