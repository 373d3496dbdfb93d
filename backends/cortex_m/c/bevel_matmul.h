/* Products of two activations: two rows of a by four columns of b at a time.
 *
 * Both are widened to pairs of int16, one row of a or column of b along the summed axis, in words:
 *
 *       a, two rows:         a0[0..1], a1[0..1], a0[2..3], a1[2..3], ...
 *       b, a block of four:  where the four sums start, then b0[0..1], b1[0..1], b2[0..1], b3[0..1], b0[2..3], ...
 *
 * with zeros behind the last element, to whole fours of elements. int8 is widened less its zero point. Of int16 the
 * codes themselves are multiplied, and sums start at -zero_point * sum(b), which is what that leaves out; where b is
 * int16, too, what a row leaves out, -zero_point * sum(a), lies behind the rows and is added last. Sums wrap around:
 * only what they come to must fit a word.
 */
#ifndef BEVEL_MATMUL_H
#define BEVEL_MATMUL_H

#include "bevel_dsp.h"

#if defined(__ARM_FEATURE_DSP) && __ARM_FEATURE_DSP

#ifndef BEVEL_ASSEMBLY
#if defined(__clang__)
#define BEVEL_ASSEMBLY __attribute__((naked, noinline, unused)) static
#else
#define BEVEL_ASSEMBLY __attribute__((naked, noinline, noipa, unused)) static
#endif
#endif

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-parameter" /* assembly reads them in their registers */

/* Two elements of two rows and four columns, 16 products in 11 instructions. */
#define BEVEL_MATMUL_STEP      \
  "ldrd r2, r3, [r0], #8\n"    \
  "ldrd r12, lr, [r1], #8\n"   \
  "smlad r4, r2, r12, r4\n"    \
  "smlad r8, r3, r12, r8\n"    \
  "smlad r5, r2, lr, r5\n"     \
  "smlad r9, r3, lr, r9\n"     \
  "ldrd r12, lr, [r1], #8\n"   \
  "smlad r6, r2, r12, r6\n"    \
  "smlad r10, r3, r12, r10\n"  \
  "smlad r7, r2, lr, r7\n"     \
  "smlad r11, r3, lr, r11\n"

/* `words` of each row, an even number; four of them a round, of which the first is a half where they are no fours. */
BEVEL_ASSEMBLY void bevel_matmul_2x4(const int32_t *a, const int32_t *b, int32_t words, int32_t *sums) {
  __asm__ volatile(
      "push {r3-r11, lr}\n"
      "add r3, r0, r2, lsl #3\n"
      "push {r2, r3}\n"
      "tst r2, #2\n"
      "ldm r1!, {r4-r7}\n"
      "mov r8, r4\n"
      "mov r9, r5\n"
      "mov r10, r6\n"
      "mov r11, r7\n"
      "bne 2f\n"
      "1:\n" BEVEL_MATMUL_STEP BEVEL_MATMUL_STEP
      "2:\n" BEVEL_MATMUL_STEP BEVEL_MATMUL_STEP
      "ldr r2, [sp, #4]\n"
      "cmp r0, r2\n"
      "bne 1b\n"
      "pop {r2, r3}\n"
      "pop {r3}\n"
      "stm r3, {r4-r11}\n"
      "pop {r4-r11, pc}\n" ::: "memory");
}

#pragma GCC diagnostic pop

#else

static inline void bevel_matmul_2x4(const int32_t *a, const int32_t *b, int32_t words, int32_t *sums) {
  for (int32_t i = 0; i < 8; i++) sums[i] = b[i % 4];
  for (int32_t w = 0; w < words; w++)
    for (int32_t i = 0; i < 8; i++) sums[i] = bevel_smlad(a[2 * w + i / 4], b[4 + 4 * w + i % 4], sums[i]);
}

#endif

/* The elements x[0], x[step], ... as pairs in every `lanes`th of `words` words; their sum. */
static inline int32_t bevel_matmul_widen_int8(int32_t *to, int32_t lanes, const int8_t *x, int32_t step, int32_t count,
                                              int32_t words, int32_t zero_point) {
  const int32_t below = bevel_pkhbt(-zero_point, -zero_point), ones = 0x10001;
  int32_t total = 0, done = 0;
  if (step == 1) {
    for (; done + 4 <= count; done += 4, words -= 2, to += 2 * lanes) {
      const int32_t four = bevel_load_word(x + done);
      const int32_t even = bevel_sxtab16(below, four), odd = bevel_sxtab16_odd(below, four);
      to[0] = bevel_pkhbt(even, odd);
      to[lanes] = bevel_pkhtb(even, odd);
      total = bevel_smlad(even, ones, bevel_smlad(odd, ones, total));
    }
  }
  for (; words > 0; done += 2, words--, to += lanes) {
    const int32_t low = done < count ? x[done * step] - zero_point : 0;
    const int32_t high = done + 1 < count ? x[(done + 1) * step] - zero_point : 0;
    *to = bevel_pkhbt(low, high);
    total += low + high;
  }
  return total;
}

/* The same of int16 as they are; their sum, modulo 2**32, is one instruction more where somebody needs it. */
static inline int32_t bevel_matmul_widen_int16(int32_t *to, int32_t lanes, const int16_t *x, int32_t step,
                                               int32_t count, int32_t words) {
  int32_t total = 0, done = 0;
  if (step == 1) {
    for (; done + 2 <= count; done += 2, words--, to += lanes) {
      *to = bevel_load_word(x + done);
      total = bevel_smlad(*to, 0x10001, total);
    }
  }
  for (; words > 0; done += 2, words--, to += lanes) {
    const int32_t low = done < count ? x[done * step] : 0, high = done + 1 < count ? x[(done + 1) * step] : 0;
    *to = bevel_pkhbt(low, high);
    total = bevel_smlad(*to, 0x10001, total);
  }
  return total;
}

/* A block of up to four columns of b, `next` elements apart; `shared` is what is subtracted from every element of a.
 * A column more than once, rather than what memory holds, fills it up. */
__attribute__((noinline, unused)) static void bevel_matmul_block_int8(int32_t *block, const int8_t *b, int32_t step,
                                                                      int32_t next, int32_t columns, int32_t count,
                                                                      int32_t words, int32_t zero_point,
                                                                      int32_t shared) {
  for (int32_t u = 0; u < 4; u++) {
    const int32_t used = u < columns ? u : columns - 1;
    const int32_t total = bevel_matmul_widen_int8(block + 4 + u, 4, b + used * next, step, count, words, zero_point);
    block[u] = (int32_t)(0u - (uint32_t)shared * (uint32_t)total);
  }
}

__attribute__((noinline, unused)) static void bevel_matmul_block_int16(int32_t *block, const int16_t *b, int32_t step,
                                                                       int32_t next, int32_t columns, int32_t count,
                                                                       int32_t words, int32_t zero_point,
                                                                       int32_t shared) {
  for (int32_t u = 0; u < 4; u++) {
    const int32_t used = u < columns ? u : columns - 1;
    const int32_t total = bevel_matmul_widen_int16(block + 4 + u, 4, b + used * next, step, count, words);
    block[u] = (int32_t)((uint32_t)shared * ((uint32_t)count * (uint32_t)zero_point - (uint32_t)total));
  }
}

/* Two rows of a, int8 less their zero point. */
__attribute__((noinline, unused)) static void bevel_matmul_rows_int8(int32_t *to, const int8_t *x0, const int8_t *x1,
                                                                     int32_t step, int32_t count, int32_t words,
                                                                     int32_t zero_point) {
  const int32_t below = bevel_pkhbt(-zero_point, -zero_point);
  if (step == 1) {
    for (; count >= 4; count -= 4, words -= 2, x0 += 4, x1 += 4, to += 4) {
      const int32_t four0 = bevel_load_word(x0), four1 = bevel_load_word(x1);
      const int32_t even0 = bevel_sxtab16(below, four0), odd0 = bevel_sxtab16_odd(below, four0);
      const int32_t even1 = bevel_sxtab16(below, four1), odd1 = bevel_sxtab16_odd(below, four1);
      to[0] = bevel_pkhbt(even0, odd0);
      to[1] = bevel_pkhbt(even1, odd1);
      to[2] = bevel_pkhtb(even0, odd0);
      to[3] = bevel_pkhtb(even1, odd1);
    }
  }
  (void)bevel_matmul_widen_int8(to, 2, x0, step, count, words, zero_point);
  (void)bevel_matmul_widen_int8(to + 1, 2, x1, step, count, words, zero_point);
}

/* Two rows of a, int16 as they are. */
__attribute__((noinline, unused)) static void bevel_matmul_rows_int16(int32_t *to, const int16_t *x0, const int16_t *x1,
                                                                      int32_t step, int32_t count, int32_t words) {
  if (step == 1) {
    for (; count >= 4; count -= 4, words -= 2, x0 += 4, x1 += 4, to += 4) {
      to[0] = bevel_load_word(x0);
      to[1] = bevel_load_word(x1);
      to[2] = bevel_load_word(x0 + 2);
      to[3] = bevel_load_word(x1 + 2);
    }
  }
  (void)bevel_matmul_widen_int16(to, 2, x0, step, count, words);
  (void)bevel_matmul_widen_int16(to + 1, 2, x1, step, count, words);
}

/* The same for columns of int16, from each of which `zero_point` is subtracted. */
__attribute__((noinline, unused)) static void bevel_matmul_rows_both(int32_t *to, const int16_t *x0, const int16_t *x1,
                                                                     int32_t step, int32_t count, int32_t words,
                                                                     int32_t zero_point) {
  const int32_t first = bevel_matmul_widen_int16(to, 2, x0, step, count, words);
  const int32_t second = bevel_matmul_widen_int16(to + 1, 2, x1, step, count, words);
  to[2 * words] = (int32_t)(0u - (uint32_t)zero_point * (uint32_t)first);
  to[2 * words + 1] = (int32_t)(0u - (uint32_t)zero_point * (uint32_t)second);
}

/* All columns of two rows, `step` elements apart in y. Both may be the same place. A sum is shifted left by scale[0],
 * its product with scale[1] has scale[2] added to its upper word, which is shifted right by scale[3]; then scale[4] is
 * added. */
#define BEVEL_MATMUL_PRODUCTS(name, type, store, row)                                                               \
  __attribute__((noinline, unused)) static void name(const int32_t *a, const int32_t *b, int32_t words,        \
                                                     int32_t columns, type *y0, type *y1, int32_t step,        \
                                                     const int32_t *scale) {                                   \
    const int32_t raised = scale[0], multiplier = scale[1], rounding = scale[2], beyond = scale[3];            \
    const int32_t zero_point = scale[4];                                                                       \
    int32_t sums[8];                                                                                           \
    for (; columns > 0; columns -= 4, b += 4 + 4 * words) {                                                    \
      bevel_matmul_2x4(a, b, words, sums);                                                                     \
      for (int32_t u = 0; u < 4 && u < columns; u++, y0 += step, y1 += step) {                                 \
        const int32_t whole = row(sums[u], a, 2 * words), other = row(sums[4 + u], a, 2 * words + 1);          \
        const int32_t first = bevel_smmla(bevel_shift_left(whole, raised), multiplier, rounding) >> beyond;    \
        const int32_t second = bevel_smmla(bevel_shift_left(other, raised), multiplier, rounding) >> beyond;   \
        *y1 = (type)store(second + zero_point, scale);                                                         \
        *y0 = (type)store(first + zero_point, scale);                                                          \
      }                                                                                                        \
    }                                                                                                          \
  }

/* What a result is held to: all of its type, or scale[5] to scale[6]. */
#define BEVEL_MATMUL_INT8(y, scale) bevel_ssat8(y)
#define BEVEL_MATMUL_INT16(y, scale) bevel_ssat16(y)
#define BEVEL_MATMUL_WITHIN(y, scale) ((y) < (scale)[5] ? (scale)[5] : (y) > (scale)[6] ? (scale)[6] : (y))

/* What is added to a sum behind its products: nothing, or what lies behind the rows. */
#define BEVEL_MATMUL_ALONE(sum, rows, place) (sum)
#define BEVEL_MATMUL_BOTH(sum, rows, place) ((int32_t)((uint32_t)(sum) + (uint32_t)(rows)[place]))

BEVEL_MATMUL_PRODUCTS(bevel_matmul_products_int8, int8_t, BEVEL_MATMUL_INT8, BEVEL_MATMUL_ALONE)
BEVEL_MATMUL_PRODUCTS(bevel_matmul_products_int8_both, int8_t, BEVEL_MATMUL_INT8, BEVEL_MATMUL_BOTH)
BEVEL_MATMUL_PRODUCTS(bevel_matmul_products_int16, int16_t, BEVEL_MATMUL_INT16, BEVEL_MATMUL_ALONE)
BEVEL_MATMUL_PRODUCTS(bevel_matmul_products_int16_both, int16_t, BEVEL_MATMUL_INT16, BEVEL_MATMUL_BOTH)
BEVEL_MATMUL_PRODUCTS(bevel_matmul_products_int8_within, int8_t, BEVEL_MATMUL_WITHIN, BEVEL_MATMUL_ALONE)
BEVEL_MATMUL_PRODUCTS(bevel_matmul_products_int8_within_both, int8_t, BEVEL_MATMUL_WITHIN, BEVEL_MATMUL_BOTH)
BEVEL_MATMUL_PRODUCTS(bevel_matmul_products_int16_within, int16_t, BEVEL_MATMUL_WITHIN, BEVEL_MATMUL_ALONE)
BEVEL_MATMUL_PRODUCTS(bevel_matmul_products_int16_within_both, int16_t, BEVEL_MATMUL_WITHIN, BEVEL_MATMUL_BOTH)

#endif
