"""Recipes are data: what ships can be built, what is mistaken is refused in a line that names it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from bevel.calib.errors import UserError
from bevel.passes.quantize.choose_rounders import RoundWeights
from bevel.passes.quantize.correct_bias import CorrectBias
from bevel.passes.recipes import WrittenRecipe, read, shipped
from bevel.passes.recipes.build import build, known_passes, options_of

SHIPPED = {one.name: one for one in shipped()}
INT8 = [dict(step) for step in SHIPPED["int8"].steps]


def edited(*steps: dict[str, object], name: str = "mine") -> WrittenRecipe:
    return WrittenRecipe(name, "yours", "", "", "", steps)


def without(name: str) -> list[dict[str, object]]:
    return [step for step in INT8 if step["name"] != name]


@pytest.mark.parametrize("recipe", SHIPPED.values(), ids=SHIPPED)
def test_a_shipped_recipe_is_built_and_says_where_it_comes_from(recipe: WrittenRecipe) -> None:
    made = build(recipe)
    assert [one.name for one in made.passes] == [step["name"] for step in recipe.steps]
    assert recipe.summary and recipe.source and recipe.gain
    for one, step in zip(made.passes, recipe.steps, strict=True):
        assert {key: getattr(one, key) for key in step if key != "name"} == {
            key: value for key, value in step.items() if key != "name"
        }


def test_the_first_is_every_default_of_its_passes() -> None:
    """Whoever uses a pass alone gets what the default recipe gives."""
    assert all(one == type(one)() for one in build(SHIPPED["int8"]).passes)


def test_every_pass_with_a_stage_is_in_a_shipped_recipe() -> None:
    named = {step["name"] for recipe in SHIPPED.values() for step in recipe.steps}
    assert set(known_passes()) == named


def test_every_option_has_a_type_that_toml_has() -> None:
    for cls in known_passes().values():
        for name, hint in options_of(cls).items():
            assert hint in (int, float, bool, str) or "Literal" in str(hint), f"{cls.name}.{name}: {hint}"


@pytest.mark.parametrize(
    ("steps", "line"),
    [
        (
            [*INT8, {"name": "fuse-everything"}],
            "recipe mine: no pass 'fuse-everything'; known passes: branch-low-rank, ",
        ),
        (
            [*without("round-weights"), {"name": "round-weights", "roundin": "nearest"}],
            "recipe mine: pass round-weights has no option 'roundin'; it has rounding, corrected",
        ),
        (
            [*without("share-constants"), {"name": "share-constants", "least_bytes": "many"}],
            "recipe mine: pass share-constants, least_bytes = 'many': give a whole number from 0",
        ),
        (
            [*without("share-constants"), {"name": "share-constants", "least_bytes": True}],
            "recipe mine: pass share-constants, least_bytes = True: give a whole number from 0",
        ),
        (
            [{"name": "assign-schemes", "range": "widest"}, *without("assign-schemes")],
            "recipe mine: pass assign-schemes, range = 'widest': give one of auto, mse, minmax, percentile, entropy",
        ),
        (
            [{"name": "assign-schemes", "file": "x.toml"}, *without("assign-schemes")],
            "recipe mine: pass assign-schemes has no option 'file'; it has weights, activations, range, product_inputs",
        ),
        (
            [{"name": "integerize", "inputs": "float"}],
            "recipe mine: pass integerize has no option 'inputs'; it has none",
        ),
        ([{"name": "assign-schemes", "weights": "int1"}], "no format 'int1'"),
        ([{"name": "round-weights", "rounding": "up"}], "no rounder 'up'; known are auto,"),
        (without("insert-qdq"), "recipe mine lacks insert-qdq: no integer model comes of it"),
        ([*INT8, {"name": "share-constants"}], "recipe mine names share-constants twice"),
        (
            [*without("clamp-masks"), {"name": "clamp-masks"}],
            "recipe mine: clamp-masks must stand before assign-schemes",
        ),
        (
            [{"name": "correct-bias"} if step["name"] == "plan-scales" else step for step in without("correct-bias")]
            + [{"name": "plan-scales"}],
            "recipe mine: round-weights must stand before correct-bias",
        ),
        (
            without("correct-bias"),
            "recipe mine: round-weights has corrected = true, and no correct-bias follows",
        ),
    ],
)
def test_what_is_mistaken_is_named(steps: list[dict[str, object]], line: str) -> None:
    with pytest.raises(UserError, match=re.escape(line)):
        build(edited(*steps))


def test_bias_correction_is_left_out_as_a_whole() -> None:
    made = build(SHIPPED["int8"]).uncorrected()
    assert not made.corrects and not any(isinstance(one, CorrectBias) for one in made.passes)
    (rounding,) = (one for one in made.passes if isinstance(one, RoundWeights))
    assert not rounding.corrected


def test_a_name_that_is_none_is_refused_with_those_that_are() -> None:
    with pytest.raises(UserError, match=r"no recipe 'int9'; known recipes: .*int8.*; a file's name ends in \.toml"):
        read("int9")


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("[[pass", "is not TOML"),
        ("", "has no passes; write [[pass]] tables, each with a name"),
        ("pass = 3", "has no passes"),
        ('[[pass]]\nnam = "clamp-masks"', "has no passes; write [[pass]] tables, each with a name"),
        ('author = "me"\n[[pass]]\nname = "clamp-masks"', "has author; a recipe has summary, source, gain, pass"),
        ('gain = 3\n[[pass]]\nname = "clamp-masks"', "summary, source, gain are texts"),
    ],
)
def test_a_file_that_is_no_recipe_is_refused(tmp_path: Path, text: str, line: str) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(text)
    with pytest.raises(UserError, match=re.escape(line)):
        read(str(file))
    with pytest.raises(UserError, match="No such file"):
        read(str(tmp_path / "none.toml"))


def test_a_users_file_is_read_under_its_name(tmp_path: Path) -> None:
    steps = "\n".join(f'[[pass]]\nname = "{step["name"]}"' for step in INT8)
    (tmp_path / "mine.toml").write_text(steps)
    recipe = read(str(tmp_path / "mine.toml"))
    assert (recipe.name, recipe.family) == ("mine", "yours")
    assert build(recipe).passes == build(SHIPPED["int8"]).passes
