/* What the exponentials of a Softmax are multiplied by: min(2**47 // total, 2**31 - 1), in two divisions of words.
 *
 * A step of long division in base 2**16, whose estimate from the divisor's upper half is at most two too large: Knuth,
 * The Art of Computer Programming, volume 2, section 4.3.1, algorithm D.
 */
#ifndef BEVEL_RECIPROCAL_H
#define BEVEL_RECIPROCAL_H

#include "bevel_dsp.h"

/* The next 16 bits of a quotient by `divisor`, whose upper bit is set, of rest * 2**16, rest < divisor. */
static inline uint32_t bevel_next_digit(uint32_t *rest, uint32_t divisor) {
  const uint32_t upper = divisor >> 16;
  uint32_t digit = *rest / upper;
  const uint32_t taken = digit * (divisor & 0xFFFF);
  uint32_t left = (*rest - digit * upper) << 16;
  while (left < taken) {
    digit--;
    left += divisor;
    if (left < divisor) break; /* it has left the word: nothing is taken from less any more */
  }
  *rest = left - taken;
  return digit;
}

static inline int32_t bevel_softmax_reciprocal(int32_t total) {
  if (total <= 0x10000) return INT32_MAX;
  const int32_t places = __builtin_clz((uint32_t)total);
  const uint32_t divisor = (uint32_t)total << places;
  uint32_t rest = 0x8000u << places;
  const uint32_t digit = bevel_next_digit(&rest, divisor);
  return (int32_t)(digit << 16 | bevel_next_digit(&rest, divisor));
}

#endif
