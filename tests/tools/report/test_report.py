"""report.json is a contract: its keys are those that other programs read."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from bevel.backends.program.resources import NOTHING, Resources
from bevel.calib.errors import UserError
from bevel.tools.report import report, tables
from bevel.tools.report.report import (
    Accuracy,
    AskedRule,
    Device,
    KernelCost,
    Measurement,
    Model,
    Node,
    Note,
    Report,
    Size,
    StageTime,
)

KEYS = {
    "": "bevel model target recipe accuracy size device measurement nodes stages files assignment outputs library"
    " widths converted transforms step resources schema",
    "model": "file sha256",
    "accuracy": "samples float quantized integer sqnr_db agreement quantized_sqnr_db labels labels_unused metric"
    " answers agreement_interval",
    "size": "float_bytes quantized_bytes flash_bytes weights_bytes ram_bytes arena_bytes",
    "device": "name kind tool",
    "measurement": "inputs mismatches instructions latency_s per_kernel estimate cycles rounded",
}


@pytest.fixture
def told() -> Report:
    return Report(
        bevel="0.1.0",
        model=Model("m.onnx", "ab"),
        target="cortex-m7",
        recipe="int8",
        accuracy=Accuracy(100, 0.98, 0.97, 0.96, 31.25, 0.99),
        size=Size(400, 100, Resources({"flash": 4000, "weights": 3000, "arena": 2000, "ram": 2500})),
        device=Device("unicorn", "simulator", "unicorn 2.1.4"),
        measurement=Measurement(
            8,
            0,
            Resources({"instructions": 1234567}),
            (KernelCost("conv", "conv_0", Resources({"macs": 1000, "instructions": 2500})),),
        ),
        nodes=(
            Node(
                "conv",
                "Conv",
                "int8",
                "conv_0",
                20.5,
                (Note("quantize", "changed", "fused with Relu"),),
                (AskedRule("conv_dsp", "taken"),),
            ),
            Node("fc", "Gemm", "int8", "gemm_1", 10.25, ()),
            Node(
                "bn",
                "BatchNormalization",
                None,
                None,
                None,
                (Note("fold-batchnorm", "changed", "folded", {"channels": 4}),),
            ),
        ),
        stages=(StageTime("load", 0.5),),
        files={"integer.onnx": "cd"},
    )


def test_the_keys_are_those_of_the_contract(told: Report) -> None:
    found = json.loads(report.text(told))
    for path, keys in KEYS.items():
        assert list(found[path] if path else found) == keys.split()
    assert list(found["measurement"]["per_kernel"][0]) == ["node", "kernel", "macs", "instructions", "latency_s"]
    assert list(found["nodes"][0]) == ["name", "op", "format", "kernel", "sqnr_db", "notes", "rules", "rounder"]
    assert [list(node["notes"][0]) for node in found["nodes"] if node["notes"]] == [
        ["pass", "kind", "text", "numbers"]
    ] * 2
    assert found["schema"] == report.SCHEMA and found["nodes"][2]["notes"][0]["numbers"] == {"channels": 4}
    assert list(found["stages"][0]) == ["name", "seconds"]


def test_a_report_survives_writing_and_reading(told: Report, tmp_path: Path) -> None:
    bare = replace(told, accuracy=None, device=None, measurement=None)
    for one in (told, bare):
        report.write(tmp_path, one)
        assert report.read(tmp_path) == one


def test_a_report_of_another_schema_is_not_read(told: Report, tmp_path: Path) -> None:
    report.write(tmp_path, replace(told, schema=report.SCHEMA + 1))
    with pytest.raises(UserError, match=r"report\.json is not a report of this version of Bevel; run optimize again"):
        report.read(tmp_path)


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"accuracy": null}'])
def test_a_file_that_is_no_report_is_named(text: str, tmp_path: Path) -> None:
    (tmp_path / report.NAME).write_text(text)
    with pytest.raises(UserError, match=r"report\.json is not a report"):
        report.read(tmp_path)


def shown(told: Report, warnings: tuple[str, ...] = ()) -> str:
    console = Console(width=160)
    with console.capture() as capture:
        tables.show_report(console, told, warnings)
    return capture.get()


def test_the_table_says_what_a_simulator_counts(told: Report) -> None:
    text = shown(told)
    assert "simulator (instructions, not cycles)" in text
    assert "1,234,567" in text and "31.25 dB" in text and "97.00 %" in text


def test_the_worst_node_comes_first_and_lossless_ones_are_left_out(told: Report) -> None:
    assert [node.name for node in tables.worst_nodes(told.nodes)] == ["fc", "conv"]


def test_wrong_outputs_show_no_count(told: Report) -> None:
    text = shown(replace(told, measurement=Measurement(8, 3, NOTHING, ())))
    assert "3 elements differ" in text and "1,234,567" not in text


def test_warnings_are_shown_as_they_are(told: Report) -> None:
    assert "[guess] ranges" in shown(told, ("[guess] ranges",))


def test_a_node_name_with_brackets_is_not_markup(told: Report) -> None:
    node = replace(told.nodes[0], name="conv[/bold]:0")
    assert "conv[/bold]:0" in shown(replace(told, nodes=(node,)))


def test_words_are_explained_and_the_end_says_where_the_product_is(told: Report) -> None:
    console = Console(width=160)
    with console.capture() as capture:
        tables.show_report(console, replace(told, files={"libnet.a": "", "net.h": ""}), (), Path("my out"))
    text = capture.get()
    for word in ("SQNR: ", "top-1: ", "agreement: ", "share: "):
        assert sum(line.startswith(word) for line in text.splitlines()) == 1
    last = text.splitlines()[-1]
    assert last == "The product is in my out, net.h tells how to call it. Next: bevel inspect 'my out'"


def test_several_outputs_stand_beside_each_other_and_the_labels_have_an_owner(told: Report) -> None:
    outputs = (
        report.OutputFigures("boxes", None, 12.5, 13.5, None, 4, 4, 0),
        report.OutputFigures("classes", None, None, None, 0.875, None, None, 0),
    )
    assert told.accuracy is not None
    text = shown(replace(told, outputs=outputs, accuracy=replace(told.accuracy, labels="classes")))
    for word in ("12.50 dB", "13.50 dB", "87.50 %", "worst output", "which belongs to output classes"):
        assert word in text


def test_infinity_is_no_number_of_decibels() -> None:
    assert tables.decibels(-200.0) == "nothing left" and tables.decibels(None) == "no error"
