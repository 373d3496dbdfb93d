"""What the command line gives stands in place of the recipe's options."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from bevel.calib.errors import UserError
from bevel.passes.assign.assign_schemes import AssignSchemes
from bevel.passes.base import Pass
from bevel.passes.integerize.integerize import ToIntegers
from bevel.passes.integerize.prune_channels import PruneConstantChannels
from bevel.passes.quantize.choose_rounders import RoundWeights
from bevel.passes.quantize.widen_activations import WidenActivations
from bevel.passes.recipes.build import known_passes, options_of
from bevel.tools.run.declared import declared_by
from bevel.tools.run.options import Options
from bevel.tools.run.recipe import recipe_of


def options(**given: Any) -> Options:
    return Options(Path("m.onnx"), target="cortex-m7", output="out", **given)


def found(cls: type[Pass], **given: Any) -> Any:
    (one,) = (one for one in recipe_of(options(**given)).passes if isinstance(one, cls))
    return one


def test_without_options_the_recipe_is_the_default_of_every_pass() -> None:
    assert all(one == type(one)() for one in recipe_of(options()).passes)


def test_an_option_of_the_command_line_wins_over_the_recipes() -> None:
    assert found(AssignSchemes, recipe="minmax").range == "minmax"
    assert found(AssignSchemes, recipe="minmax", range="mse").range == "mse"
    assert found(AssignSchemes, recipe="int16x8", weights="int4") == AssignSchemes("int4", "int16", "minmax")
    assert found(RoundWeights, recipe="minmax", rounding="auto") == RoundWeights("auto", corrected=False)
    assert found(ToIntegers, outputs="quantized", inputs="uint8") == ToIntegers("float", "quantized")
    assert found(AssignSchemes, format_file="f.toml").file == "f.toml"


def test_any_option_of_any_pass_can_be_given() -> None:
    assert found(PruneConstantChannels, pass_option="prune-constant-channels.together=8").together == 8
    assert found(RoundWeights, pass_option=["round-weights.rounding=nearest"]).rounding == "nearest"


def test_what_an_option_sets_is_an_option_of_a_pass() -> None:
    sets = [one.option.sets for one in declared_by(Options).values() if one.option.sets]
    assert len(sets) == 7
    for name, option in (one.split(".") for one in sets):
        assert option in options_of(known_passes()[name])


def test_a_product_of_several_widths_has_int8_activations() -> None:
    passes = recipe_of(options(switchable="8,4")).passes
    assert not any(isinstance(one, WidenActivations) for one in passes)


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ({"pass_option": "nothing"}, "--pass-option nothing: write PASS.OPTION=VALUE"),
        (
            {"pass_option": "clamp.gain=2"},
            "--pass-option clamp.gain=2: no pass 'clamp'; known passes: branch-low-rank,",
        ),
        ({"pass_option": "switch-widths.bits='8,4'"}, "bits = '8,4': write widths from 2 to 7, such as 6,4,2"),
        ({"pass_option": "switch-widths.bits=some"}, "bits = 'some': write widths from 2 to 7, such as 6,4,2"),
        ({"pass_option": "round-weights.up=2"}, "pass round-weights has no option 'up'; it has rounding, corrected"),
        (
            {"recipe": "minmax", "pass_option": "correct-bias.x=1"},
            "--pass-option correct-bias.x=1 is for pass correct-bias, which recipe minmax has not; it has assign",
        ),
        ({"weights": "int1"}, "no format 'int1'"),
        ({"switchable": "8,4", "weights": "int4"}, "--switchable rounds int8 weights"),
        ({"max_flash": "64k", "weights": "int4"}, "--weights int4 is one format for all"),
    ],
)
def test_options_that_the_recipe_does_not_take_are_refused(given: dict[str, Any], line: str) -> None:
    with pytest.raises(UserError, match=re.escape(line)):
        recipe_of(options(**given))
