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

#if defined(__ARM_FEATURE_DSP) && __ARM_FEATURE_DSP

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-parameter" /* assembly reads them in their registers */

/* Four elements of a row, whose weights `w` are lost. */
#define BEVEL_RECURRENT_ROW(sum, w)    \
  "sxtb16 r3, " w "\n"                 \
  "smlad " sum ", r3, r8, " sum "\n"   \
  "sxtb16 " w ", " w ", ror #8\n"      \
  "smlad " sum ", " w ", r9, " sum "\n"

/* The sums of four rows; `words` of the vector, an even number. Sixteen products are eighteen instructions. */
BEVEL_ASSEMBLY void bevel_recurrent_4(const int32_t *vector, const int32_t *weights, int32_t words, int32_t *sums) {
  __asm__ volatile(
      "push {r3-r11, lr}\n"
      "add r2, r0, r2, lsl #2\n"
      "mov r4, #0\n"
      "mov r5, #0\n"
      "mov r6, #0\n"
      "mov r7, #0\n"
      "1:\n"
      "ldrd r8, r9, [r0], #8\n"
      "ldm r1!, {r10, r11, r12, lr}\n"
      BEVEL_RECURRENT_ROW("r4", "r10")
      BEVEL_RECURRENT_ROW("r5", "r11")
      BEVEL_RECURRENT_ROW("r6", "r12")
      BEVEL_RECURRENT_ROW("r7", "lr")
      "cmp r0, r2\n"
      "bne 1b\n"
      "pop {r3}\n"
      "stm r3, {r4-r7}\n"
      "pop {r4-r11, pc}\n" ::: "memory");
}

#pragma GCC diagnostic pop

#else

static inline void bevel_recurrent_4(const int32_t *vector, const int32_t *weights, int32_t words, int32_t *sums) {
  for (int32_t row = 0; row < 4; row++) {
    int32_t sum = 0;
    for (int32_t word = 0; word < words; word += 2) {
      const int32_t four = weights[2 * word + row];
      sum = bevel_smlad(bevel_sxtb16(four), vector[word], sum);
      sum = bevel_smlad(bevel_sxtb16_odd(four), vector[word + 1], sum);
    }
    sums[row] = sum;
  }
}

#endif

/* The sums of `rows` rows. */
__attribute__((noinline, unused)) static void bevel_recurrent_rows(int32_t *sums, const int32_t *weights,
                                                                   const int32_t *vector, int32_t words,
                                                                   int32_t rows) {
  for (; rows >= 4; rows -= 4, sums += 4, weights += 2 * words) bevel_recurrent_4(vector, weights, words, sums);
  if (rows > 0) {
    int32_t last[4];
    bevel_recurrent_4(vector, weights, words, last);
    for (int32_t row = 0; row < rows; row++) sums[row] = last[row];
  }
}

#endif
