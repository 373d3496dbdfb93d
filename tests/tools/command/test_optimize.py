"""The whole run on a tiny network: what is in the bundle, what the report says, and that a second run is the same."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from bevel.tools.command import cli
from bevel.tools.command.optimize import main
from bevel.tools.run import manifest

TARGET = "cortex-m4"


def command(folder: Path, output: Path, *options: str) -> list[str]:
    data = str(folder / "calib.npz")
    return [
        str(folder / "model.onnx"),
        "--target",
        TARGET,
        "--calib",
        data,
        "--eval",
        data,
        "-o",
        str(output),
        *options,
    ]


@pytest.fixture(scope="module")
def built(
    tmp_path_factory: pytest.TempPathFactory,
    make_model: Callable[[], onnx.ModelProto],
    make_samples: Callable[[], dict[str, np.ndarray]],
) -> Path:
    """A bundle, measured on the simulated core."""
    folder = tmp_path_factory.mktemp("built")
    onnx.save(make_model(), folder / "model.onnx")
    np.savez(folder / "calib.npz", allow_pickle=False, **make_samples())
    assert main(command(folder, folder / "out")) == 0
    return folder / "out"


@pytest.fixture
def out(built: Path, tmp_path: Path) -> Path:
    """A copy of it that a test may spoil."""
    return Path(shutil.copytree(built, tmp_path / "out"))


def report_of(output: Path) -> Any:
    return json.loads((output / "report.json").read_text())


def test_the_bundle_holds_models_library_header_firmware_and_their_hashes(out: Path) -> None:
    names = {path.name for path in out.iterdir()}
    assert {"quantized.onnx", "integer.onnx", "libmodel.a", "model.h", "model.c", "firmware.elf"} <= names
    assert manifest.differences(out, manifest.read(out)) == []
    assert [path.name for path in out.parent.iterdir() if path.name.startswith(".")] == []


def test_the_device_computes_what_integer_onnx_does(out: Path) -> None:
    measured = report_of(out)["measurement"]
    assert measured["inputs"] == 8 and measured["mismatches"] == 0
    assert measured["instructions"] > 0 and measured["latency_s"] is None
    costs = [kernel["instructions"] for kernel in measured["per_kernel"]]
    assert 0 < sum(costs) <= measured["instructions"]


def test_the_report_says_accuracy_sizes_stages_and_files(out: Path) -> None:
    told = report_of(out)
    assert told["device"]["kind"] == "simulator" and told["recipe"] == "int8" and told["target"] == TARGET
    assert told["accuracy"]["samples"] == 12 and told["accuracy"]["sqnr_db"] > 20
    assert 0 < told["size"]["weights_bytes"] < told["size"]["flash_bytes"]
    assert told["size"]["arena_bytes"] <= told["size"]["ram_bytes"]
    stages = "load canonicalize recall transform observe quantize integerize partition build measure evaluate report"
    assert [stage["name"] for stage in told["stages"]] == stages.split()
    assert told["files"] == {name: hash for name, hash in manifest.hashes(out).items() if name != "report.json"}


def test_nodes_carry_format_kernel_error_and_why_they_are_gone(out: Path) -> None:
    nodes = {node["name"]: node for node in report_of(out)["nodes"]}
    assert nodes["summed"]["format"] == "int8" and nodes["summed"]["kernel"] and nodes["summed"]["sqnr_db"] > 10
    assert nodes["positive"]["kernel"] is None and "summed" in nodes["positive"]["notes"][0]["text"]
    measured = {kernel["node"] for kernel in report_of(out)["measurement"]["per_kernel"]}
    assert measured <= set(nodes)


@pytest.mark.parametrize("name", ["quantized.onnx", "integer.onnx"])
def test_both_models_run_in_stock_onnxruntime(out: Path, name: str) -> None:
    session = ort.InferenceSession(out / name)
    (scores,) = session.run(None, {"image": np.zeros((1, 2, 6, 6), np.float32)})
    assert scores.shape == (1, 3) and scores.dtype == np.float32


def test_weights_are_stored_as_integers(out: Path) -> None:
    stored = [tensor for tensor in onnx.load(out / "quantized.onnx").graph.initializer if len(tensor.dims) > 1]
    assert stored and {tensor.data_type for tensor in stored} == {onnx.TensorProto.INT8}


def test_two_runs_give_the_same_bytes(out: Path, inputs: Path, capfd: pytest.CaptureFixture[str]) -> None:
    first = manifest.hashes(out)
    assert main(command(inputs, out)) == 0
    assert capfd.readouterr().err == ""
    second = manifest.hashes(out)
    assert {name for name in first if first[name] != second.get(name)} <= {"report.json"}


def test_json_is_the_report_and_nothing_else(inputs: Path, capfd: pytest.CaptureFixture[str]) -> None:
    output = inputs.parent / "out"
    assert main(command(inputs, output, "--json", "--device", "none")) == 0
    assert json.loads(capfd.readouterr().out) == report_of(output)
    assert report_of(output)["device"] is None and report_of(output)["measurement"] is None


def test_random_calibration_is_called_a_guess(inputs: Path, capfd: pytest.CaptureFixture[str]) -> None:
    output = inputs.parent / "out"
    arguments = [str(inputs / "model.onnx"), "--target", TARGET, "--calib", "random", "-o", str(output)]
    assert main([*arguments, "--device", "none"]) == 0
    assert "ranges are guesses" in capfd.readouterr().out
    assert all("guesses" in node["notes"][-1]["text"] for node in report_of(output)["nodes"] if node["format"])
    assert report_of(output)["accuracy"] is None


def test_edges_may_be_integers(inputs: Path) -> None:
    output = inputs.parent / "out"
    assert main(command(inputs, output, "--inputs", "quantized", "--outputs", "quantized")) == 0
    model = onnx.load(output / "integer.onnx")
    types = {value.type.tensor_type.elem_type for value in (*model.graph.input, *model.graph.output)}
    assert types == {onnx.TensorProto.INT8}
    assert report_of(output)["measurement"]["mismatches"] == 0
    assert report_of(output)["accuracy"]["sqnr_db"] > 20


def test_a_model_that_came_quantized_keeps_its_scales(out: Path, inputs: Path) -> None:
    shutil.copy(out / "quantized.onnx", inputs / "model.onnx")
    again = inputs.parent / "again"
    assert main(command(inputs, again)) == 0
    scales = [
        {
            t.name: onnx.numpy_helper.to_array(t).tobytes()
            for t in onnx.load(folder / "quantized.onnx").graph.initializer
        }
        for folder in (out, again)
    ]
    assert {*scales[1].values()} <= {*scales[0].values()}
    assert not {"observe", "quantize"} & {stage["name"] for stage in report_of(again)["stages"]}
    assert report_of(again)["measurement"]["mismatches"] == 0


def test_formats_are_asked_for_by_name_and_said_of_each_node(inputs: Path) -> None:
    output = inputs.parent / "out"
    assert main(command(inputs, output, "--weights", "int4", "--activations", "e2m3")) == 0
    report = report_of(output)
    assert report["measurement"]["mismatches"] == 0
    formats = {node["op"]: node["format"] for node in report["nodes"]}
    assert formats["Conv"] == "int4 weights, e2m3" and "int8" in formats["Gemm"]
    assert all(node["sqnr_db"] for node in report["nodes"] if node["op"] in ("Conv", "Gemm"))


def test_formats_for_a_model_that_came_quantized_are_refused(
    out: Path, inputs: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(out / "quantized.onnx", inputs / "model.onnx")
    assert main(command(inputs, inputs.parent / "again", "--weights", "int4")) == 2
    assert "came quantized: its formats are kept" in capfd.readouterr().err


def test_a_cpu_gets_a_library_and_a_time(inputs: Path) -> None:
    output = inputs.parent / "out"
    assert main(command(inputs, output, "--target", "host")) == 0
    assert (output / "libmodel.so").exists() and not (output / "firmware.elf").exists()
    measured = report_of(output)["measurement"]
    assert measured["mismatches"] == 0 and measured["instructions"] is None and measured["latency_s"] > 0


def test_measure_repeats_the_count_of_the_report(out: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["measure", str(out), "--json"]) == 0
    again = json.loads(capfd.readouterr().out)
    assert again["measurement"] == report_of(out)["measurement"]


def test_measure_refuses_a_bundle_of_another_version_in_one_line(
    out: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    old = tmp_path / "old"
    shutil.copytree(out, old)
    told = json.loads((old / "report.json").read_text())
    (old / "report.json").write_text(json.dumps({key: told[key] for key in told if key != "schema"}))
    made = json.loads((old / "manifest.json").read_text())
    made["files"]["report.json"] = hashlib.sha256((old / "report.json").read_bytes()).hexdigest()
    del made["settings"]["objective"], made["artifact"]["reset"]
    (old / "manifest.json").write_text(json.dumps(made))
    assert cli.main(["measure", str(old)]) == 2
    (line,) = capfd.readouterr().err.splitlines()
    assert line.endswith("is not a report of this version of Bevel; run optimize again")


def test_a_manifest_has_the_settings_that_measure_asks_for(out: Path) -> None:
    assert set(manifest.read(out).settings) == set(manifest.SETTINGS)


def changed_manifest(out: Path, change: Callable[[dict[str, Any]], None]) -> None:
    made = json.loads((out / manifest.NAME).read_text())
    change(made)
    (out / manifest.NAME).write_text(json.dumps(made))


@pytest.mark.parametrize("missing", [["isa"], ["threads"], ["isa", "threads"], ["ram", "kernels"]])
def test_measure_says_which_settings_a_manifest_lacks(
    missing: list[str], out: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    def without(made: dict[str, Any]) -> None:
        for name in missing:
            del made["settings"][name]

    changed_manifest(out, without)
    assert cli.main(["measure", str(out)]) == 2
    (line,) = capfd.readouterr().err.splitlines()
    settings = f"the setting{'s' if len(missing) > 1 else ''} {', '.join(missing)}"
    assert line.endswith(f"manifest.json lacks {settings}: another version of Bevel wrote it; run optimize again")


@pytest.mark.parametrize("field", ["reset", "plan"])
def test_measure_refuses_an_artifact_of_another_version_in_one_line(
    field: str, out: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    changed_manifest(out, lambda made: made["artifact"].pop(field))
    assert cli.main(["measure", str(out)]) == 2
    (line,) = capfd.readouterr().err.splitlines()
    assert line.endswith("manifest.json is not a manifest of this version of Bevel; run optimize again")


def test_measure_takes_other_inputs(out: Path, inputs: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["measure", str(out), "--data", str(inputs / "calib.npz"), "--vectors", "3", "--json"]) == 0
    again = json.loads(capfd.readouterr().out)["measurement"]
    assert again["inputs"] == 3 and again["mismatches"] == 0 and again["instructions"] > 0


def test_inspect_draws_the_arena_and_lists_the_kernels(out: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["inspect", str(out)]) == 0
    printed = capfd.readouterr().out
    assert "█" in printed and "lower" not in printed.splitlines()[0]
    assert f"{report_of(out)['measurement']['per_kernel'][0]['instructions']:,}" in printed


@pytest.mark.parametrize("verb", ["inspect", "measure"])
def test_a_bundle_that_was_changed_is_refused(out: Path, verb: str, capfd: pytest.CaptureFixture[str]) -> None:
    (out / "model.c").write_text("int main(void) {}")
    assert cli.main([verb, str(out)]) == 2
    assert "model.c is changed" in capfd.readouterr().err


@pytest.mark.parametrize("verb", ["inspect", "measure"])
def test_a_folder_that_is_no_bundle_is_refused(verb: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert cli.main([verb, str(tmp_path)]) == 2
    assert "no manifest.json" in capfd.readouterr().err


def test_targets_and_doctor_list_what_there_is(capfd: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["targets"]) == 0 and cli.main(["doctor"]) == 0
    printed = capfd.readouterr().out
    assert "cortex-m4" in printed and "unicorn" in printed
