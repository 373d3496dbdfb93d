"""`--inputs uint8`: which float inputs take pixels as a camera gives them, by what the samples hold."""

from __future__ import annotations

import numpy as np
import onnx

from bevel.calib.data.dataset import Samples, open_dataset
from bevel.calib.errors import UserError
from bevel.calib.observe.observe import model_inputs
from bevel.passes.exchange.take_pixels import float_inputs, take_pixels
from bevel.tools.run.options import Options
from bevel.tools.run.states import state_names

MOST = 255


def with_pixels(options: Options, model: onnx.ModelProto) -> onnx.ModelProto:
    """`model` with uint8 inputs, where they are asked for and all samples are integers of 0 to 255.

    Raises UserError where no input is, and none takes uint8 already.
    """
    if options.inputs != "uint8":
        return model
    states = state_names(options, model)
    names = [name for name in float_inputs(model) if name not in states]
    held = options.calib
    others = {} if held is None or held == "random" else not_pixels(held, model, names, options.calib_read)
    pixels = [name for name in names if name not in others]
    if not pixels and not any(one.dtype == np.uint8 for one in model_inputs(model).values()):
        found = next((f": input {name!r} holds {value:.9g}" for name, value in others.items()), "")
        raise UserError(
            "--inputs uint8 is for models that take pixels, integers of 0 to 255, and normalise them themselves"
            f"{found}; put the normalisation into the model, or take --inputs quantized"
        )
    return take_pixels(model, pixels)


def not_pixels(calib: Samples, model: onnx.ModelProto, names: list[str], limit: int | None) -> dict[str, float]:
    """The inputs of `names` whose samples are no pixels, and the first value that is none."""
    found: dict[str, float] = {}
    for sample in open_dataset(calib, model_inputs(model), limit):
        for name in names:
            values = sample[name]
            wrong = (values < 0) | (values > MOST) | (values != np.rint(values))
            if name not in found and wrong.any():
                found[name] = float(values[wrong].flat[0])
        if len(found) == len(names):
            break
    return found
