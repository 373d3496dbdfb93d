/* A row of a Softmax in three loops: its largest code, exponentials and their sum, shares.
 *
 * Two codes of int16 lie in a word, and so do their distances from the largest, which have no sign. Exponentials are
 * kept, four bytes each. Tables and shares are those of `calib/arithmetic/softmax.py`.
 */
#ifndef BEVEL_SOFTMAX_H
#define BEVEL_SOFTMAX_H

#include "bevel_reciprocal.h"

__attribute__((noinline, unused)) static int32_t bevel_softmax_largest_int8(const int8_t *x, int32_t count) {
  int32_t most = -128;
  if (count >= 4) {
    int32_t four = bevel_load_word(x);
    for (; count >= 4; count -= 4, x += 4) four = bevel_max_bytes(four, bevel_load_word(x));
    for (int32_t i = 0; i < 4; i++, four >>= 8) most = (int8_t)four > most ? (int8_t)four : most;
  }
  for (; count > 0; count--, x++) most = *x > most ? *x : most;
  return most;
}

__attribute__((noinline, unused)) static int32_t bevel_softmax_largest_int16(const int16_t *x, int32_t count) {
  int32_t two = bevel_pkhbt(x[0], x[0]);
  for (; count >= 8; count -= 8, x += 8)
    for (int32_t i = 0; i < 8; i += 2) two = bevel_max_halves(two, bevel_load_word(x + i));
  for (; count >= 2; count -= 2, x += 2) two = bevel_max_halves(two, bevel_load_word(x));
  if (count > 0) two = bevel_max_halves(two, bevel_pkhbt(x[0], x[0]));
  return (int16_t)two > two >> 16 ? (int16_t)two : two >> 16;
}

/* exp of a distance, of 16 bits without a sign. coarse: 2**15 times the table's entries; fine: twice. */
static inline int32_t bevel_softmax_power(uint32_t distance, const int32_t *coarse, const int32_t *fine) {
  return bevel_smmulr(coarse[distance >> 8 & 0xFF], fine[distance & 0xFF]);
}

/* Twice the exponentials, in `e`, and the sum of these. */
__attribute__((noinline, unused)) static int32_t bevel_softmax_powers_int16(int32_t *e, const int16_t *x, int32_t count,
                                                                            int32_t largest, const int32_t *coarse,
                                                                            const int32_t *fine) {
  const int32_t most = bevel_pkhbt(largest, largest);
  int32_t total = 0;
  for (; count >= 4; count -= 4, x += 4, e += 4) {
    for (int32_t i = 0; i < 4; i += 2) {
      const uint32_t two = (uint32_t)bevel_ssub16(most, bevel_load_word(x + i));
      const int32_t first = bevel_softmax_power(two & 0xFFFF, coarse, fine);
      const int32_t second = bevel_softmax_power(two >> 16, coarse, fine);
      e[i] = 2 * first;
      e[i + 1] = 2 * second;
      total += first + second;
    }
  }
  for (; count > 0; count--, x++, e++) {
    const int32_t one = bevel_softmax_power((uint32_t)(largest - *x), coarse, fine);
    *e = 2 * one;
    total += one;
  }
  return total;
}

/* The same of int8, whose distances are below 256. */
__attribute__((noinline, unused)) static int32_t bevel_softmax_powers_int8(int32_t *e, const int8_t *x, int32_t count,
                                                                           int32_t largest, const int32_t *coarse,
                                                                           const int32_t *fine) {
  const int32_t whole = coarse[0];
  int32_t total = 0, done = 0;
  for (; done + 4 <= count; done += 4) {
    for (int32_t i = done; i < done + 4; i++) {
      const int32_t one = bevel_smmulr(whole, fine[largest - x[i]]);
      e[i] = 2 * one;
      total += one;
    }
  }
  for (; done < count; done++) {
    const int32_t one = bevel_smmulr(whole, fine[largest - x[done]]);
    e[done] = 2 * one;
    total += one;
  }
  return total;
}

/* The same of one table. */
__attribute__((noinline, unused)) static int32_t bevel_softmax_entries(int32_t *e, const int8_t *x, int32_t count,
                                                                       int32_t largest, const int32_t *table) {
  uint32_t total = 0;
  for (; count >= 4; count -= 4, x += 4, e += 4)
    for (int32_t i = 0; i < 4; i++) total += (uint32_t)(e[i] = table[largest - x[i]]);
  for (; count > 0; count--, x++, e++) total += (uint32_t)(*e = table[largest - *x]);
  return (int32_t)total;
}

/* Constants, -32768 and 32767 where there is nothing more to hold. */
static inline __attribute__((always_inline)) int32_t bevel_softmax_within(int32_t y, int32_t low, int32_t high) {
  if (low > -32768) y = y < low ? low : y;
  if (high < 32767) y = y > high ? high : y;
  return y;
}

/* Shares of 16 bits as they are: y = ((2 * e * factor + 2**31) >> 32) - 32768. */
__attribute__((noinline, unused)) static void bevel_softmax_shares(int16_t *y, const int32_t *e, int32_t count,
                                                                   int32_t factor) {
  for (; count >= 4; count -= 4, y += 4, e += 4) {
    for (int32_t i = 0; i < 4; i += 2) {
      const int32_t two = bevel_pkhbt(bevel_smmulr(e[i], factor), bevel_smmulr(e[i + 1], factor));
      bevel_store_word(y + i, (int32_t)((uint32_t)two ^ 0x80008000u));
    }
  }
  for (; count > 0; count--, y++, e++) *y = (int16_t)(bevel_smmulr(*e, factor) - 32768);
}

/* Shares of fewer bits, y = (2 * e * factor + half) >> (32 + beyond), with the zero point in `rounding`; held to their
 * type. */
#define BEVEL_SOFTMAX_SHARES(name, type, store)                                                                    \
  static inline __attribute__((always_inline)) void name(type *y, const int32_t *e, int32_t count, int32_t factor, \
                                                         int32_t rounding, int32_t beyond, int32_t low,            \
                                                         int32_t high) {                                           \
    for (; count >= 4; count -= 4, y += 4, e += 4)                                                                 \
      for (int32_t i = 0; i < 4; i++)                                                                              \
        y[i] = (type)bevel_softmax_within(store(bevel_smmla(e[i], factor, rounding) >> beyond), low, high);        \
    for (; count > 0; count--, y++, e++)                                                                           \
      *y = (type)bevel_softmax_within(store(bevel_smmla(*e, factor, rounding) >> beyond), low, high);              \
  }

BEVEL_SOFTMAX_SHARES(bevel_softmax_shares_int8, int8_t, bevel_ssat8)
BEVEL_SOFTMAX_SHARES(bevel_softmax_shares_int16, int16_t, bevel_ssat16)

/* y = (256 * e + total / 2) / total + zero_point. */
static inline __attribute__((always_inline)) void bevel_softmax_parts(int8_t *y, const int32_t *e, int32_t count,
                                                                      int32_t total, int32_t zero_point, int32_t low,
                                                                      int32_t high) {
  const uint32_t sum = (uint32_t)total, half = sum >> 1;
  for (int32_t i = 0; i < count; i++) {
    const int32_t share = (int32_t)(((uint32_t)e[i] * 256 + half) / sum);
    y[i] = (int8_t)bevel_softmax_within(bevel_ssat8(share + zero_point), low, high);
  }
}

/* Codes of shares that are powers of two, as `calib/arithmetic/power_softmax.py` has them: the least c with
 * e * 2**(c + 2) >= 3 * total is told by how far both are from filling a word, and by a comparison of what fills it.
 * `e` are twice the exponentials, and 3 * total is below 2**32. Code 15 is an exponential below total / 2**15. */
__attribute__((noinline, unused)) static void bevel_softmax_codes(int8_t *y, const int32_t *e, int32_t count,
                                                                  int32_t total) {
  const uint32_t sum = total > 0 ? (uint32_t)total : 1, least = 2 * ((sum + 0x7FFF) >> 15);
  const int32_t places = __builtin_clz(3 * sum);
  const uint32_t middle = 3 * sum << places;
  for (int32_t i = 0; i < count; i++) {
    const uint32_t one = (uint32_t)e[i];
    int32_t code = 15;
    if (one >= least) {
      const int32_t high = __builtin_clz(one);
      code = high - places - 1 + (one << high < middle);
      code = code > 14 ? 14 : code;
    }
    y[i] = (int8_t)code;
  }
}

#endif
