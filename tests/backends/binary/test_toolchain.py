"""Compilers are found, named, and give equal bytes for equal input, wherever they run."""

import shutil
from pathlib import Path

import pytest

from bevel.backends.binary import elf, toolchain
from bevel.backends.binary.toolchain import Preference, Toolchain, ToolError
from bevel.backends.target import Compiler, Target, load
from bevel.calib.errors import UserError

SOURCE = """
static const int table[4] = {1, 2, 3, 4};
int counter = 5;
int zeros[100];
int look(int i) { return table[i & 3] + __LINE__ + sizeof(__FILE__) + counter + zeros[i]; }
"""


def host(prefer: Preference) -> Toolchain:
    if prefer == "gcc" and not shutil.which("gcc"):
        pytest.skip("gcc is not installed")
    return toolchain.for_target(load("host"), prefer)


def library(tools: Toolchain, folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "look.c").write_text(SOURCE)
    return tools.archive([tools.compile("look.c", folder)], "liblook.a", folder)


@pytest.mark.parametrize("prefer", ["gcc", "zig"])
def test_two_folders_give_the_same_library(prefer: Preference, tmp_path: Path) -> None:
    tools = host(prefer)
    one, other = library(tools, tmp_path / "one"), library(tools, tmp_path / "a" / "longer" / "path")
    assert one.read_bytes() == other.read_bytes()
    assert str(tmp_path).encode() not in one.read_bytes()


def test_an_object_is_read_back(tmp_path: Path) -> None:
    tools = host("zig")
    library(tools, tmp_path / "x")
    read = elf.read(tmp_path / "x" / "look.o")
    symbol = read.find("look")
    assert symbol is not None and symbol.function and symbol.size > 0
    assert read.find("look_elsewhere") is None
    sections = {section.name: section for section in read.sections}
    assert sections[".bss.zeros"].size == 400 and not sections[".bss.zeros"].has_bytes
    assert read.bytes_of(sections[".data.counter"]) == b"\5\0\0\0"
    assert sections[".data.counter"].writable and not sections[".text.look"].writable


def test_a_32_bit_program_is_read_back(tmp_path: Path) -> None:
    tools = toolchain.for_target(load("cortex-m4"), "zig")
    (tmp_path / "p.c").write_text(f"{SOURCE} void _start(void) {{ counter = look(counter); }}")
    elf_file = tools.link([tools.compile("p.c", tmp_path)], "p.elf", tmp_path, ("-nostdlib",))
    read = elf.read(elf_file)
    start = read.find("_start")
    assert start is not None and start.address == read.entry and start.address & 1
    code = next(s for s in read.segments if s.address <= read.entry < s.address + s.memory_size)
    assert len(code.data) == code.memory_size


def test_a_library_of_zigs_links_with_gcc_and_its_c_library_without_a_warning(tmp_path: Path) -> None:
    target = load("cortex-m7")
    assert library(toolchain.for_target(target, "zig"), tmp_path / "lib").exists()
    names = [section.name for section in elf.read(tmp_path / "lib" / "look.o").sections]
    assert ".text.look" in names and ".note.GNU-stack" not in names
    gcc = toolchain.find(target.compilers[0], bare=True)
    if gcc is None:
        pytest.skip("arm-none-eabi-gcc is not installed")
    (tmp_path / "lib" / "main.c").write_text("int look(int i); int main(void) { return look(3); }")
    strict = ("-Wl,--fatal-warnings", "-specs=nosys.specs")
    gcc.link([gcc.compile("main.c", tmp_path / "lib"), "liblook.a"], "main.elf", tmp_path / "lib", strict)


def test_a_section_is_taken_out_of_an_object(tmp_path: Path) -> None:
    tools = host("zig")
    library(tools, tmp_path / "x")
    before = elf.read(tmp_path / "x" / "look.o")
    after = elf.Elf(elf.without_sections(before.data, ".bss.zeros"))
    assert {section.name for section in before.sections} - {section.name for section in after.sections} == {
        ".bss.zeros"
    }
    assert after.symbols == before.symbols


def test_other_files_are_no_elf(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"hello, this is text")
    with pytest.raises(ValueError, match="not a little-endian ELF"):
        elf.read(tmp_path / "x")


def test_zig_stands_in_where_no_gcc_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    which = shutil.which
    monkeypatch.setattr(shutil, "which", lambda name: None if "gcc" in name or name == "cc" else which(name))
    found = toolchain.for_target(load("cortex-m7"))
    assert found.kind == "zig" and found.version.startswith("zig ")


def test_a_target_without_a_compiler_is_named() -> None:
    target = Target("t", "", "cpu", "x86_64-linux-gnu", "x", (Compiler("gcc", (), ("no-such-gcc",)),), ())
    with pytest.raises(UserError, match="no C compiler for t: tried no-such-gcc, gcc; `pip install ziglang`"):
        toolchain.for_target(target)


def test_code_that_does_not_compile_keeps_the_compilers_words(tmp_path: Path) -> None:
    (tmp_path / "wrong.c").write_text("int f(void) { return nothing; }")
    with pytest.raises(ToolError, match=r"wrong\.c(.|\n)*nothing"):
        host("zig").compile("wrong.c", tmp_path)


def test_a_full_disk_is_the_users_to_put_right(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="the disk is full: could not write to"):
        toolchain.run(("sh", "-c", "echo 'cannot write: No space left on device' >&2; exit 1"), tmp_path)


def test_a_disk_without_room_explains_a_tool_that_died_silently(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**9, 10**9 - 100, 100))
    with pytest.raises(UserError, match="the disk is full"):
        toolchain.run(("sh", "-c", "exit 1"), tmp_path)


def test_every_tool_is_listed_found_or_not() -> None:
    listed = {tool.name: tool for tool in toolchain.tools()}
    assert {"tvm", "zig", "gcc", "arm-none-eabi-gcc", "riscv64-linux-gnu-gcc", "unicorn"} <= set(listed)
    assert {"qemu-system-arm", "qemu-aarch64", "qemu-riscv64"} <= set(listed)
    assert listed["tvm"].found and all(tool.enables for tool in listed.values())


def test_a_tool_that_is_not_there_has_no_version() -> None:
    assert toolchain.printed_version("no-such-tool") is None
    assert toolchain.gcc_version("no-such-gcc") is None
    assert toolchain.wheel_version("no-such-wheel") is None


def test_the_first_use_of_zig_is_told_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(toolchain, "cache_folder", lambda: tmp_path)
    zig = host("zig")
    assert zig.first_use().startswith(f"first build with {zig.version}")
    zig.used()
    assert zig.first_use() == "" and toolchain.for_target(load("cortex-m4"), "zig").first_use() != ""


def test_a_gcc_that_finds_no_headers_of_a_c_library_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(toolchain, "has_headers", lambda command: False)
    assert toolchain.for_target(load("host")).kind == "zig"
