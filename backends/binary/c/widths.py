"""C for programs whose weights change their width while they run: the width chosen, and rounding to it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bevel.backends.program.op import Array
from bevel.backends.program.program import Program
from bevel.backends.program.switching import FULL, LANES, Switched


def setter(program: Program) -> str:
    """What the header says."""
    listed = ", ".join(map(str, program.widths))
    return f"""
/* The bits of each weight in the runs that begin from now on: {listed}; {program.width} before the first call. Other
 * numbers change nothing. Weights are rounded in the arena, layer by layer; in flash they stay as they are. */
void {program.name}_set_bits(int bits);
"""


def declarations(name: str) -> str:
    return f"""
/* The place of the width chosen among those there are. */
int32_t {name}_width(void);
/* Weights at the width chosen: `from` at the full one, else rounded into `to` as `form` says: lane (0 for weights in
 * bytes, 1 in halfwords, 2 for two in a halfword, 256 * high + low), bytes, bytes of an element, elements of a period,
 * how many of a period are kept as they are, how many have values of their own, the places of both. `values` has those
 * for each other width. */
const void *{name}_rounded(void *to, const void *from, const int32_t *form, const void *values);"""


def rounding_form(array: Array, change: Switched) -> NDArray[np.int32]:
    """What the C function reads of how an array is rounded."""
    if change.lane is None:
        raise ValueError("an array with a table for all its elements is not rounded")
    numbers = [LANES.index(change.lane), array.nbytes, array.itemsize, change.period]
    return np.array([*numbers, change.kept.size, change.changed.size, *change.kept, *change.changed], np.int32)


def state(program: Program) -> str:
    """Definitions for <model>.c. Rounds as `bevel.backends.program.switching.rounded`. string.h is not for bare
    cores."""
    name, count = program.name, len(program.widths)
    return f"""
static const int8_t widths[{count}] = {{{", ".join(map(str, program.widths))}}};
static int32_t chosen = {program.widths.index(program.width)};

void {name}_set_bits(int bits) {{
  for (int32_t i = 0; i < {count}; ++i)
    if (widths[i] == bits) chosen = i;
}}

int32_t {name}_width(void) {{ return chosen; }}
{ROUNDING}
const void *{name}_rounded(void *to, const void *from, const int32_t *form, const void *values) {{
  if (chosen == 0) return from;
  const int32_t item = form[2], period = form[3] * item, kept = form[4], changed = form[5], blocks = form[1] / period;
  const int32_t *const places = form + 6;
  const uint32_t size = (uint32_t)item;
  const uint8_t *value = (const uint8_t *)values + (chosen - 1) * blocks * changed * item;
  round_lanes(to, from, form[1], form[0], {FULL} - widths[chosen]);
  for (int32_t block = 0; block < blocks; ++block) {{
    uint8_t *const written = (uint8_t *)to + block * period;
    const uint8_t *const stored = (const uint8_t *)from + block * period;
    for (int32_t i = 0; i < kept; ++i) __builtin_memcpy(written + places[i] * item, stored + places[i] * item, size);
    for (int32_t i = kept; i < kept + changed; ++i, value += item)
      __builtin_memcpy(written + places[i] * item, value, size);
  }}
  return to;
}}
"""


# Clamping comes first: it changes nothing, as the bounds are rounded to themselves, and then no sum leaves its lane.
# With the DSP extension four bytes go at once: three saturating additions clamp, to one below the lower bound, which is
# rounded to it; a pair's high byte is one less where its low byte is negative.
ROUNDING = """
static int32_t nearest(int32_t weight, int32_t shift) {
  const int32_t bound = 128 - (1 << shift);
  const int32_t clamped = weight > bound ? bound : weight < -bound ? -bound : weight;
  return ((clamped + (1 << (shift - 1))) >> shift) * (1 << shift);
}

#if defined(__ARM_FEATURE_SIMD32)
#include <arm_acle.h>

static uint32_t nearest_bytes(uint32_t weights, uint32_t above, uint32_t twice, uint32_t half, uint32_t mask) {
  const uint32_t low = (uint32_t)__qsub8((int8x4_t)__qadd8((int8x4_t)weights, (int8x4_t)above), (int8x4_t)twice);
  return (uint32_t)__qadd8((int8x4_t)__qadd8((int8x4_t)low, (int8x4_t)above), (int8x4_t)half) & mask;
}
#endif

static void round_lanes(void *to, const void *from, int32_t bytes, int32_t lane, int32_t shift) {
  int32_t done = 0;
  if (lane == 1) {
    const int16_t *const x = from;
    int16_t *const y = to;
    for (int32_t i = 0; i < bytes / 2; ++i) y[i] = (int16_t)nearest(x[i], shift);
    return;
  }
#if defined(__ARM_FEATURE_SIMD32)
  const uint32_t above = 0x01010101u * (uint32_t)((1 << shift) - 1), twice = 2 * above;
  const uint32_t half = 0x01010101u << (shift - 1), mask = 0x01010101u * (uint32_t)(256 - (1 << shift));
  const uint32_t *const words = from;
  uint32_t *const rounded = to;
  for (; done + 4 <= bytes; done += 4) {
    uint32_t word = words[done / 4];
    if (lane == 2) word = (uint32_t)__sadd16((int16x2_t)word, (int16x2_t)((word & 0x00800080u) << 1));
    word = nearest_bytes(word, above, twice, half, mask);
    if (lane == 2) word = (uint32_t)__ssub16((int16x2_t)word, (int16x2_t)((word & 0x00800080u) << 1));
    rounded[done / 4] = word;
  }
#endif
  const int8_t *const x = from;
  int8_t *const y = to;
  for (; done < bytes; done += lane == 2 ? 2 : 1) {
    const int32_t low = nearest(x[done], shift);
    y[done] = (int8_t)low;
    if (lane == 2) y[done + 1] = (int8_t)(nearest(x[done + 1] + (x[done] < 0), shift) - (low < 0));
  }
}
"""
