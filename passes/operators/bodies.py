"""Bodies of model-local functions: integer arithmetic in operators that stock onnxruntime runs exactly.

ONNX has no arithmetic shift of signed integers, and its integer Div truncates toward zero. So a value is raised by
2**62 (a multiple of every divisor used), divided, and lowered by the quotient of 2**62: a floor for every value in
[-2**62, 2**62).

Clip, Min, Max and Sign of int64 are not used but on numbers of 9 bits (Softmax's shares): on x86 onnxruntime up to 1.31
gets them wrong where the upper halves are equal and the lower halves differ in their top bits, because of its Eigen
(its pull request 32475). Comparisons are right.
"""

from __future__ import annotations

from bevel.calib.arithmetic.requantize import MAX_SHIFT

POWERS = ", ".join(str(2**shift) for shift in range(MAX_SHIFT + 1))


def constants(*attributes: str) -> str:
    """An int64 scalar for each function attribute, of the same name."""
    return "\n".join(f"  {name} = Constant <value_int: int = @{name}> ()" for name in attributes)


def constants_of(element_type: int, *attributes: str) -> str:
    """A scalar of an ONNX element type for each function attribute, of the same name."""
    return "\n".join(
        f"  {name}64 = Constant <value_int: int = @{name}> ()\n  {name} = Cast <to = {element_type}> ({name}64)"
        for name in attributes
    )


# `shift` of any integer type -> `divisor` int64 = 2**shift
DIVISOR = f"""
  powers = Constant <value = int64[{MAX_SHIFT + 1}] {{{POWERS}}}> ()
  shift64 = Cast <to = 7> (shift)
  divisor = Gather (powers, shift64)
"""

# `sum` int64, `divisor` -> `shifted` int64 = floor(sum / divisor)
FLOOR = f"""
  raise = Constant <value_int = {2**MAX_SHIFT}> ()
  raised = Add (sum, raise)
  quotient = Div (raised, divisor)
  floor_of_raise = Div (raise, divisor)
  shifted = Sub (quotient, floor_of_raise)
"""


def floored(value: str, shift: str, result: str, tag: str) -> str:
    """`result` int64 = floor(value / 2**shift) as DIVISOR and FLOOR make it, in names of its own; `powers` is there."""
    return f"""
  {tag}_shift = Cast <to = 7> ({shift})
  {tag}_divisor = Gather (powers, {tag}_shift)
  {tag}_raise = Constant <value_int = {2**MAX_SHIFT}> ()
  {tag}_raised = Add ({value}, {tag}_raise)
  {tag}_quotient = Div ({tag}_raised, {tag}_divisor)
  {tag}_floor_of_raise = Div ({tag}_raise, {tag}_divisor)
  {result} = Sub ({tag}_quotient, {tag}_floor_of_raise)
"""


# `product` int64, `shift` -> `shifted` int64: bevel.calib.arithmetic.requantize.rounding_shift_right
ROUNDING_SHIFT = f"""
{DIVISOR}
  two = Constant <value_int = 2> ()
  half = Div (divisor, two)
  sum = Add (product, half)
{FLOOR}
"""

# The same, ties to even: bevel.calib.arithmetic.requantize.even_shift_right
EVEN_SHIFT = f"""
{DIVISOR}
  two = Constant <value_int = 2> ()
  half = Div (divisor, two)
  sum = Add (product, half)
{FLOOR.replace("shifted", "rounded")}
  whole = Mul (rounded, divisor)
  on_half = Equal (sum, whole)
  one = Cast <to = 7> (on_half)
  odd = Mod (rounded, two)
  down = Mul (one, odd)
  shifted = Sub (rounded, down)
"""

# `placed` int64 -> `y` of the ONNX element type `y_type`, clamped to `low` and `high`
CLAMP = """
  too_low = Less (placed, low)
  raised_to_low = Where (too_low, low, placed)
  too_high = Greater (raised_to_low, high)
  clamped = Where (too_high, high, raised_to_low)
  y = Cast <to: int = @y_type> (clamped)
"""

# `shifted` int64 -> `y` of the ONNX element type `y_type`, moved by the zero point and clamped
STORE = f"""
{constants("zero_point", "low", "high")}
  placed = Add (shifted, zero_point)
{CLAMP}"""

# `accumulator` of any integer type, `multiplier`, `shift` -> `shifted` int64
RESCALE = f"""
  accumulator64 = Cast <to = 7> (accumulator)
  multiplier64 = Cast <to = 7> (multiplier)
  product = Mul (accumulator64, multiplier64)
{ROUNDING_SHIFT}
"""

# The same -> `y` of `y_type`: bevel.calib.arithmetic.requantize.requantize
REQUANTIZE = f"{RESCALE}\n{STORE}"

# The same, ties to even
REQUANTIZE_EVEN = REQUANTIZE.replace(ROUNDING_SHIFT, EVEN_SHIFT)

OUTPUT_ATTRIBUTES = ("zero_point", "low", "high", "y_type")
