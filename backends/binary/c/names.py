"""C identifiers from ONNX names, which hold ':', ';', '/' and anything else."""

from __future__ import annotations

import re
from collections.abc import Iterable

MAX_LENGTH = 48  # longer names are cut: a header must stay readable


def identifier(text: str) -> str:
    """`text` with every run of other characters as one '_', starting with a letter.

    It may be a word of C: whatever we generate has a prefix or a suffix.
    """
    plain = re.sub(r"[^0-9A-Za-z]+", "_", text).strip("_")[:MAX_LENGTH].rstrip("_")
    if not plain or plain[0].isdigit():
        return f"v_{plain}".rstrip("_")
    return plain


def unique_identifiers(texts: Iterable[str]) -> list[str]:
    """An identifier for each text, in order; where two would be equal (ignoring case) the later ones are numbered."""
    result: list[str] = []
    taken: set[str] = set()
    for text in texts:
        plain = name = identifier(text)
        number = 2
        while name.lower() in taken:
            name, number = f"{plain}_{number}", number + 1
        taken.add(name.lower())
        result.append(name)
    return result


def snake_case(name: str) -> str:
    """'MaxPool' as 'max_pool'."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()


def comment(text: str) -> str:
    """`text` as it may stand inside a C comment: on one line, without the comment's end."""
    return text.replace("*/", "*_/").replace("/*", "/_*").replace("\n", " ").replace("\r", " ").replace("\\", "/")
