"""`bevel.calib.arithmetic.normalize.root` in standard operators, as a part of functions' bodies."""

from __future__ import annotations

from bevel.calib.arithmetic.normalize import ROOT_BITS, THRESHOLDS

DIGITS = "".join(
    f"""
  bit{bit} = Constant <value_int = {1 << bit}> ()
  tried{bit} = Add (root{bit + 1}, bit{bit})
  square{bit} = Mul (tried{bit}, tried{bit})
  fits{bit} = LessOrEqual (square{bit}, radicand)
  root{bit} = Where (fits{bit}, tried{bit}, root{bit + 1})"""
    for bit in range(ROOT_BITS - 1, -1, -1)
)

# `positive` int64 below 2**60, `powers` -> `places`, and `root0` int64 = floor(sqrt(positive * 4**places))
ROOT = f"""
  thresholds = Constant <value = int64[{len(THRESHOLDS)}] {{{", ".join(map(str, THRESHOLDS))}}}> ()
  last = Constant <value = int64[1] {{-1}}> ()
  beside = Unsqueeze (positive, last)
  below = Less (beside, thresholds)
  below64 = Cast <to = 7> (below)
  places = ReduceSum <keepdims = 0> (below64, last)
  places_twice = Add (places, places)
  raised_by = Gather (powers, places_twice)
  radicand = Mul (positive, raised_by)
  root{ROOT_BITS} = Sub (positive, positive)
{DIGITS}
"""
