/* The sums of a step of a recurrent network on Helium: rows of int8 weights by a vector, four rows at a time.
 *
 * Of an int8 vector sixteen products are an instruction, of an int16 one eight, whose weights are widened as they are
 * loaded. Rows lie in tiles of four, [tiles, blocks, 4, 16 or 8 bytes], with zeros behind the last weight of a row: what
 * the vector holds there, in scratch, is nothing.
 */
#ifndef BEVEL_RECURRENT_MVE_H
#define BEVEL_RECURRENT_MVE_H

#include "bevel_mve.h"

static inline void bevel_recurrent_mve_lay_int8(int32_t *to, const int8_t *x, int32_t count, int32_t words) {
  (void)words;
  __builtin_memcpy(to, x, (uint32_t)count);
}

static inline void bevel_recurrent_mve_lay_int16(int32_t *to, const int16_t *x, int32_t count, int32_t words) {
  (void)words;
  __builtin_memcpy(to, x, 2 * (uint32_t)count);
}

#if defined(__ARM_FEATURE_MVE) && (__ARM_FEATURE_MVE & 1)

#define BEVEL_RECURRENT_TILE(TYPE, LOAD, LOAD_WEIGHTS, DOT, LANES)               \
  for (int32_t block = words / 4; block > 0; block--, v += LANES, w += 4 * LANES) { \
    const TYPE x = LOAD(v);                                                      \
    sum0 = DOT(sum0, LOAD_WEIGHTS(w), x);                                        \
    sum1 = DOT(sum1, LOAD_WEIGHTS(w + LANES), x);                                \
    sum2 = DOT(sum2, LOAD_WEIGHTS(w + 2 * LANES), x);                            \
    sum3 = DOT(sum3, LOAD_WEIGHTS(w + 3 * LANES), x);                            \
  }

#else

#define BEVEL_RECURRENT_TILE(TYPE, LOAD, LOAD_WEIGHTS, DOT, LANES)               \
  for (int32_t block = words / 4; block > 0; block--, v += LANES, w += 4 * LANES) { \
    for (int32_t lane = 0; lane < LANES; lane++) {                               \
      sum0 += v[lane] * w[lane];                                                 \
      sum1 += v[lane] * w[lane + LANES];                                         \
      sum2 += v[lane] * w[lane + 2 * LANES];                                     \
      sum3 += v[lane] * w[lane + 3 * LANES];                                     \
    }                                                                            \
  }

#endif

/* The sums of `rows` rows of weights by the vector, which has `words`. */
#define BEVEL_RECURRENT_ROWS(NAME, ELEMENT, ...)                                                                  \
  __attribute__((noinline, unused)) static void NAME(int32_t *sums, const int8_t *w, const int32_t *vector,       \
                                                     int32_t words, int32_t rows) {                               \
    for (; rows > 0; rows -= 4, sums += 4) {                                                                      \
      const ELEMENT *v = (const ELEMENT *)(const void *)vector;                                                   \
      int32_t sum0 = 0, sum1 = 0, sum2 = 0, sum3 = 0;                                                             \
      BEVEL_RECURRENT_TILE(__VA_ARGS__)                                                                           \
      sums[0] = sum0;                                                                                             \
      if (rows > 1) sums[1] = sum1;                                                                               \
      if (rows > 2) sums[2] = sum2;                                                                               \
      if (rows > 3) sums[3] = sum3;                                                                               \
    }                                                                                                             \
  }

BEVEL_RECURRENT_ROWS(bevel_recurrent_mve_rows_int8, int8_t, int8x16_t, vldrbq_s8, vldrbq_s8, vmladavaq_s8, 16)
BEVEL_RECURRENT_ROWS(bevel_recurrent_mve_rows_int16, int16_t, int16x8_t, vldrhq_s16, vldrbq_s16, vmladavaq_s16, 8)

#endif
