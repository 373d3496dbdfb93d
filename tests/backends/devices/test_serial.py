"""A board on a serial port, played by firmware in unicorn behind a pseudo-terminal."""

from __future__ import annotations

import os
import threading
import tty
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bevel.backends.devices import find
from bevel.backends.devices.base import Vectors
from bevel.backends.devices.report import FirmwareError
from bevel.backends.devices.serial import Serial
from bevel.backends.devices.unicorn import Unicorn
from bevel.backends.target import Target, load
from bevel.calib.errors import UserError
from bevel.tools.command import devices

pytest.importorskip("serial", reason="pyserial is not installed")
if why := Unicorn(load("cortex-m4")).missing():
    pytest.skip(why, allow_module_level=True)

Build = Callable[..., Any]


@contextmanager
def terminal(*pieces: bytes) -> Iterator[str]:
    """A port on which the pieces arrive, again and again as if a board were reset, until nobody listens."""
    board, port = os.openpty()
    tty.setraw(port)
    ended = threading.Event()

    def play() -> None:
        while not ended.wait(0.05):
            for piece in pieces:
                os.write(board, piece)

    player = threading.Thread(target=play)
    player.start()
    try:
        yield os.ttyname(port)
    finally:
        ended.set()
        player.join()
        os.close(board)
        os.close(port)


def spoken(tiny: Any) -> bytes:
    return Unicorn(tiny.target).emulate(tiny.artifact, tiny.vectors)[0].encode()


def test_what_a_board_says_is_compared_and_timed_by_its_clock(tiny_firmware: Build) -> None:
    tiny = tiny_firmware("cortex-m4")
    text = spoken(tiny).replace(b"ticks=0\n", b"ticks=2400\n")  # SysTick stands still in unicorn
    with terminal(text[:40], text[40:]) as port:
        found = Serial(tiny.target, port, timeout_s=20).measure(tiny.artifact, tiny.vectors)
    assert (found.kind, found.inputs, found.mismatches, list(found.spent)) == ("board", 4, 0, ["latency"])
    assert found.spent["latency"] == 2400 / tiny.target.clock_hz
    assert [cost.spent["latency"] for cost in found.per_call] == [2400 / tiny.target.clock_hz] * 3


def test_a_wrong_output_has_no_time(tiny_firmware: Build) -> None:
    tiny = tiny_firmware("cortex-m4")
    expected = tiny.vectors.expected["output/y"].copy()
    expected[1, 0, 2] ^= 1
    wrong = Vectors(tiny.vectors.inputs, {"output/y": expected})
    with terminal(Unicorn(tiny.target).emulate(tiny.artifact, wrong)[0].encode()) as port:
        found = Serial(tiny.target, port, timeout_s=20).measure(tiny.artifact, wrong)
    assert (found.mismatches, dict(found.spent), found.per_call) == (1, {}, ())


def test_a_report_of_other_firmware_is_refused(tiny_firmware: Build) -> None:
    tiny = tiny_firmware("cortex-m4")
    other = spoken(tiny).replace(b"model=tiny", b"model=other")
    with terminal(other) as port, pytest.raises(FirmwareError, match="of other, not those of tiny"):
        Serial(tiny.target, port, timeout_s=20).measure(tiny.artifact, tiny.vectors)


def test_a_fault_names_the_function_it_happened_in(tiny_firmware: Build) -> None:
    tiny = tiny_firmware("cortex-m4")
    text = b"bevel 1 model=tiny vectors=4 calls=3\n\nfault exception=3 pc=0x00000200 lr=0x0\n"
    with terminal(text) as port, pytest.raises(FirmwareError, match="faulted at pc 0x00000200 in "):
        Serial(tiny.target, port, timeout_s=20).measure(tiny.artifact, tiny.vectors)


def test_a_silent_board_is_said_to_be_silent(tiny_firmware: Build) -> None:
    tiny = tiny_firmware("cortex-m4")
    with terminal() as port, pytest.raises(UserError, match="it said nothing; is "):
        Serial(tiny.target, port, timeout_s=0.5).measure(tiny.artifact, tiny.vectors)


def test_a_port_that_is_not_there_is_named(tiny_firmware: Build) -> None:
    tiny = tiny_firmware("cortex-m4")
    with pytest.raises(UserError, match="/dev/no-such-port"):
        Serial(tiny.target, "/dev/no-such-port").measure(tiny.artifact, tiny.vectors)


def test_a_port_is_a_device_of_every_microcontroller() -> None:
    found = devices.choose(load("cortex-m7"), "serial:/dev/ttyACM0")
    assert isinstance(found, Serial) and found.port == "/dev/ttyACM0"
    assert find.device("serial:COM3", load("cortex-m4")).name == "serial:COM3"
    known = "it runs on: host, ssh://USER@HOST, rpc://TRACKER:PORT/KEY, or none"
    with pytest.raises(UserError, match=f"no device .* for host; {known}"):
        devices.choose(load("host"), "serial:/dev/ttyACM0")


def with_cycle_counter(target: Target) -> Target:
    """The target on a board with a UART of its own: unicorn's, which is ready when the cycle counter has been enabled
    (there is no such register, but DEMCR.TRCENA will do)."""
    uart = {"uart_data": "0x40004000", "uart_state": "0xE000EDFC", "uart_ready": "0x01000000"}
    return replace(target, settings={**target.settings, "serial": {"board": "board_dwt.c", **uart}})


@pytest.mark.parametrize("prefer", ["gcc", "zig"])
def test_firmware_of_a_board_with_a_cycle_counter_counts_with_it(
    tiny_on: Callable[[Target, str], Any], prefer: str, tmp_path: Path
) -> None:
    tiny = tiny_on(with_cycle_counter(load("cortex-m4")), prefer)
    text, counts = Unicorn(tiny.target, timeout_s=20).emulate(tiny.artifact, tiny.vectors)
    with terminal(text.encode()) as port:
        found = Serial(tiny.target, port, timeout_s=20).measure(tiny.artifact, tiny.vectors)
    instructions = int(counts[0, -1] - counts[0, 0])
    assert abs(found.spent["latency"] * tiny.target.clock_hz - instructions) < 40  # as far as blocks tell
