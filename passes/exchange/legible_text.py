"""Names, notes and metadata as text that can be shown: valid UTF-8 without characters that control a terminal.

A file may hold any bytes where text belongs, and text may hold characters that are not seen but reorder what stands
around them (Unicode Technical Report 36, 2.10). Both become escapes (`node\\xbdame`, `a\\u202eb`), the same ones
wherever the name occurs, so that the graph stays as it was. A name that is legible keeps every character.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import onnx
from google.protobuf.message import Message  # type: ignore[import-untyped]

from bevel.calib.errors import UserError

NAMES = frozenset(["name", "input", "output", "dim_param", "producer_name", "doc_string", "key", "value"])


def make_legible(model: onnx.ModelProto, file: object) -> list[str]:
    """Escape what is not legible, in place; the names that changed, sorted.

    Raises UserError for an operator, a domain or a text attribute that is no UTF-8: it cannot mean anything.
    """
    changed: set[str] = set()
    for message in messages(model):
        for field, value in message.ListFields():
            if field.type != field.TYPE_STRING:
                continue
            repeated = not isinstance(value, str | bytes)
            texts = list(value) if repeated else [value]
            legible = [legible_text(text, field.name, file) for text in texts]
            if legible == texts:
                continue
            changed |= {text for text, given in zip(legible, texts, strict=True) if text != given}
            if repeated:
                del value[:]
                value.extend(legible)
            else:
                setattr(message, field.name, legible[0])
        if isinstance(message, onnx.AttributeProto):
            check_text(message, file)
    return sorted(changed)


def messages(message: Message) -> Iterator[Message]:
    """The message and all inside it."""
    yield message
    for field, value in message.ListFields():
        if field.type == field.TYPE_MESSAGE:
            for inner in [value] if isinstance(value, Message) else value:
                yield from messages(inner)


def legible_text(text: str | bytes, field: str, file: object) -> str:
    """`text` itself if it can be shown. protobuf hands out text that is no UTF-8 as bytes."""
    if isinstance(text, bytes):
        if field not in NAMES:
            raise UserError(f"{file}: {field} {text!r} is not UTF-8 text; the file is damaged, export it again")
        text = text.decode("utf-8", "backslashreplace")
    return "".join(letter if letter.isprintable() else escape(letter) for letter in text)


def escape(letter: str) -> str:
    return letter.encode("unicode_escape").decode("ascii")


def check_text(attribute: Any, file: object) -> None:
    for text in (attribute.s, *attribute.strings):
        try:
            text.decode("utf-8")
        except UnicodeDecodeError as error:
            raise UserError(
                f"{file}: attribute {attribute.name} {text!r} is not UTF-8 text; export the model again"
            ) from error
