/* The sums of a step of a recurrent network: rows of int8 weights by a vector of int16, four rows at a time.
 *
 * The vector is widened to words of two elements, with zeros behind the last one, to whole fours. Of four elements of
 * four rows there are four words of weights, one a row, whose bytes are elements 0, 2, 1, 3: then the even bytes are
 * the first word's factors, the odd ones the second's.
 */
#ifndef BEVEL_RECURRENT_H
#define BEVEL_RECURRENT_H

#include "bevel_matmul.h"

/* `count` int8 elements as the words of a vector. */
__attribute__((noinline, unused)) static void bevel_recurrent_int8(int32_t *to, const int8_t *x, int32_t count,
                                                                   int32_t words) {
  (void)bevel_matmul_widen_int8(to, 1, x, 1, count, words, 0);
}

__attribute__((noinline, unused)) static void bevel_recurrent_int16(int32_t *to, const int16_t *x, int32_t count,
                                                                    int32_t words) {
  bevel_matmul_widen_int16(to, 1, x, 1, count, words);
}

/* Four elements of a row: `w` of the weights. */
#define BEVEL_RECURRENT_ROW(sum, w) \
  sum = bevel_smlad(bevel_sxtb16(w), even, sum), sum = bevel_smlad(bevel_sxtb16_odd(w), odd, sum)

/* The sums of `rows` rows; `words` of the vector, an even number. */
__attribute__((noinline, unused)) static void bevel_recurrent_rows(int32_t *sums, const int32_t *weights,
                                                                   const int32_t *vector, int32_t words,
                                                                   int32_t rows) {
  for (; rows > 0; rows -= 4, sums += 4) {
    int32_t sum0 = 0, sum1 = 0, sum2 = 0, sum3 = 0;
    const int32_t *v = vector;
    for (int32_t left = words; left > 0; left -= 2, v += 2, weights += 4) {
      const int32_t even = v[0], odd = v[1];
      BEVEL_RECURRENT_ROW(sum0, weights[0]);
      BEVEL_RECURRENT_ROW(sum1, weights[1]);
      BEVEL_RECURRENT_ROW(sum2, weights[2]);
      BEVEL_RECURRENT_ROW(sum3, weights[3]);
    }
    sums[0] = sum0;
    if (rows > 1) sums[1] = sum1;
    if (rows > 2) sums[2] = sum2;
    if (rows > 3) sums[3] = sum3;
  }
}

#endif
