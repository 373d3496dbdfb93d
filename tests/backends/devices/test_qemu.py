"""Firmware on QEMU's boards: right outputs, counts that equal unicorn's, and faults that say where."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from bevel.backends.binary import toolchain
from bevel.backends.cortex_m.timing.estimate import Block
from bevel.backends.cortex_m.timing.thumb import decode
from bevel.backends.devices import qemu, qemu_plugin
from bevel.backends.devices.base import Vectors
from bevel.backends.devices.qemu import Qemu
from bevel.backends.devices.report import FirmwareError
from bevel.backends.devices.unicorn import Unicorn
from bevel.backends.firmware import UARTS
from bevel.backends.target import Target, load

Build = Callable[..., Any]

if why := Qemu(load("cortex-m4")).missing():
    pytest.skip(why, allow_module_level=True)


def skip_without(device: Qemu | Unicorn) -> None:
    if why := device.missing():
        pytest.skip(why)


@pytest.mark.parametrize("core", ["cortex-m4", "cortex-m7", "cortex-m55", "rv32imc"])
@pytest.mark.parametrize("prefer", ["gcc", "zig"])
def test_outputs_are_right_and_counts_are_the_same_every_time(tiny_firmware: Build, core: str, prefer: str) -> None:
    tiny = tiny_firmware(core, prefer)
    skip_without(Qemu(tiny.target))
    first, second = (Qemu(tiny.target).measure(tiny.artifact, tiny.vectors) for _ in range(2))
    assert first == second
    assert (first.inputs, first.mismatches, first.kind) == (4, 0, "simulator")
    assert list(first.spent) == ["instructions"]


@pytest.mark.parametrize(
    ("core", "prefer", "extra"),
    [
        ("cortex-m4", "gcc", "none"),
        ("cortex-m4", "zig", "none"),
        ("cortex-m7", "gcc", "none"),
        ("cortex-m7", "zig", "none"),
        ("cortex-m4", "auto", "long"),  # for more than one wrap of SysTick
        ("rv32imc", "gcc", "none"),
        ("rv32imc", "zig", "none"),
    ],
)
def test_count_is_unicorns(tiny_firmware: Build, core: str, prefer: str, extra: str) -> None:
    tiny = tiny_firmware(core, prefer, extra)
    skip_without(Unicorn(tiny.target))
    skip_without(Qemu(tiny.target))
    counts = [device(tiny.target).measure(tiny.artifact, tiny.vectors) for device in (Qemu, Unicorn)]
    if extra == "long":
        assert counts[0].spent["instructions"] > qemu.BOARDS["mps2-an386"].instructions(2**qemu.SYSTICK_BITS)
    # Where a wrap falls just before or after the interval, one handler too many or too few is taken off.
    apart = counts[0].spent["instructions"] - counts[1].spent["instructions"]
    assert abs(apart) <= qemu.SYSTICK_HANDLER_INSTRUCTIONS * (extra == "long")
    for ours, theirs in zip(counts[0].per_call, counts[1].per_call, strict=True):
        apart = ours.spent["instructions"] - theirs.spent["instructions"]
        assert abs(apart) < 25  # setting up the arguments and the hook's call


@pytest.mark.parametrize("core", ["cortex-m7", "cortex-m55"])
def test_large_constants_are_where_the_linker_put_them(tiny_firmware: Build, core: str) -> None:
    tiny = tiny_firmware(core, extra="600 KB of constants")
    assert Qemu(tiny.target).measure(tiny.artifact, tiny.vectors).mismatches == 0


def test_an_expected_byte_that_is_wrong_is_found_and_nothing_is_counted(tiny_firmware: Build) -> None:
    tiny = tiny_firmware("cortex-m4")
    expected = tiny.vectors.expected["output/y"].copy()
    expected[3, 0, 0] ^= -128
    found = Qemu(tiny.target).measure(tiny.artifact, Vectors(tiny.vectors.inputs, {"output/y": expected}))
    assert (found.mismatches, dict(found.spent), found.per_call) == (1, {}, ())
    assert found.first_mismatch is not None and found.first_mismatch.startswith("input 3, output output/y[0, 0]: ")


@pytest.mark.parametrize(
    ("core", "extra"),
    [
        ("cortex-m4", "bad address"),
        ("cortex-m4", "bad instruction"),
        ("cortex-m55", "bad address"),
        ("cortex-m55", "bad instruction"),
        ("rv32imc", "bad address"),
        ("rv32imc", "undefined halfword"),
        ("rv32imc", "riscv float"),
    ],
)
def test_a_fault_names_the_function_it_happened_in(tiny_firmware: Build, core: str, extra: str) -> None:
    tiny = tiny_firmware(core, extra=extra)
    skip_without(Qemu(tiny.target))
    with pytest.raises(FirmwareError, match=r"faulted at pc 0x[0-9a-f]{8} in tiny_wave_1\+0x"):
        Qemu(tiny.target).measure(tiny.artifact, tiny.vectors)


def test_a_stack_that_overflows_is_an_error_where_the_board_swallows_what_lies_below_it(tiny_firmware: Build) -> None:
    tiny = tiny_firmware("cortex-m4", extra="deep stack")
    with pytest.raises(FirmwareError, match="tiny needs more stack than the 16384 bytes reserved for it"):
        Qemu(tiny.target).measure(tiny.artifact, tiny.vectors)


def test_firmware_that_does_not_end_is_stopped(tiny_firmware: Build) -> None:
    tiny = tiny_firmware("cortex-m4", extra="endless")
    with pytest.raises(FirmwareError, match="did not end in 1 s; it had said"):
        Qemu(tiny.target, timeout_s=1.0).measure(tiny.artifact, tiny.vectors)


def test_what_is_missing_is_named_with_what_it_would_enable(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Qemu(load("cortex-m33")).missing() == "no board of QEMU's has a cortex-m33"
    monkeypatch.setattr(toolchain, "printed_version", lambda command: None)
    why = Qemu(load("cortex-m55")).missing()
    assert why == "qemu-system-arm is not installed: it would run and count cortex-m55 firmware"
    why = Qemu(load("rv32imc")).missing()
    assert why == "qemu-system-riscv32 is not installed: it would run and count rv32imc firmware"


def test_every_board_has_a_clock_and_a_uart() -> None:
    assert qemu.BOARDS.keys() == UARTS.keys()


def test_ticks_become_instructions() -> None:
    m4, m55, riscv = (qemu.BOARDS[name].instructions for name in ("mps2-an386", "mps3-an547", "virt"))
    assert (m4(0), m4(6400)) == (1, 1001)
    assert m55(1 << 24) == 2**21 * 1000 // 1024 + 1 - 5  # 8.192 ticks each, one wrap
    assert riscv(1 << 24) == (1 << 24) + 1


needs_plugin = pytest.mark.skipif(
    not qemu_plugin.usable("qemu-system-arm"), reason="this QEMU takes no plugin of version 1"
)


@needs_plugin
@pytest.mark.parametrize("core", ["cortex-m4", "cortex-m7", "cortex-m55"])
def test_blocks_that_the_plugin_counts_hold_the_instructions_that_the_clock_counts(
    tiny_firmware: Build, core: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    held: list[int] = []

    def sum_up(target: Target, blocks: tuple[Block, ...], read: Callable[[int, int], bytes], runs: int) -> None:
        executed = sum(block.executed * len(list(decode(read(block.address, block.size)))) for block in blocks)
        held.append(executed // runs)

    monkeypatch.setattr(qemu, "estimate", sum_up)
    tiny = tiny_firmware(core)
    counted = Qemu(tiny.target).measure(tiny.artifact, tiny.vectors).spent["instructions"]
    # An end of a low-overhead loop can be translated as a block of its own that QEMU's clock does not see.
    assert len(held) == 1 and abs(held[0] - counted) <= (counted // 100 if core == "cortex-m55" else 0)


@needs_plugin
@pytest.mark.parametrize("core", ["cortex-m4", "cortex-m7"])
def test_the_estimate_is_that_of_the_other_simulator(tiny_firmware: Build, core: str) -> None:
    tiny = tiny_firmware(core)
    assert (
        Qemu(tiny.target).measure(tiny.artifact, tiny.vectors).estimate
        == Unicorn(tiny.target).measure(tiny.artifact, tiny.vectors).estimate
    )
