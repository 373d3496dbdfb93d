"""Runs whose activations stay float32 (`--activations float32`): what their recipe leaves out, and what is refused.

Passes that choose ranges of activations have nothing to choose there, and transforms that flatten activations bring
nothing: nothing of them is rounded.
"""

from __future__ import annotations

from bevel.backends.target import Target
from bevel.calib.errors import UserError
from bevel.passes.assign.assign_schemes import AssignSchemes
from bevel.passes.quantize.choose_ranges import ChooseRanges
from bevel.passes.quantize.clamp_masks import ClampMasks
from bevel.passes.quantize.formats import FLOAT_ACTIVATIONS
from bevel.passes.quantize.plan_scales import PlanScales
from bevel.passes.quantize.row_scales import RowScales
from bevel.passes.quantize.widen_activations import WidenActivations
from bevel.passes.recipes.build import Recipe
from bevel.passes.transform.transform import Transform
from bevel.tools.run.options import Options

SAID = f"--activations {FLOAT_ACTIVATIONS}"
OF_ACTIVATIONS = (ClampMasks.name, WidenActivations.name, RowScales.name, ChooseRanges.name)
# Options that say something of integers between the products
OF_INTEGERS = ("product_inputs", "input_format", "row_scales", "range", "format_file", "switchable", "step", "cache")


def is_beside_floats(recipe: Recipe) -> bool:
    return any(isinstance(one, AssignSchemes) and one.beside_floats for one in recipe.passes)


def for_floats(recipe: Recipe, options: Options) -> Recipe:
    """The recipe without what is for activations that are quantized; itself where they are. Raises UserError for
    options that need them to be."""
    if not is_beside_floats(recipe):
        return recipe
    plain = Options(options.model, target=options.target, output=options.output)
    given = [f"--{name.replace('_', '-')}" for name in OF_INTEGERS if getattr(options, name) != getattr(plain, name)]
    given += [
        f"--{name} {getattr(options, name)}" for name in ("inputs", "outputs") if getattr(options, name) != "float"
    ]
    given += [f"--transform {options.transform}"] if options.transform not in ("auto", "none") else []
    given += ["a budget"] if options.budgets.given else []
    given += [f"pass {one.name} of recipe {recipe.name}" for one in recipe.passes if isinstance(one, Transform)]
    if given:
        raise UserError(f"{SAID} quantizes weights alone, and {given[0]} is for integer activations: leave one out")
    for name in OF_ACTIVATIONS:
        recipe = recipe.without(name)
    return recipe.with_fields(PlanScales, beside_floats=True)


def refuse_integer_target(recipe: Recipe, target: Target) -> None:
    """Raises UserError where the target has no float activations."""
    if is_beside_floats(recipe) and target.bare:
        raise UserError(
            f"{target.name} runs integers only: {SAID} needs a CPU, such as --target host or aarch64-linux; "
            "here --activations int8 works"
        )
