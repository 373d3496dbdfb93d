"""The options as click takes them, and what click has not: numbers that are numbers, and what a shell may complete."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import MISSING
from pathlib import Path
from typing import Any, TypeVar

import click
from click.shell_completion import CompletionItem

from bevel.tools.run import options
from bevel.tools.run.declared import Declared, Option, Real, Whole, declared_by

COUNT = click.IntRange(options.COUNT.least, options.COUNT.most)
PATH = click.Path(path_type=Path)
DECLARED = declared_by(options.Options)

Command = TypeVar("Command", bound=Callable[..., Any])


class Finite(click.FloatRange):
    """A number within bounds: nan is within any for click, and inf beyond none."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        number = float(super().convert(value, param, ctx))
        if not math.isfinite(number):
            self.fail(f"{value} is no finite number", param, ctx)
        return number


def parameter(name: str, **changes: Any) -> Callable[[Command], Command]:
    """An option of `optimize` for a command, by its declaration and what `changes` of click's settings."""
    one = DECLARED[name]
    flags = [flag for flag in (one.option.short, one.flag) if flag]
    return click.option(*flags, _argument(one), **_settings(one) | changes)


def parameters(command: Command) -> Command:
    """All options of `optimize`, in their order."""
    for name in reversed(DECLARED):
        command = parameter(name)(command)
    return command


def given_by(arguments: dict[str, Any]) -> dict[str, Any]:
    """What click calls a command with, by the names of `Options`."""
    named = {_argument(one): one for one in DECLARED.values()}
    return {named[key].name: not value if named[key].default is True else value for key, value in arguments.items()}


def _argument(one: Declared) -> str:
    return one.flag.removeprefix("--").replace("-", "_")


def _settings(one: Declared) -> dict[str, Any]:
    settings: dict[str, Any] = {"help": one.option.help, "metavar": one.option.metavar, "type": _type(one.option)}
    if one.name in COMPLETIONS:
        settings["shell_complete"] = COMPLETIONS[one.name]
    if one.default is MISSING:
        return settings | {"required": True}
    if isinstance(one.default, bool):
        return settings | {"is_flag": True}
    if one.option.repeated:
        return settings | {"multiple": True}
    if one.default is None or one.default == ():
        return settings
    return settings | {"default": one.default, "show_default": True}


def _type(option: Option) -> click.ParamType[Any] | None:
    match option:
        case Option(choices=(_, *_)):
            return click.Choice(option.choices)
        case Option(within=Whole(least, most)):
            return click.IntRange(least, most)
        case Option(within=Real(least=low, most=high)):
            return Finite(low, high)
    return PATH if option.file else None


def complete_targets(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    from bevel.backends.target import names

    return [name for name in names() if name.startswith(incomplete)]


def complete_samples(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """`random`, or whatever file the shell knows."""
    if incomplete and "random".startswith(incomplete):
        return [CompletionItem("random")]
    return [CompletionItem(incomplete, type="file")]


COMPLETIONS = {"target": complete_targets, "calib": complete_samples}
