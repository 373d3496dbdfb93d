"""Firmware in unicorn: right counts, nothing counted when an output is wrong, and faults that say where."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from bevel.backends.binary import elf
from bevel.backends.devices import image, report
from bevel.backends.devices.base import Vectors
from bevel.backends.devices.report import FirmwareError
from bevel.backends.devices.unicorn import Unicorn
from bevel.backends.target import load

CORTEX_M = ("cortex-m0plus", "cortex-m4", "cortex-m7", "cortex-m33")
CORES = (*CORTEX_M, "rv32imc")
Build = Callable[..., Any]

if why := Unicorn(load("cortex-m4")).missing():
    pytest.skip(why, allow_module_level=True)


@pytest.mark.parametrize("prefer", ["gcc", "zig"])
@pytest.mark.parametrize("core", CORES)
def test_outputs_are_right_and_counts_are_the_same_every_time(tiny_firmware: Build, core: str, prefer: str) -> None:
    tiny = tiny_firmware(core, prefer)
    first, second = (Unicorn(tiny.target).measure(tiny.artifact, tiny.vectors) for _ in range(2))
    assert first == second
    assert (first.inputs, first.mismatches, first.kind) == (4, 0, "simulator")
    assert list(first.spent) == ["instructions"]


@pytest.mark.parametrize("core", CORES)
def test_calls_add_up_to_the_whole_but_for_the_entry_of_run(tiny_firmware: Build, core: str) -> None:
    tiny = tiny_firmware(core)
    found = Unicorn(tiny.target).measure(tiny.artifact, tiny.vectors)
    costs = [cost.spent["instructions"] for cost in found.per_call]
    assert [cost.call for cost in found.per_call] == [0, 1, 2]
    assert min(costs) > 24 and 0 < found.spent["instructions"] - sum(costs) < 12


def test_an_expected_byte_that_is_wrong_is_found_and_nothing_is_counted(tiny_firmware: Build) -> None:
    tiny = tiny_firmware("cortex-m4")
    expected = tiny.vectors.expected["output/y"].copy()
    right = int(expected[2, 0, 7])
    expected[2, 0, 7] ^= 1
    found = Unicorn(tiny.target).measure(tiny.artifact, Vectors(tiny.vectors.inputs, {"output/y": expected}))
    assert (found.mismatches, dict(found.spent), found.per_call) == (1, {}, ())
    assert found.first_mismatch == f"input 2, output output/y[0, 7]: {right} instead of {right ^ 1}"


def test_other_vectors_can_be_measured_with_the_same_firmware(tiny_firmware: Build) -> None:
    tiny = tiny_firmware("cortex-m4")
    fewer = Vectors(
        {"input:0": tiny.vectors.inputs["input:0"][2:]}, {"output/y": tiny.vectors.expected["output/y"][2:]}
    )
    assert Unicorn(tiny.target).measure(tiny.artifact, fewer).inputs == 2


def test_more_vectors_than_the_firmware_has_room_for_are_refused(tiny_firmware: Build) -> None:
    tiny = tiny_firmware("cortex-m4")
    more = Vectors(
        *({k: np.tile(v, (2, 1, 1)) for k, v in d.items()} for d in (tiny.vectors.inputs, tiny.vectors.expected))
    )
    with pytest.raises(ValueError, match="8 vectors need 388 bytes; the firmware holds 196"):
        Unicorn(tiny.target).measure(tiny.artifact, more)


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ("bad address", r"in tiny_wave_1\+0x[0-9a-f]+: .*4 bytes at 0xf0000000"),
        ("bad instruction", r"in tiny_wave_1\+0x"),
        ("write to flash", r"in tiny_wave_1\+0x.*4 bytes at 0x0000"),
        ("deep stack", r"in tiny_wave_1\+0x.*at 0x1fff"),
    ],
)
def test_a_fault_names_the_function_it_happened_in(tiny_firmware: Build, extra: str, message: str) -> None:
    tiny = tiny_firmware("cortex-m4", extra=extra)
    with pytest.raises(FirmwareError, match=message):
        Unicorn(tiny.target).measure(tiny.artifact, tiny.vectors)


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ("bad address", r"in tiny_wave_1\+0x[0-9a-f]+: .*4 bytes at 0xf0000000"),
        ("undefined halfword", r"in tiny_wave_1\+0x"),
        ("write to constants", r"in tiny_wave_1\+0x.*4 bytes at 0x800"),
        ("deep stack", r"in tiny_wave_1\+0x.*at 0x807"),
    ],
)
def test_a_trap_names_the_function_it_happened_in(tiny_firmware: Build, extra: str, message: str) -> None:
    tiny = tiny_firmware("rv32imc", extra=extra)
    with pytest.raises(FirmwareError, match=message):
        Unicorn(tiny.target).measure(tiny.artifact, tiny.vectors)


@pytest.mark.parametrize(
    ("core", "extra", "has_it"),
    [
        ("cortex-m0plus", "divide", False),
        ("cortex-m4", "divide", True),
        ("cortex-m4", "double", False),
        ("cortex-m7", "double", True),
        ("rv32imc", "riscv divide", True),
        ("rv32imc", "riscv float", False),
    ],
)
def test_a_core_executes_what_it_has_and_no_more(tiny_firmware: Build, core: str, extra: str, has_it: bool) -> None:
    tiny = tiny_firmware(core, "zig", extra)
    if has_it:
        assert Unicorn(tiny.target).measure(tiny.artifact, tiny.vectors).mismatches == 0
    else:
        with pytest.raises(FirmwareError, match=r"in tiny_wave_1\+0x.*(Invalid instruction|Unhandled CPU exception)"):
            Unicorn(tiny.target).measure(tiny.artifact, tiny.vectors)


def test_firmware_that_does_not_end_is_stopped(tiny_firmware: Build) -> None:
    tiny = tiny_firmware("cortex-m4", extra="endless")
    with pytest.raises(FirmwareError, match="did not end in 0 s; it was at pc 0x"):
        Unicorn(tiny.target, timeout_s=0.2).measure(tiny.artifact, tiny.vectors)


def test_kernels_called_in_another_order_than_the_artifact_says_are_refused(tiny_firmware: Build) -> None:
    tiny = tiny_firmware("cortex-m4")
    swapped = replace(tiny.artifact, calls=(tiny.artifact.calls[1], *tiny.artifact.calls[1:]))
    with pytest.raises(RuntimeError, match="did not call the 3 kernels in order"):
        Unicorn(tiny.target).measure(swapped, tiny.vectors)


# What a compiler's own run-time support may define: arithmetic that the core lacks, unwinding stubs, mapping symbols.
COMPILER_SUPPORT = re.compile(r"__aeabi_\w+|__\w*(div|mod|mul|shl|shr|clz)\w*|__gnu_thumb1_\w+|compiler_rt\..*")


@pytest.mark.parametrize("prefer", ["gcc", "zig"])
@pytest.mark.parametrize("core", CORES)
def test_no_library_function_is_linked_but_memcpy_and_memset(tiny_firmware: Build, core: str, prefer: str) -> None:
    tiny = tiny_firmware(core, prefer)
    folder = tiny.artifact.folder
    sources = [*folder.glob("*.c"), *(folder / "firmware").glob("*.[ch]")]
    ours = {name for path in sources for name in re.findall(r"\b(\w+)\((?=.*\{)", path.read_text())}
    functions = {symbol.name for symbol in elf.read(folder / tiny.artifact.firmware).symbols if symbol.function}
    foreign = {name for name in functions if not COMPILER_SUPPORT.fullmatch(name)}
    assert {name.split(".")[0] for name in foreign} <= ours


@pytest.mark.parametrize("prefer", ["gcc", "zig"])
@pytest.mark.parametrize("core", ["cortex-m4", "rv32imc"])
def test_equal_input_gives_equal_firmware(tiny_firmware: Build, core: str, prefer: str) -> None:
    first, second = (tiny_firmware(core, prefer, copy=copy).artifact for copy in range(2))
    assert first.folder != second.folder
    assert (first.folder / first.firmware).read_bytes() == (second.folder / second.firmware).read_bytes()


@pytest.mark.parametrize("prefer", ["gcc", "zig"])
@pytest.mark.parametrize("core", ["cortex-m4", "rv32imc"])
def test_firmware_holds_no_path_of_the_machine_it_was_built_on(tiny_firmware: Build, core: str, prefer: str) -> None:
    tiny = tiny_firmware(core, prefer)
    data = (tiny.artifact.folder / tiny.artifact.firmware).read_bytes()
    assert str(tiny.artifact.folder).encode() not in data and b"ziglang" not in data and b"/.cache" not in data


def test_an_address_is_named_by_the_function_before_it(tiny_firmware: Build) -> None:
    tiny = tiny_firmware("cortex-m4")
    loaded = image.load(tiny.artifact, tiny.vectors)
    assert loaded.symbol_at(loaded.address("tiny_run") + 2) == "tiny_run+0x2"


def report_text(**changes: str) -> str:
    values = {"vectors": "1", "mismatches": "0", "crc": "0x00000000"} | changes
    return (
        f"bevel 1 model=tiny vectors={values['vectors']} calls=1\nvector 0 mismatches=0 ticks=10\ncall 0 ticks=5\n"
        f"end mismatches={values['mismatches']} crc={values['crc']} ticks=10 stack=100 reserved=200\n"
    )


def test_a_report_that_lacks_a_line_is_refused() -> None:
    with pytest.raises(FirmwareError, match="lines are missing"):
        report.parse(report_text(vectors="2"))
    with pytest.raises(FirmwareError, match="incomplete"):
        report.parse(report_text().rsplit("end", 1)[0])


def test_a_report_without_mismatches_and_with_another_crc_is_refused(tiny_firmware: Build) -> None:
    tiny = tiny_firmware("cortex-m4")
    text, _ = Unicorn(tiny.target).emulate(tiny.artifact, tiny.vectors)
    found = report.parse(text)
    report.check(found, tiny.artifact, tiny.vectors)
    with pytest.raises(FirmwareError, match="counts 0 mismatches, but the CRC"):
        report.check(replace(found, crc=found.crc ^ 1), tiny.artifact, tiny.vectors)


def test_cores_that_unicorn_lacks_are_said_to_be_missing() -> None:
    assert Unicorn(load("cortex-m55")).missing() == "unicorn has no core for cortex-m55"


@pytest.mark.parametrize("core", CORTEX_M)
def test_an_estimate_comes_with_its_clock_and_not_with_wrong_outputs(tiny_firmware: Build, core: str) -> None:
    tiny = tiny_firmware(core)
    found = Unicorn(tiny.target).measure(tiny.artifact, tiny.vectors)
    guess = found.estimate
    assert guess.clock_hz == tiny.target.clock_hz and guess.latency_s == guess.cycles / guess.clock_hz
    assert found.spent["instructions"] / 2 <= guess.cycles <= 4 * found.spent["instructions"]
    wrong = {name: array ^ 1 for name, array in tiny.vectors.expected.items()}
    assert Unicorn(tiny.target).measure(tiny.artifact, Vectors(tiny.vectors.inputs, wrong)).estimate is None
