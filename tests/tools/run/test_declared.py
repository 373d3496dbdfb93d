"""Options stand once: what the command line takes, what a dataclass keeps, and what both refuse."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, fields, replace
from pathlib import Path
from typing import Any

import click
import pytest

from bevel.backends.program.resources import Resources
from bevel.calib.errors import UserError
from bevel.tools.command import optimize
from bevel.tools.command.parameters import DECLARED, given_by, parameter
from bevel.tools.run.budgets import Budgets
from bevel.tools.run.options import Options

SHOWN = {"model", "as_json", "quiet", "verbose", "version", "help"}  # how the command begins and what it prints


def options(**given: Any) -> Options:
    return Options(Path("m.onnx"), **{"target": "host", "output": "out"} | given)


def parsed(*words: str) -> Options:
    """What the command line makes of `words`."""
    context = optimize.command.make_context("optimize", ["m.onnx", "--target", "host", "-o", "out", *words])
    return Options(Path("m.onnx"), **given_by({key: one for key, one in context.params.items() if key not in SHOWN}))


def test_the_command_line_has_every_option_in_order_and_no_other() -> None:
    flags = [max(one.opts, key=len) for one in optimize.command.params if one.name not in SHOWN]
    assert flags == [one.flag for one in DECLARED.values()]
    assert [field.name for field in fields(Options)] == ["model", *DECLARED, "command"]


def test_nothing_given_is_the_same_in_both() -> None:
    assert parsed() == options()


@pytest.mark.parametrize(
    ("words", "given"),
    [
        ("--calib random", {"calib": "random"}),
        ("--calib a.npz --eval b.npz", {"calib": Path("a.npz"), "eval": "b.npz"}),
        ("--dim seq=256 --dim a=2", {"dim": {"seq": 256, "a": 2}}),
        ("--dim seq=256", {"dim": ["seq=256"]}),
        ("--max-flash 64k --max-drop 0.5 --eval b.npz", {"max_flash": 65536, "max_drop": 0.5, "eval": "b.npz"}),
        ("--max-latency 3Mi", {"max_latency": Resources({"instructions": 3_000_000})}),
        ("--formats int8,int4", {"formats": ["int8", "int4"]}),
        ("--no-bias-correction", {"bias_correction": False}),
        ("--switchable 8,4,2", {"switchable": (2, 4, 8)}),
        ("--outputs-at a --outputs-at b", {"outputs_at": ["a", "b"]}),
        ("--outputs-at a", {"outputs_at": "a"}),
        ("--flash 2M --ram 65536", {"flash": "2M", "ram": 65536}),
        ("--format-file f.toml --tune-database t.json", {"format_file": "f.toml", "tune_database": Path("t.json")}),
    ],
)
def test_words_and_values_mean_the_same(words: str, given: dict[str, Any]) -> None:
    assert parsed(*words.split()) == options(**given)


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ({"vectors": 0}, "--vectors 0: give a whole number from 1 to 2147483647"),
        ({"batch": True}, "--batch True: give a whole number"),
        ({"seed": "1"}, "--seed '1': give a whole number"),
        ({"min_accuracy": 2}, "--min-accuracy 2: give a number from 0 to 1"),
        ({"min_sqnr": float("nan")}, "--min-sqnr nan: give a number from 0 up"),
        ({"inputs": "uint9"}, "--inputs 'uint9': give one of float, quantized, uint8"),
        ({"range": ["mse"]}, "--range"),
        ({"bias_correction": "no"}, "bias_correction 'no': give True or False"),
        ({"weights": 3}, "--weights 3: give a text"),
        ({"name": b"m"}, "--name b'm': give a text"),
        ({"flash": 0}, "0 is not a memory size"),
        ({"max_ram": 1.5}, "1.5 is not a memory size"),
        ({"output": 3}, "3 is no path"),
        ({"switchable": (9,)}, "--switchable 8,9: write 8 and other widths"),
        ({"dim": {"seq": 0}}, "--dim seq=0: write NAME=N"),
        ({"dim": {"seq": 1.5}}, "--dim seq=1.5: write NAME=N"),
        ({"dim": 3}, "--dim 3: write NAME=N"),
        ({"max_latency": 3}, "3 is no latency"),
        ({"formats": ("int8", "")}, "--formats int8,: write names"),
    ],
)
def test_what_an_option_cannot_hold_is_refused_by_name(given: dict[str, Any], line: str) -> None:
    with pytest.raises(UserError) as caught:
        options(**given)
    assert str(caught.value).startswith(line)


@pytest.mark.parametrize("missing", ["target", "output"])
def test_what_must_be_given_is_asked_for(missing: str) -> None:
    given = {"target": "host", "output": "out"}
    del given[missing]
    with pytest.raises(TypeError, match=missing):
        Options(Path("m.onnx"), **given)


def test_what_was_parsed_can_be_given_again_and_stays() -> None:
    every = options(
        calib="random", dim={"a": 1}, max_flash="64k", max_latency="2ms", formats="int4", switchable="8,2", max_drop=1
    )
    assert replace(every) == every and replace(every, weights="int4").max_flash == 65536
    assert every.budgets == Budgets(Resources({"flash": 65536, "latency": 0.002}), drop=0.01)
    with pytest.raises(FrozenInstanceError):
        every.max_flash = 1  # type: ignore[misc]


def test_other_commands_repeat_a_declaration_with_changes() -> None:
    @click.command()
    @parameter("tune", help="Another text.")
    def command(**given: Any) -> None: ...

    assert command.params[0].opts == ["--tune"]
    assert isinstance(command.params[0], click.Option) and command.params[0].help == "Another text."
    assert isinstance(command.params[0].type, click.IntRange)
