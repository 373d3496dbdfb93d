"""From a recipe's tables to its passes: each is found by its name, and its options are the fields of its dataclass."""

from __future__ import annotations

import math
import pkgutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from functools import cache
from importlib import import_module
from inspect import isabstract
from typing import Any, Literal, get_args, get_origin, get_type_hints

import onnx_graphsurgeon as gs

import bevel.passes
from bevel.calib.errors import UserError
from bevel.calib.observe.observe import Wanted
from bevel.passes.base import COMMAND, Pass, Stage, Work
from bevel.passes.pipeline import Pipeline
from bevel.passes.recipes import WrittenRecipe

STAGES: tuple[Stage, ...] = get_args(Stage)
# Without these there is no integer model
NEEDED = ("assign-schemes", "plan-scales", "round-weights", "insert-qdq", "integerize")
CORRECTION = "correct-bias"
CORRECTED = "corrected"  # the option of passes that do another thing where biases are corrected


@dataclass(frozen=True)
class Recipe:
    """The passes that make the integer model of a canonical float one, in order."""

    name: str
    passes: tuple[Pass, ...]

    def run(self, stage: Stage, work: Work) -> Work:
        """`work` after the recipe's passes of that stage."""
        return Pipeline([one for one in self.passes if one.stage == stage])(work).work

    def wants(self, graph: gs.Graph) -> Wanted:
        """What its passes need to be observed of `graph`, canonical and float."""
        return Pipeline(self.passes).wants(graph)

    def with_option(self, pass_: str, option: str, value: object, said: str) -> Recipe:
        """The same with another value of one option. said: where that stands, for a refusal."""
        if pass_ not in known_passes():
            raise UserError(f"{said}: no pass {pass_!r}; known passes: {', '.join(known_passes())}")
        if all(one.name != pass_ for one in self.passes):
            raise UserError(
                f"{said} is for pass {pass_}, which recipe {self.name} has not; it has {listed(self.passes)}"
            )
        changed = [with_options(one, {option: value}, said) if one.name == pass_ else one for one in self.passes]
        return replace(self, passes=tuple(changed))

    def with_fields(self, kind: type[Pass], **fields: object) -> Recipe:
        """The same with other fields of the passes of that kind, those that are set for each run included."""
        return replace(self, passes=tuple(replace(one, **fields) if type(one) is kind else one for one in self.passes))

    def without(self, pass_: str) -> Recipe:
        return replace(self, passes=tuple(one for one in self.passes if one.name != pass_))

    def uncorrected(self) -> Recipe:
        """The same without bias correction."""
        passes = self.without(CORRECTION).passes
        told = [with_options(one, {CORRECTED: False}, CORRECTION) if is_told(one) else one for one in passes]
        return replace(self, passes=tuple(told))

    @property
    def corrects(self) -> bool:
        return any(one.name == CORRECTION for one in self.passes)


def every_pass() -> list[type[Pass]]:
    """All that there are, in recipes or not: they are found by their files."""
    for module in pkgutil.walk_packages(bevel.passes.__path__, f"{bevel.passes.__name__}."):
        import_module(module.name)
    ours = (one for one in subclasses(Pass) if one.__module__.startswith(f"{bevel.passes.__name__}."))
    return [one for one in ours if not isabstract(one)]


@cache
def known_passes() -> dict[str, type[Pass]]:
    """Every pass that a recipe may name, by its name, in the order of the stages."""
    found = {one.name: one for one in every_pass() if one.stage is not None}
    return dict(sorted(found.items(), key=lambda pair: (STAGES.index(stage_of(pair[1])), pair[0])))


def subclasses(cls: type[Any]) -> Iterable[type[Pass]]:
    for one in cls.__subclasses__():
        yield one
        yield from subclasses(one)


def stage_of(one: type[Pass]) -> Stage:
    assert one.stage is not None
    return one.stage


def build(recipe: WrittenRecipe) -> Recipe:
    """Raises UserError for a pass or an option that there is not, and for an order that cannot work."""
    where = f"recipe {recipe.name}"
    passes: list[Pass] = []
    for step in recipe.steps:
        name = str(step["name"])
        if name not in known_passes():
            raise UserError(f"{where}: no pass {name!r}; known passes: {', '.join(known_passes())}")
        options = {key: value for key, value in step.items() if key != "name"}
        passes.append(with_options(known_passes()[name](), options, where))
    made = Recipe(recipe.name, tuple(passes))
    check_order(made, where)
    return made


def check_order(recipe: Recipe, where: str) -> None:
    names = [one.name for one in recipe.passes]
    if missing := [name for name in NEEDED if name not in names]:
        raise UserError(f"{where} lacks {', '.join(missing)}: no integer model comes of it")
    if twice := [name for place, name in enumerate(names) if name in names[:place]]:
        raise UserError(f"{where} names {twice[0]} twice")
    for place, one in enumerate(recipe.passes):
        stage = STAGES.index(stage_of(type(one)))
        late = [
            other.name
            for other in recipe.passes[place + 1 :]
            if STAGES.index(stage_of(type(other))) < stage or other.name in one.follows
        ]
        if late:
            raise UserError(f"{where}: {late[0]} must stand before {one.name}")
        if getattr(one, CORRECTED, recipe.corrects) != recipe.corrects:
            has = "a" if recipe.corrects else "no"
            said = f"{one.name} has corrected = {str(not recipe.corrects).lower()}"
            raise UserError(f"{where}: {said}, and {has} {CORRECTION} follows")


# Options


def with_options(one: Pass, options: Mapping[str, object], where: str) -> Pass:
    """The pass with some of its fields set. Raises UserError for names and values that it does not take."""
    hints = options_of(type(one))
    for key, value in options.items():
        if key not in hints:
            takes = f"it has {', '.join(hints)}" if hints else "it has none"
            raise UserError(f"{where}: pass {one.name} has no option {key!r}; {takes}")
        if not is_of(value, hints[key]):
            raise UserError(f"{where}: pass {one.name}, {key} = {value!r}: give {called(hints[key])}")
    return replace(one, **options)


@cache
def options_of(cls: type[Pass]) -> Mapping[str, Any]:
    """{option: its type} of a pass, in the order of its fields."""
    hints = get_type_hints(cls)
    return {one.name: hints[one.name] for one in fields(cls) if one.metadata != COMMAND}


def is_told(one: Pass) -> bool:
    """Whether it does another thing where biases are corrected."""
    return CORRECTED in options_of(type(one))


def is_of(value: object, wanted: Any) -> bool:
    if get_origin(wanted) is Literal:
        return value in get_args(wanted)
    if wanted is int:
        return isinstance(value, int) and not isinstance(value, bool) and value >= 0
    if wanted is float:
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return type(value) is wanted


def called(wanted: Any) -> str:
    if get_origin(wanted) is Literal:
        return f"one of {', '.join(map(str, get_args(wanted)))}"
    return {int: "a whole number from 0", float: "a number", bool: "true or false", str: "a text"}[wanted]


def listed(passes: Iterable[Pass]) -> str:
    return ", ".join(one.name for one in passes)
