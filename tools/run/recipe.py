"""The recipe of a run: the one that `--recipe` names, with what the command line gives in place of its options."""

from __future__ import annotations

import tomllib
from dataclasses import replace

from bevel.calib.errors import UserError
from bevel.passes.assign.assign_schemes import AssignSchemes
from bevel.passes.integerize.integerize import ToIntegers
from bevel.passes.integerize.switch_width import SwitchWidths
from bevel.passes.quantize.row_scales import RowScales
from bevel.passes.quantize.widen_activations import WidenActivations
from bevel.passes.recipes import read
from bevel.passes.recipes.build import Recipe, build
from bevel.passes.transform.transform import Transform
from bevel.tools.run import transforms
from bevel.tools.run.beside_floats import for_floats
from bevel.tools.run.declared import declared_by
from bevel.tools.run.options import Options, edge

DEFAULT_FORMATS = (AssignSchemes.weights, AssignSchemes.activations)
OPTION = "--pass-option"


def recipe_of(options: Options) -> Recipe:
    """Raises UserError for options that the recipe's passes do not take, and for those that contradict each other."""
    recipe = build(read(options.recipe))
    for given in options.pass_option:
        pass_, option, value = parsed(given)
        recipe = recipe.with_option(pass_, option, value, f"{OPTION} {given}")
    for name, declared in declared_by(Options).items():
        value = getattr(options, name)
        if declared.option.sets and value is not None:
            pass_, option = declared.option.sets.split(".")
            recipe = recipe.with_option(pass_, option, value, declared.flag)
    if not options.bias_correction:
        recipe = recipe.uncorrected()
    if options.switchable:
        recipe = recipe.with_option(SwitchWidths.name, "bits", ",".join(map(str, options.switchable)), "--switchable")
        for name in (WidenActivations.name, RowScales.name):  # a product of several widths has int8 activations
            recipe = recipe.without(name)
    transforms.parsed(options.transform)
    recipe = for_floats(on_command(recipe, options), options)
    check_formats(options, recipe)
    return recipe


def parsed(given: str) -> tuple[str, str, object]:
    """'share-constants.least_bytes=64' as ('share-constants', 'least_bytes', 64); what is no TOML value is a text."""
    left, separator, text = given.partition("=")
    name, dot, option = left.rpartition(".")
    if not (separator and dot and name and option):
        raise UserError(f"{OPTION} {given}: write PASS.OPTION=VALUE, such as round-weights.rounding=nearest")
    try:
        return name, option, tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return name, option, text


def on_command(recipe: Recipe, options: Options) -> Recipe:
    """With what is the run's and no recipe's: the ports of the product, and formats for single nodes of the model."""
    file = "" if options.format_file is None else str(options.format_file)
    recipe = recipe.with_fields(ToIntegers, inputs=edge(options.inputs), outputs=options.outputs)
    recipe = recipe.with_fields(AssignSchemes, file=file)
    passes = [transforms.for_formats(one, recipe) if isinstance(one, Transform) else one for one in recipe.passes]
    return replace(recipe, passes=tuple(passes))


def formats_of(recipe: Recipe) -> tuple[str, str]:
    """Of weights and activations, but for single nodes."""
    (one,) = (one for one in recipe.passes if isinstance(one, AssignSchemes))
    return one.weights, one.activations


def asks_for_formats(options: Options, recipe: Recipe) -> bool:
    chosen = formats_of(recipe) != DEFAULT_FORMATS
    return chosen or options.input_format is not None or options.budgets.given or options.format_file is not None


def check_formats(options: Options, recipe: Recipe) -> None:
    """Raises UserError for one format where a search is to choose, or a product is to change its width."""
    weights, _ = formats_of(recipe)
    others = options.budgets.given or options.format_file is not None or weights != AssignSchemes.weights
    if options.switchable and others:
        raise UserError("--switchable rounds int8 weights: leave out --weights, formats and budgets")
    if options.budgets.given and weights != AssignSchemes.weights:
        raise UserError(f"--weights {weights} is one format for all; budgets choose from --formats LIST")
