"""Firmware that runs a model on its test vectors and reports (protocol: report.h): bare metal, Cortex-M and RISC-V.

The sources are copied into the product beside what is generated here, so that they can be read, changed and rebuilt:

    startup*.c      reset and faults of one instruction set: vector table, trap, units a core may have
    memory_image.h  variables and stack, before main
    report.c        runs, compares, counts, writes the report
    board_*.c       one byte out, one clock
    memory.c        memcpy and memset: no other library function is linked
    bevel_model.h   generated: what of these the model needs
    model.c         generated: where inputs and outputs lie in the arena
    vectors.S       generated: the section .vectors
    link.ld         generated: the target's memory map
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from math import prod
from pathlib import Path
from string import Template

import numpy as np

from bevel.backends.binary.c.ports import NamedPort, named_inputs, named_outputs
from bevel.backends.binary.objects import compiled
from bevel.backends.binary.toolchain import Toolchain
from bevel.backends.devices.base import Vectors
from bevel.backends.firmware.vectors import COUNT_BYTES, pack
from bevel.backends.program.conversions import PART
from bevel.backends.program.memory import Plan
from bevel.backends.program.program import Program
from bevel.backends.target import Memory, Target

FOLDER = "firmware"
FILE = "firmware.elf"
SOURCES = ("report.c", "memory.c", "report.h", "board.h", "memory_image.h")
STACK_BYTES = 16 * 1024
VECTORS_SECTION = ".vectors"

# The first UART of the board a target's memory map is taken from, by QEMU's name for the board. (Arm application notes
# AN386 and AN500, section "memory map"; AN547: the secure alias, as the core starts secure. virt: RISC-V,
# hw/riscv/virt.c in QEMU.)
UARTS = {"mps2-an386": 0x40004000, "mps2-an500": 0x40004000, "mps3-an547": 0x59303000, "virt": 0x10000000}

# Loops in memcpy and memset must not be recognised as memcpy and memset.
LIBRARY_FLAGS = {"gcc": ("-fno-tree-loop-distribute-patterns",), "zig": ("-fno-builtin",)}
WARNINGS = ("-Wall", "-Wextra", "-Werror")
# gcc's arithmetic helpers (64-bit division, soft float) are in libgcc; zig brings its own. No C library in either case.
LINK_FLAGS = {"gcc": ("-nostdlib", "-lgcc", "-Wl,--no-warn-rwx-segments"), "zig": ("-nostartfiles",)}


@dataclass(frozen=True)
class Family:
    """What differs from one instruction set to the next: the start-up code; the board file, unless the target's
    [device.serial] names another; and a UART's address for targets without a board, where unicorn listens."""

    startup: str
    board: str
    uart: int


FAMILIES = {
    "thumb": Family("startup.c", "board_mps.c", UARTS["mps2-an386"]),
    "riscv32": Family("startup_riscv.c", "board_virt.c", UARTS["virt"]),
}


@dataclass(frozen=True)
class FirmwareInfo:
    """`elf` and `sources` are relative to the folder that was given."""

    elf: str
    sources: tuple[str, ...]
    stack_bytes: int  # reserved; the report says how much of it was used


def uart(target: Target) -> int:
    """The address of the UART the firmware writes to."""
    machine = target.setting("qemu", "machine")
    return UARTS[machine] if machine is not None else FAMILIES[target.architecture].uart


def board_file(target: Target) -> str:
    return target.setting("serial", "board") or FAMILIES[target.architecture].board


def board_flags(target: Target) -> tuple[str, ...]:
    """Where the board's UART is, for its board file."""
    named = [(key, target.setting("serial", key)) for key in ("uart_data", "uart_state", "uart_ready")]
    given = tuple(f"-DBEVEL_{key.upper()}={int(value, 0):#x}u" for key, value in named if value)
    return given or (f"-DBEVEL_UART={uart(target):#x}u",)


def build_firmware(
    program: Program,
    plan: Plan,
    target: Target,
    toolchain: Toolchain,
    folder: Path,
    objects: Sequence[str],
    vectors: Vectors,
    stack_bytes: int = STACK_BYTES,
) -> FirmwareInfo:
    """Write folder/firmware.elf and its sources in folder/firmware.

    `objects` are the model's, `<model>_profile.o` among them, relative to `folder`, which holds `<model>.h`. Raises
    ToolError when something does not compile or link, which is our bug once the model's size has been checked.
    """
    place = folder / FOLDER
    place.mkdir()
    generated = {
        "model.c": model_source(program, plan),
        "bevel_model.h": model_header(program),
        "link.ld": link_script(target, stack_bytes),
        "vectors.S": vectors_source(data := pack(vectors, program.inputs, program.outputs, bool(program.states))),
    }
    sources = (*SOURCES, FAMILIES[target.architecture].startup, board_file(target))
    for name in sources:
        (place / name).write_bytes(files(__package__).joinpath(name).read_bytes())
    for name, text in generated.items():
        (place / name).write_text(text, encoding="utf-8")
    (place / "vectors.bin").write_bytes(data)
    own = compile_sources(toolchain, place, {board_file(target): board_flags(target)})
    names = [*(f"{FOLDER}/{name}" for name in own), *objects]
    extra = (f"-Wl,-T,{FOLDER}/link.ld", "-Wl,--gc-sections", "-Wl,-z,max-page-size=4096")
    toolchain.link(names, FILE, folder, (*extra, *LINK_FLAGS[toolchain.kind]))
    for name in own:
        (place / name).unlink()
    return FirmwareInfo(
        FILE, tuple(f"{FOLDER}/{name}" for name in sorted((*sources, *generated, "vectors.bin"))), stack_bytes
    )


def compile_sources(toolchain: Toolchain, place: Path, flags: Mapping[str, tuple[str, ...]]) -> list[str]:
    """Compile every C and assembly source in `place` and return the objects' names."""
    own = {"model.c": ("-I..",), "memory.c": LIBRARY_FLAGS[toolchain.kind], **flags}
    reads = {"model.c": (*place.parent.glob("*.h"), place / "bevel_model.h"), "vectors.S": (place / "vectors.bin",)}
    sources = sorted(path.name for path in place.iterdir() if path.suffix in (".c", ".S"))
    return [
        compiled(
            toolchain, source, place, (*WARNINGS, *own.get(source, ())), reads.get(source, (place / "bevel_model.h",))
        )
        for source in sources
    ]


def model_header(program: Program) -> str:
    """bevel_model.h: what of report.c the model needs."""
    return f"""\
/* Generated by bevel. */
#define BEVEL_STATES {int(bool(program.states))} /* whether a run remembers the one before */
"""


def model_source(program: Program, plan: Plan) -> str:
    """model.c: the struct bevel_model that report.c works on."""
    name = program.name
    reset = f"    .reset = {name}_reset,\n" if program.states else ""
    return f"""\
/* Generated by bevel: where {name} finds its inputs and leaves its outputs. */
#include "../{name}.h"
#include "../{name}_kernels.h"
#include "report.h"

_Static_assert(BEVEL_PART >= {PART}, "an output's elements come {PART} at a time");

void {name}_run_profiled(void *arena, void (*after)(int call));

static uint8_t arena[{max(plan.arena_bytes, 1)}] __attribute__((aligned(16), section(".arena")));
static uint64_t call_ticks[{max(len(program.calls), 1)}];

static const struct bevel_tensor inputs[] = {{
{tensors(named_inputs(program), plan, ".set = " + name + "_set_input_{}")}
}};
static const struct bevel_tensor outputs[] = {{
{tensors(named_outputs(program), plan, ".get = " + name + "_get_output_{}_part")}
}};

const struct bevel_model bevel_model = {{
    .name = "{name}",
{reset}    .run = {program.entry},
    .run_profiled = {name}_run_profiled,
    .arena = arena,
    .inputs = inputs,
    .outputs = outputs,
    .input_count = {len(program.inputs)},
    .output_count = {len(program.outputs)},
    .calls = {len(program.calls)},
    .call_ticks = call_ticks,
}};
"""


def tensors(ports: Sequence[NamedPort], plan: Plan, converter: str) -> str:
    return "\n".join(f"    {{{tensor(one, plan, converter)}}}," for one in ports)


def tensor(one: NamedPort, plan: Plan, converter: str) -> str:
    """A port's initializer. `converter`: of the function that converts it, with a place for the port's name."""
    port = one.port
    item = np.dtype(port.dtype).itemsize
    place = converter.format(one.plain) if one.conversions else f".offset = {plan.offsets[port.buffer]}"
    return f"{place}, .bytes = {prod(port.shape) * item}, .element_bytes = {item}"


def vectors_source(data: bytes) -> str:
    """vectors.S. It names its contents by hash because zig's cache does not look into files that are included so."""
    count = int.from_bytes(data[:COUNT_BYTES], "little")
    return f"""\
/* Generated by bevel: {count} test vectors, sha256 {hashlib.sha256(data).hexdigest()} */
    .section {VECTORS_SECTION}, "a", %progbits
    .balign 8
    .global bevel_vectors
bevel_vectors:
    .incbin "vectors.bin"
"""


def link_script(target: Target, stack_bytes: int) -> str:
    """The target's memory map. The vector table goes to `boot` where a core does not start in flash; test vectors go
    to flash where there is no region for them."""
    present = {memory.name for memory in target.memories}
    return Template(files(__package__).joinpath("link.ld.in").read_text(encoding="utf-8")).substitute(
        target=target.name,
        memories="\n".join(region(memory) for memory in target.memories),
        boot="boot" if "boot" in present else "flash",
        vectors="vectors" if "vectors" in present else "flash",
        stack_bytes=stack_bytes,
    )


def region(memory: Memory) -> str:
    access = "rwx" if memory.name == "ram" else "rx"
    return f"  {memory.name} ({access}) : ORIGIN = {memory.origin:#010x}, LENGTH = {memory.bytes:#010x}"
