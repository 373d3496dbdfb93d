"""What TVM's generator of C remembers of values, and for how long it holds.

It writes each operand of a minimum and a maximum into a variable (`int32_t v__1 = ...;`, CodeGenCHost in
src/target/source/codegen_c_host.cc) and takes that again wherever the same text follows in the same block: also behind
a store to what the text reads, as sums that are made anew for the last outputs of a row. Here such variables hold until
the next statement; behind it they are computed again. Compilers join what did not change in between.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

DECLARED = re.compile(r"^(?P<indent> *)(?P<type>\w+) (?P<name>v_(?:_\d+)?(?:_again_\d+)?) = (?P<value>.*);$")
READ = re.compile(r"\bv_(?:_\d+)?(?:_again_\d+)?\b")


def computed_anew(source: str) -> str:
    """C of TVM, a statement a line, in which no variable of its own is read behind another statement."""
    values: dict[str, tuple[str, str]] = {}  # type and value
    names: dict[str, str] = {}  # of what holds until the next statement
    lines: list[str] = []
    copies = 0

    def anew(text: str, indent: str) -> Iterator[str]:
        """Declarations of what `text` reads and holds no more."""
        nonlocal copies
        for name in dict.fromkeys(READ.findall(text)):
            if name in values and name not in names:
                kind, value = values[name]
                yield from anew(value, indent)
                copies += 1
                names[name] = f"{name}_again_{copies}"
                yield f"{indent}{kind} {names[name]} = {READ.sub(renamed, value)};"

    def renamed(match: re.Match[str]) -> str:
        return names.get(match[0], match[0])

    for line in source.split("\n"):
        found = DECLARED.match(line)
        if found is None:
            lines += anew(line, line[: len(line) - len(line.lstrip())])
            lines.append(READ.sub(renamed, line))
            names.clear()
            continue
        lines += anew(found["value"], found["indent"])
        values[found["name"]] = found["type"], found["value"]
        value = READ.sub(renamed, found["value"])
        names[found["name"]] = found["name"]
        lines.append(f"{found['indent']}{found['type']} {found['name']} = {value};")
    return "\n".join(read(lines))


def read(lines: list[str]) -> list[str]:
    """`lines` without variables that nothing behind them reads."""
    kept: list[str] = []
    names: set[str] = set()
    for line in reversed(lines):
        found = DECLARED.match(line)
        if found is None or found["name"] in names:
            names.update(READ.findall(line if found is None else found["value"]))
            kept.append(line)
    return kept[::-1]
