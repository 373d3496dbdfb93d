/* Rows less their mean, over their deviation, each times a factor and with an offset of its own: the arithmetic of
 * `calib/arithmetic/normalize.py`, in words.
 *
 * Sums are of the codes as they are; what the zero point changes of them is known. A root comes from that of its upper
 * half and one division, and is put right by the squares beside it.
 */
#ifndef BEVEL_NORMALIZE_H
#define BEVEL_NORMALIZE_H

#include "bevel_reciprocal.h"

/* floor(sqrt(x)) of x in [2**30, 2**32), bit by bit. */
static inline uint32_t bevel_short_root(uint32_t x) {
  uint32_t root = 0;
  for (uint32_t bit = 1u << 15; bit > 0; bit >>= 1)
    if ((root | bit) * (root | bit) <= x) root |= bit;
  return root;
}

/* floor(sqrt(x)) of x in [2**58, 2**60). */
__attribute__((noinline, unused)) static uint32_t bevel_long_root(uint64_t x) {
  const uint32_t upper = bevel_short_root((uint32_t)(x >> 28));
  const uint64_t rest = x - ((uint64_t)(upper * upper) << 28);
  uint32_t root = (upper << 14) + (uint32_t)(rest >> 15) / upper;
  while ((uint64_t)root * root > x) root--;
  while ((uint64_t)(root + 1) * (root + 1) <= x) root++;
  return root;
}

/* 2**59 / root, of 30 bits, rounded down. */
static inline int32_t bevel_inverse_root(uint32_t root) {
  const uint32_t divisor = root << 2;
  uint32_t rest = 1u << 29;
  const uint32_t digit = bevel_next_digit(&rest, divisor);
  return (int32_t)(digit << 16 | bevel_next_digit(&rest, divisor));
}

/* The sum of codes, and of their squares. */
#define BEVEL_NORMALIZE_SUMS(name, type)                                                                     \
  __attribute__((noinline, unused)) static int32_t name(const type *x, int32_t count, int64_t *squares) {    \
    int32_t sum = 0;                                                                                         \
    int64_t total = 0;                                                                                       \
    for (int32_t i = 0; i < count; i++) {                                                                    \
      sum += x[i];                                                                                           \
      total += (int64_t)x[i] * x[i];                                                                         \
    }                                                                                                        \
    *squares = total;                                                                                        \
    return sum;                                                                                              \
  }

BEVEL_NORMALIZE_SUMS(bevel_normalize_sums_int8, int8_t)

__attribute__((noinline, unused)) static int32_t bevel_normalize_sums_int16(const int16_t *x, int32_t count,
                                                                            int64_t *squares) {
  int32_t sum = 0;
  int64_t total = 0;
  for (; count >= 4; count -= 4, x += 4) {
    const int32_t first = bevel_load_word(x), second = bevel_load_word(x + 2);
    sum = bevel_smlad(second, 0x10001, bevel_smlad(first, 0x10001, sum));
    total = bevel_smlald(second, second, bevel_smlald(first, first, total));
  }
  for (; count > 0; count--, x++) {
    sum += *x;
    total += *x * *x;
  }
  *squares = total;
  return sum;
}

/* What a row's steps are multiplied by, and how far they are shifted left before, less `raised`. sum: of steps. */
static inline int32_t bevel_normalize_inverse(int32_t sum, int64_t squares, int32_t count, int32_t center,
                                              int64_t epsilon, int32_t *places) {
  const int64_t spread = center ? count * squares - (int64_t)sum * sum : squares;
  const uint64_t under = spread + epsilon > 0 ? (uint64_t)(spread + epsilon) : 1;
  *places = (__builtin_clzll(under) - 4) / 2;
  return bevel_inverse_root(bevel_long_root(under << 2 * *places));
}

/* A row; beyond what its type holds, results are held to `low` and `high`, -32768 and 32767 where to nothing. */
#define BEVEL_NORMALIZE_ROW(name, x_name, x_type, y_type, store)                                                                   \
  static inline __attribute__((always_inline)) void name(                                                             \
      y_type *y, const x_type *x, const int32_t *factor, const int32_t *offset, int32_t count, int32_t center,        \
      int32_t x_zero_point, int64_t epsilon, int32_t raised, int32_t beyond, int32_t zero_point, int32_t low,         \
      int32_t high) {                                                                                                 \
    int64_t squares;                                                                                                  \
    int32_t places;                                                                                                   \
    const int32_t codes = bevel_normalize_sums_##x_name(x, count, &squares);                                          \
    const int32_t sum = codes - count * x_zero_point;                                                                 \
    squares += (int64_t)count * x_zero_point * x_zero_point - 2 * (int64_t)x_zero_point * codes;                      \
    const int32_t inverse = bevel_normalize_inverse(sum, squares, count, center, epsilon, &places) ;                  \
    const int32_t up = places + raised > 0 ? places + raised : 0, down = places + raised < 0 ? -places - raised : 0;  \
    const int32_t times = center ? count : 1, less = center ? -codes : -x_zero_point;                                 \
    for (int32_t i = 0; i < count; i++) {                                                                             \
      const int32_t step = bevel_shift_left(bevel_mla(times, x[i], less), up) >> down;                                \
      const int32_t t = bevel_smmulr(step, inverse);                                                                  \
      const int32_t moved = (bevel_smmla(t, factor[i], offset[i]) >> beyond) + zero_point;                            \
      int32_t held = store(moved);                                                                                    \
      if (low > -32768) held = held < low ? low : held;                                                               \
      if (high < 32767) held = held > high ? high : held;                                                             \
      y[i] = (y_type)held;                                                                                            \
    }                                                                                                                 \
  }

BEVEL_NORMALIZE_ROW(bevel_normalize_int8_int8, int8, int8_t, int8_t, bevel_ssat8)
BEVEL_NORMALIZE_ROW(bevel_normalize_int8_int16, int8, int8_t, int16_t, bevel_ssat16)
BEVEL_NORMALIZE_ROW(bevel_normalize_int16_int8, int16, int16_t, int8_t, bevel_ssat8)
BEVEL_NORMALIZE_ROW(bevel_normalize_int16_int16, int16, int16_t, int16_t, bevel_ssat16)

#endif
