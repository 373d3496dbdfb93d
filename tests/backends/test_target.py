"""Targets are data: every file loads, and mistakes are named."""

import tomllib
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from bevel.backends import backend, target
from bevel.backends.devices.find import device, devices
from bevel.backends.program.resources import Resources
from bevel.calib.errors import UserError

NAMES = target.names()
GPUS = {name for name in NAMES if target.load(name).gpu}
LOGIC = {"artix7-35", "artix7-100", "zynq-7020", "zu3eg", "ecp5-85", "ice40-up5k"}
MICROCONTROLLERS = [name for name in NAMES if target.load(name).bare and name not in LOGIC]

EVERYWHERE = """
summary = "x"
backend = "cpu"
devices = ["host"]
[machine.aarch64]
triple = "aarch64-linux-gnu"
cpu = "generic"
[[machine.aarch64.compiler]]
kind = "zig"
flags = []
"""


@pytest.mark.parametrize("name", NAMES)
def test_every_file_is_a_complete_target(name: str) -> None:
    loaded = target.load(name)
    assert loaded.name == name and loaded.summary and loaded.triple and loaded.cpu
    kinds = {"zig"} if loaded.architecture == "wasm32" else set() if name in LOGIC else {"gcc", "zig"}
    assert {compiler.kind for compiler in loaded.compilers} == kinds
    assert [one.name for one in devices(loaded)] == list(loaded.devices)
    assert (loaded.llvm is None) == (loaded.bare or bool(loaded.gpu))


@pytest.mark.parametrize("name", MICROCONTROLLERS)
def test_the_memories_of_a_microcontroller_do_not_overlap(name: str) -> None:
    regions = sorted(target.load(name).memories, key=lambda memory: memory.origin)
    assert {"flash", "ram"} <= {region.name for region in regions}
    for region, following in pairwise(regions):
        assert region.origin + region.bytes <= following.origin


def test_the_targets_of_the_readme_exist() -> None:
    cortex_m = {"cortex-m0plus", "cortex-m4", "cortex-m7", "cortex-m33", "cortex-m55"}
    cpus = {"host", "aarch64-linux", "cortex-a72", "cortex-a76", "riscv64-linux", "rv64gcv", "wasm32"}
    assert cortex_m | cpus | {"rv32imc"} | GPUS | LOGIC == set(NAMES)


def test_an_unknown_target_is_answered_with_the_known_ones() -> None:
    with pytest.raises(UserError, match=r"no target 'm4'; known targets: .*cortex-m4, .*host"):
        target.load("m4")


def test_a_path_is_no_target(tmp_path: Path) -> None:
    (tmp_path / "x.toml").write_text(EVERYWHERE)
    with pytest.raises(UserError, match="no target"):
        target.load(str(tmp_path / "x"))


def test_a_file_with_machines_takes_the_one_it_runs_on() -> None:
    assert target.parse("t", tomllib.loads(EVERYWHERE), "aarch64").triple == "aarch64-linux-gnu"
    with pytest.raises(UserError, match="runs on aarch64; this machine is riscv64"):
        target.parse("t", tomllib.loads(EVERYWHERE), "riscv64")


@pytest.mark.parametrize("name", NAMES)
def test_a_target_names_a_backend_that_has_all_its_devices(name: str) -> None:
    loaded = target.load(name)
    assert loaded.backend in backend.names()
    assert [one.name for one in devices(loaded)] == list(loaded.devices)


def test_a_backend_that_is_not_there_is_our_mistake() -> None:
    with pytest.raises(ValueError, match=r"no backend 'abacus'; there are cortex_m, cpu, fpga, gpu"):
        backend.backend_of(replace(target.load("host"), backend="abacus"))


def test_limits_can_be_changed() -> None:
    m4 = target.load("cortex-m4").with_memory(Resources({"flash": 1000}))
    flash, ram = m4.memory("flash"), m4.memory("ram")
    assert flash is not None and flash.bytes == 1000
    assert ram == target.load("cortex-m4").memory("ram")
    with pytest.raises(UserError, match="positive"):
        m4.with_memory(Resources({"ram": 0}))
    with pytest.raises(UserError, match="ram: cortex-m4's map has room for 16,777,216"):
        m4.with_memory(Resources({"ram": 2**25}))


def test_limits_that_are_no_memories_stand_in_a_table_of_their_own() -> None:
    data = tomllib.loads(EVERYWHERE + "[limits]\nlut = 53_200\n")
    assert target.parse("t", data, "aarch64").limits == Resources({"lut": 53_200})
    m4 = target.load("cortex-m4")
    assert list(m4.limits) == ["flash", "ram"] and m4.memory("flash").bytes == m4.limits["flash"]  # type: ignore[union-attr]


def test_logic_can_be_limited_to_less_than_there_is() -> None:
    small = target.load("artix7-35").with_logic(Resources({"dsp": 40}))
    assert small.limits["dsp"] == 40 and small.limits["lut"] == 20_800
    with pytest.raises(UserError, match="91 multiplier blocks: artix7-35 has 90"):
        target.load("artix7-35").with_logic(Resources({"dsp": 91}))
    with pytest.raises(UserError, match="target cortex-m7 has no lookup tables to limit"):
        target.load("cortex-m7").with_logic(Resources({"lut": 10}))


def test_a_cpu_has_no_limits_to_change() -> None:
    with pytest.raises(UserError, match="target cortex-a76 has no ram limit"):
        target.load("cortex-a76").with_memory(Resources({"ram": 1}))


def test_a_device_that_no_module_answers_to_is_our_mistake() -> None:
    with pytest.raises(ValueError, match="unknown device 'toaster'"):
        device("toaster", target.load("host"))


@pytest.mark.parametrize(
    ("name", "why"), [("cortex-m7", "has no operating system"), ("wasm32", "shares no memory between threads")]
)
def test_a_target_without_threads_says_why(name: str, why: str) -> None:
    assert target.load(name).with_threads(1).threads == 1
    with pytest.raises(UserError, match=f"2 threads: {name} {why}, and runs one"):
        target.load(name).with_threads(2)
    assert target.load("host").with_threads(2).threads == 2
