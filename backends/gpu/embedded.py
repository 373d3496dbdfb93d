"""Kernels inside a product's C: as the strings of their source, or as the bytes of their machine code."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

LITERAL = 4000  # characters of a string that every compiler of C11 takes
LINE = 24  # bytes on a line


@dataclass(frozen=True)
class Embedded:
    """What the product's files see of it, and the file that defines that."""

    declaration: str
    definition: str


def strings(model: str, parts: Sequence[str]) -> Embedded:
    """Source, as `<model>_source`: each part, where it is not too long for one, a string of its own."""
    several = [short for part in parts for short in cut(part)]
    quoted = ["\n".join(f"    {json.dumps(line)}" for line in one.splitlines(keepends=True)) for one in several]
    text = ",\n".join(quoted) or '    ""'
    return Embedded(
        f"#define {model}_SOURCES {len(several)}u\nextern const char *const {model}_source[{max(len(several), 1)}];",
        f'#include "{model}_device.h"\n\nconst char *const {model}_source[] = {{\n{text},\n}};\n',
    )


def cut(text: str) -> Iterator[str]:
    """A text in parts of whole lines, none longer than a literal may be but where a line is."""
    part = ""
    for line in text.splitlines(keepends=True):
        if part and len(part) + len(line) > LITERAL:
            yield part
            part = ""
        part += line
    if part:
        yield part


def image(model: str, data: bytes) -> Embedded:
    """Machine code, as `<model>_image`."""
    rows = [data[first : first + LINE] for first in range(0, len(data), LINE)] or [b"\0"]
    text = ",\n".join(",".join(map(str, row)) for row in rows)
    size = max(len(data), 1)
    aligned = "__attribute__((aligned(64)))"
    return Embedded(
        f"extern const unsigned char {model}_image[{size}];",
        f'#include "{model}_device.h"\n\n{aligned} const unsigned char {model}_image[] = {{\n{text}}};\n',
    )
