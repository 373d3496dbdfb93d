"""Bodies of the functions that define LSTM, GRU and RNN in integers: a Scan over time, of what
`bevel.calib.arithmetic.recurrent` says of a step.

The sums of x are made for all steps at once before it. Gates' functions are calls of WideTable.
"""

from __future__ import annotations

from bevel.backends.program.recurrence import INT16
from bevel.calib.arithmetic.recurrent import WITHIN
from bevel.calib.arithmetic.requantize import MAX_SHIFT
from bevel.passes.operators.base import Function
from bevel.passes.operators.bodies import CLAMP, FLOOR, POWERS, RESCALE, STORE, constants
from bevel.passes.operators.functions.table import WIDE_TABLE

# floor(x / 2**shift) of |x| < 2**62, held to [low, high], as the type y_type
HELD = Function(
    "Held",
    ("shift", "low", "high", "y_type"),
    ("x",),
    f"""
{constants("low", "high")}
  shift = Constant <value_int: int = @shift> ()
  powers = Constant <value = int64[{MAX_SHIFT + 1}] {{{POWERS}}}> ()
  divisor = Gather (powers, shift)
{FLOOR.replace("sum", "x").replace("shifted", "floor")}
{CLAMP.replace("placed", "floor")}""",
)
CALLS = (HELD, WIDE_TABLE)
INT64 = 7
ANSWER = ("multiplier", "y_shift", "y_zero_point", "y_low", "y_high", "y_type")
COMMON = ("direction", "sum_type", "shift", *ANSWER)

# x [steps, batch, inputs] -> sums_of_x int64 [steps, batch, rows], with the bias; r_turned, r_factor64
BEFORE = """
  wide_x = Cast <to: int = @sum_type> (x)
  wide_w = Cast <to: int = @sum_type> (w)
  wide_r = Cast <to: int = @sum_type> (r)
  w_turned = Transpose <perm = [1, 0]> (wide_w)
  r_turned = Transpose <perm = [1, 0]> (wide_r)
  x_sums = MatMul (wide_x, w_turned)
  x_sums64 = Cast <to = 7> (x_sums)
  w_factor64 = Cast <to = 7> (w_factor)
  r_factor64 = Cast <to = 7> (r_factor)
  x_scaled = Mul (x_sums64, w_factor64)
  sums_of_x = Add (x_scaled, bias)
  begin = Constant <value_ints = [0]> ()
  along = Constant <value_ints = [1]> ()
  first_h = Squeeze (h0, begin)
"""

# answers int16 [steps, batch, hidden] -> y
STORED = STORE.replace("@zero_point", "@y_zero_point").replace("@low", "@y_low").replace("@high", "@y_high")
ANSWERED = f"""
  multiplier = Constant <value_int: int = @multiplier> ()
  shift = Constant <value_int: int = @y_shift> ()
  accumulator = Unsqueeze (answers, along)
{RESCALE}
{STORED}
"""


def of_h(state: str, weights: str, factor: str, result: str) -> str:
    """The sums of a state int16 [batch, hidden], scaled."""
    return f"""
    {result}_wide = Cast <to: int = @sum_type> ({state})
    {result}_sums = MatMul ({result}_wide, {weights})
    {result}_sums64 = Cast <to = 7> ({result}_sums)
    {result} = Mul ({result}_sums64, {factor})"""


def held(value: str, result: str, shift: str = "shift") -> str:
    """int16 `result` of an int64 to be shifted by an attribute."""
    low, high = INT16
    return f"""
    {result} = bevel.Held <shift: int = @{shift}, low = {low}, high = {high}, y_type = 5> ({value})"""


def on_curve(value: str, curve: str, result: str) -> str:
    """int64 `result` of int16 codes."""
    low, high = INT16
    attributes = f"block: int = @{curve}_block, fraction: int = @{curve}_fraction"
    output = f"zero_point = 0, low = {low}, high = {high}, y_type = {INT64}"
    return f"""
    {result} = bevel.WideTable <{attributes}, {output}> ({value}, {curve}_blocks, {curve}_ends)"""


def gate(value: str, curve: str, result: str) -> str:
    return held(value, f"{result}_in") + on_curve(f"{result}_in", curve, result)


def blend(terms: tuple[tuple[str, str, str], ...], shift: str, result: str) -> str:
    """int16 `result`: the sum of a * b * attribute over the terms, rounded."""
    lines, sums = [], []
    for place, (a, b, factor) in enumerate(terms):
        name = f"{result}_{place}"
        lines += [
            f"{name}_factor = Constant <value_int: int = @{factor}> ()",
            f"{name}_product = Mul ({a}, {b})",
            f"{name} = Mul ({name}_product, {name}_factor)",
        ]
        sums.append(name)
    total = sums[0]
    for place, one in enumerate(sums[1:]):
        lines.append(f"{result}_sum_{place} = Add ({total}, {one})")
        total = f"{result}_sum_{place}"
    lines += [
        f"{result}_half = Constant <value_int: int = @{shift}_half> ()",
        f"{result}_up = Add ({total}, {result}_half)",
    ]
    return "".join(f"\n    {line}" for line in lines) + held(f"{result}_up", result, shift)


def scan(states: dict[str, str], body: str) -> str:
    """A Scan of `states` ({name: its first value}) over sums_of_x, that has the body make `next_<name>`."""
    names = list(states)
    finals, firsts = ", ".join(f"last_{one}" for one in names), ", ".join(states.values())
    results = ", ".join(f"next_{one}" for one in names)
    ways = "scan_input_directions: ints = @direction, scan_output_directions: ints = @direction"
    step = f"step ({', '.join(names)}, x_part) => ({results}, answer)"
    return f"""
  {finals}, answers = Scan <num_scan_inputs = 1, {ways}, body = {step} {{{body}
    answer = Identity (next_h)
  }}> ({firsts}, sums_of_x)"""


def curve_attributes(*curves: str) -> tuple[str, ...]:
    return tuple(f"{curve}_{part}" for curve in curves for part in ("block", "fraction"))


def curve_inputs(*curves: str) -> tuple[str, ...]:
    return tuple(f"{curve}_{part}" for curve in curves for part in ("blocks", "ends"))


INPUTS = ("w", "r", "w_factor", "r_factor", "bias")


def lstm(peepholes: bool, coupled: bool) -> Function:
    """With peepholes, or with a forget gate that is what the input gate leaves."""
    name = ("Peephole" if peepholes else "") + ("Coupled" if coupled else "") + "Lstm"

    def entering(gate: str, row: int, cell: str) -> str:
        if not peepholes:
            return f"\n    {gate}_sum = Identity ({gate}_x)"
        return f"""
    {gate}_row = Constant <value_int = {row}> ()
    {gate}_peephole = Gather (peephole, {gate}_row)
    {gate}_of_cell = Mul ({cell}, {gate}_peephole)
    {gate}_sum = Add ({gate}_x, {gate}_of_cell)"""

    forget = (
        "\n    all = Constant <value_int: int = @one> ()\n    f = Sub (all, i)"
        if coupled
        else entering("f", 2, "c64") + gate("f_sum", "gate", "f")
    )
    body = f"""{of_h("h", "r_turned", "r_factor64", "of_h")}
    entering = Add (x_part, of_h)
    i_x, o_x, f_x, g_x = Split <axis = -1, num_outputs = 4> (entering)
    c64 = Cast <to = 7> (c){entering("i", 0, "c64")}{gate("i_sum", "gate", "i")}{forget}{gate("g_x", "candidate", "g")}
{blend((("f", "c64", "keep"), ("i", "g", "add")), "cell_shift", "next_c")}
    new_c64 = Cast <to = 7> (next_c){entering("o", 1, "new_c64")}{gate("o_sum", "gate", "o")}
{on_curve("next_c", "cell", "shown")}
{blend((("o", "shown", "show"),), "show_shift", "next_h")}"""
    text = f"""{BEFORE}
  first_c = Squeeze (c0, begin)
{scan({"h": "first_h", "c": "first_c"}, body)}
  y_h = Unsqueeze (last_h, begin)
  y_c = Unsqueeze (last_c, begin)
{ANSWERED}"""
    numbers = ("keep", "add", "cell_shift", "cell_shift_half", "show", "show_shift", "show_shift_half", "one")
    curves = ("gate", "candidate", "cell")
    attributes = (*COMMON, *(numbers if coupled else numbers[:-1]), *curve_attributes(*curves))
    inputs = ("x", "h0", "c0", *INPUTS, *(("peephole",) if peepholes else ()), *curve_inputs(*curves))
    return Function(name, attributes, inputs, text, ("y", "y_h", "y_c"), CALLS)


def gru(before: bool) -> Function:
    """before: whether the products of a candidate are made before the reset gate takes its share."""
    limits = f"low = {-WITHIN}, high = {WITHIN - 1}, y_type = {INT64}"
    if before:
        candidate = f"""
    inner_sum = Add (of_h_g, inner)
    inner_held = bevel.Held <shift: int = @shift, {limits}> (inner_sum)
    outer_held = bevel.Held <shift: int = @shift, {limits}> (g_x)
    reset_factor = Constant <value_int: int = @reset> ()
    reset_half = Constant <value_int: int = @reset_shift_half> ()
    share_product = Mul (r_gate, inner_held)
    share_scaled = Mul (share_product, reset_factor)
    share_up = Add (share_scaled, reset_half)
    share = bevel.Held <shift: int = @reset_shift, low = {-(2**40)}, high = {2**40}, y_type = {INT64}> (share_up)
    g_sum = Add (outer_held, share)
    g_in = bevel.Held <shift = 0, low = {INT16[0]}, high = {INT16[1]}, y_type = 5> (g_sum)
{on_curve("g_in", "candidate", "g")}"""
        products = of_h("h", "r_turned", "r_factor64", "of_h")
        split = "\n    of_h_zr, of_h_g = Split <axis = -1> (of_h, parts)"
    else:
        candidate = f"""
{blend((("r_gate", "h64", "reset"),), "reset_shift", "share")}
{of_h("share", "r_g", "factor_g", "of_share")}
    g_sum = Add (g_x, of_share){gate("g_sum", "candidate", "g")}"""
        products = of_h("h", "r_zr", "factor_zr", "of_h_zr")
        split = ""
    body = f"""{products}{split}
    zr_x, g_x = Split <axis = -1> (x_part, parts)
    zr_sum = Add (zr_x, of_h_zr){gate("zr_sum", "gate", "zr")}
    z, r_gate = Split <axis = -1, num_outputs = 2> (zr)
    h64 = Cast <to = 7> (h){candidate}
    all = Constant <value_int: int = @one> ()
    left = Sub (all, z)
{blend((("left", "g", "add"), ("z", "h64", "keep")), "state_shift", "next_h")}"""
    text = f"""{BEFORE}
  parts = Constant <value_ints: ints = @parts> ()
  r_zr, r_g = Split <axis = 1> (r_turned, parts)
  factor_zr, factor_g = Split <axis = 0> (r_factor64, parts)
{scan({"h": "first_h"}, body)}
  y_h = Unsqueeze (last_h, begin)
{ANSWERED}"""
    numbers = ("keep", "add", "state_shift", "state_shift_half", "reset", "reset_shift", "reset_shift_half", "one")
    curves = ("gate", "candidate")
    attributes = (*COMMON, "parts", *numbers, *curve_attributes(*curves))
    inputs = ("x", "h0", *INPUTS, *(("inner",) if before else ()), *curve_inputs(*curves))
    name = "LinearBeforeResetGru" if before else "Gru"
    return Function(name, attributes, inputs, text, ("y", "y_h"), CALLS)


def rnn() -> Function:
    body = f"""{of_h("h", "r_turned", "r_factor64", "of_h")}
    entering = Add (x_part, of_h){gate("entering", "candidate", "shown")}
    next_h = Cast <to = 5> (shown)"""
    text = f"""{BEFORE}
{scan({"h": "first_h"}, body)}
  y_h = Unsqueeze (last_h, begin)
{ANSWERED}"""
    inputs = ("x", "h0", *INPUTS, *curve_inputs("candidate"))
    return Function("Rnn", (*COMMON, *curve_attributes("candidate")), inputs, text, ("y", "y_h"), CALLS)
