"""The formats that weights and activations can have, by the names that the command line takes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from bevel.calib.arithmetic.round_float import float_steps
from bevel.calib.errors import UserError
from bevel.calib.formats.format import INT8, UINT8, IntFormat
from bevel.calib.formats.levels import integer_levels, levels_of
from bevel.calib.formats.mx import mx_rounding
from bevel.calib.formats.tensor_format import BlockFormat, TensorFormat, parse_tensor_format
from bevel.calib.scales.block_weights import factor_table
from bevel.passes.quantize.choose_scales import Scales
from bevel.passes.quantize.chosen import Chosen
from bevel.passes.quantize.plan import QuantizationPlan, has_weights, result_of

WEIGHTS = (
    "int2 to int16, uint1 to uint7, binary, ternary, minifloats such as e2m1, e2m3, e3m2 and e4m3, log2 to log5, "
    "apot5k2, apot7k2, mxfp4, mxfp6, mxfp6e3m2, mxfp8, mxint8, nvfp4, FORMAT:blockN such as int4:block32, and "
    "int2:groupN to int7:groupN"
)
ACTIVATIONS = (
    "int2 to int16, uint1 to uint8, binary, ternary, minifloats of up to four exponent bits such as e2m1, e2m3, e3m2 "
    "and e4m3, log2 to log5, apot5k2, mxfp4, mxfp6, mxfp6e3m2 and mxint8; on CPUs float32, "
    "beside which weights alone are quantized"
)
FLOAT_ACTIVATIONS = "float32"  # of activations that are not quantized
BESIDE_FLOATS = "int2 to int8, uint1 to uint8, and int2:blockN to int8:blockN or int2:groupN to int7:groupN"
MAX_BITS = 8


def weight_format(name: str) -> TensorFormat:
    """The format of constant tensors called `name`. Raises UserError where products with it are not exact integers."""
    format = parsed_weights(name, WEIGHTS)
    if isinstance(format, IntFormat):
        fits = format.signed or levels_of(format) is not None
    elif isinstance(format, BlockFormat):
        fits = format.bits <= MAX_BITS and factor_table(format) is not None
    else:
        fits = format.bits <= MAX_BITS and levels_of(format) is not None
    if not fits:
        raise UserError(
            f"format {name}: its values are not integers of up to 16 bits, nor integer steps of codes up to 8 bits; "
            f"weights can be {WEIGHTS}"
        )
    return format


def weight_format_beside_floats(name: str) -> TensorFormat:
    """The format of weights that multiply float activations: integers, in blocks or groups where asked. Raises
    UserError for others."""
    format = parsed_weights(name, BESIDE_FLOATS)
    element = format.element if isinstance(format, BlockFormat) else format
    named = not isinstance(format, BlockFormat) or format.scales in ("integer", "progressive")
    if not (isinstance(element, IntFormat) and element.bits <= MAX_BITS and named):
        raise UserError(f"format {name}: beside float32 activations weights can be {BESIDE_FLOATS}")
    return format


def activation_format(name: str) -> TensorFormat:
    """The format of activations called `name`; uint8 is int8, moved by 128. Raises UserError as `weight_format`."""
    format = parsed(name)
    if isinstance(format, BlockFormat):
        exact = mx_rounding(format) is not None
    elif isinstance(format, IntFormat) and format.signed:
        exact = True
    else:
        exact = format == UINT8 or float_steps(format) is not None or integer_levels(format) is not None
    if not exact:
        raise UserError(f"format {name}: its values are no steps that kernels hold; activations can be {ACTIVATIONS}")
    return INT8 if format == UINT8 else format


def parsed_weights(name: str, known: str) -> TensorFormat:
    try:
        return parse_tensor_format(name)
    except ValueError as error:
        raise UserError(f"{error}; weights can be {known}") from error


def parsed(name: str) -> TensorFormat:
    try:
        return parse_tensor_format(name)
    except ValueError as error:
        raise UserError(f"{error}; activations can be {ACTIVATIONS}") from error


def node_formats(plan: QuantizationPlan, scales: Scales, chosen: Chosen) -> Iterator[tuple[str, str]]:
    """(node, "int8", or "int4 weights, int8"): what an operator's result is held in, and its weights if they differ."""
    if plan.float_activations:
        yield from ((name, f"{chosen.of_weights(name).name} weights, {FLOAT_ACTIVATIONS}") for name in plan.taken)
        return
    for name, (_, match) in plan.taken.items():
        held = formats_of((result_of(tensor, plan.fused).name for tensor in match.node.outputs), scales)
        if held:  # integers that are only moved have no format of ours
            weights = chosen.of_weights(name).name
            mixed = has_weights(match.node, plan) and weights != held
            yield name, f"{weights} weights, {held}" if mixed else held
    for name, tensor in plan.points.items():  # the ends of regions that become tables
        if tensor.inputs and tensor.inputs[0].name not in plan.taken and tensor.inputs[0].name not in plan.fused:
            yield tensor.inputs[0].name, formats_of((name,), scales)


def formats_of(points: Iterable[str], scales: Scales) -> str:
    return ", ".join(
        dict.fromkeys(
            f"{scales.rows[point].format.name} rows"
            if point in scales.rows
            else (scales.blocks.get(point) or scales.quants[point].scheme.format).name
            for point in points
            if point in scales.quants
        )
    )
