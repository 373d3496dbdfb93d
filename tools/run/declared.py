"""How a dataclass declares options: once, for the command line, for Python, and for the texts about both.

A field whose type says it all carries its `Option` as metadata. A field that takes several forms of one thing
(`"64k"` or `65536`) is a `Parsed`, which keeps one of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import MISSING, dataclass, fields
from typing import Any, Generic, TypeVar, overload

from bevel.calib.errors import UserError

METADATA = "option"

Given = TypeVar("Given", contravariant=True)
Kept = TypeVar("Kept", covariant=True)


@dataclass(frozen=True)
class Whole:
    """Integers from `least` to `most`."""

    least: int
    most: int

    def holds(self, value: object) -> bool:
        return isinstance(value, int) and not isinstance(value, bool) and self.least <= value <= self.most

    def __str__(self) -> str:
        return f"a whole number from {self.least} to {self.most}"


@dataclass(frozen=True)
class Real:
    """Finite numbers from `least` to `most`, where there is a most."""

    least: float
    most: float | None = None

    def holds(self, value: object) -> bool:
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            return False
        return self.least <= value and (self.most is None or value <= self.most)

    def __str__(self) -> str:
        return f"a number from {self.least:g}" + (f" to {self.most:g}" if self.most is not None else " up")


@dataclass(frozen=True)
class Option:
    """What people are told about a field, and what it may hold: one of `choices`, a number `within`, or any text.

    metavar: what stands for the value in a help text; short: a second flag, of one letter; file: it names one;
    repeated: it may be given several times; sets: the PASS.OPTION of the recipe that it replaces, where it is given.
    """

    help: str | None = None
    metavar: str | None = None
    short: str | None = None
    choices: tuple[str, ...] = ()
    within: Whole | Real | None = None
    file: bool = False
    repeated: bool = False
    sets: str | None = None


@dataclass(frozen=True)
class Declared:
    """An option as it is called; `default` is MISSING where it must be given."""

    name: str
    option: Option
    default: Any

    @property
    def flag(self) -> str:
        """As the command line calls it: what is on unless told otherwise has a flag that turns it off."""
        return f"--{'no-' if self.default is True else ''}{self.name.replace('_', '-')}"

    def check(self, value: object) -> None:
        """Raises UserError for what the field cannot hold."""
        if value is None and self.default is None:
            return
        if self.option.choices:
            right, wanted = value in self.option.choices, f"one of {', '.join(self.option.choices)}"
        elif self.option.within is not None:
            right, wanted = self.option.within.holds(value), str(self.option.within)
        elif isinstance(self.default, bool):
            right, wanted = isinstance(value, bool), "True or False"
        else:
            right, wanted = isinstance(value, str), "a text"
        if not right:
            called = self.name if self.default is True else self.flag
            raise UserError(f"{called} {value!r}: give {wanted}")


class Parsed(Generic[Given, Kept]):
    """A field that takes what `parse` takes and keeps what it returns, which `parse` must take as well.

    The descriptor of a dataclass's field: what is given goes through `__set__`. Without a default it must be given.
    """

    def __init__(self, parse: Callable[[Given], Kept], option: Option, default: Any = MISSING) -> None:
        self.parse, self.option, self.default = parse, option, default

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    @overload
    def __get__(self, holder: None, owner: type) -> Kept: ...

    @overload
    def __get__(self, holder: object, owner: type) -> Kept: ...

    def __get__(self, holder: object | None, owner: type) -> Any:
        if holder is not None:
            return vars(holder)[self.name]
        if self.default is MISSING:
            raise AttributeError(self.name)  # dataclasses then ask for it
        return self.default

    def __set__(self, holder: object, given: Given) -> None:
        vars(holder)[self.name] = self.parse(given)


def declared_by(cls: type) -> dict[str, Declared]:
    """{name: option} of a dataclass, in the order of its fields; other fields are left out."""
    found = {}
    for field in fields(cls):
        kept = vars(cls).get(field.name)
        option = kept.option if isinstance(kept, Parsed) else field.metadata.get(METADATA)
        if option is not None:
            found[field.name] = Declared(field.name, option, field.default)
    return found


def check_plain(holder: Any) -> None:
    """Raises UserError where a field that is not `Parsed` holds what its option does not allow."""
    cls = type(holder)
    for name, one in declared_by(cls).items():
        if not isinstance(vars(cls).get(name), Parsed):
            one.check(getattr(holder, name))
