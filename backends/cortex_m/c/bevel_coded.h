/* Products of int16 weights, as codes decode to, and activations widened to int16: `kernels/coded_conv_dsp.py`.
 *
 * Words hold two taps. Those of neighbouring pixels alternate in x, and those of four output channels in w, so that both
 * are read from one end to the other:
 *
 *     x   pixel 0, pixel 1 | pixel 0, pixel 1 | ...        w   channel 0, 1, 2, 3 | channel 0, 1, 2, 3 | ...
 */
#ifndef BEVEL_CODED_H
#define BEVEL_CODED_H

#include "bevel_dsp.h"

/* One function for all kernels: gcc would make one for each constant argument. */
#if defined(__clang__)
#define BEVEL_SHARED __attribute__((noinline, unused)) static
#else
#define BEVEL_SHARED __attribute__((noinline, noipa, unused)) static
#endif

/* Four times `quads` bytes as words, `step` words apart: of each four, first the even ones, then the odd ones. */
BEVEL_SHARED void bevel_widen_quads(int16_t *to, const int8_t *from, int32_t quads, int32_t step) {
  for (; quads > 0; --quads, from += 4, to += 4 * step) {
    const int32_t four = bevel_load_word(from);
    bevel_store_word(to, bevel_sxtb16(four));
    bevel_store_word(to + 2 * step, bevel_sxtb16_odd(four));
  }
}

/* `words` times two taps of one value, `step` words apart. */
BEVEL_SHARED void bevel_fill_words(int16_t *to, int32_t value, int32_t words, int32_t step) {
  const int32_t word = bevel_pkhbt(value, value);
  for (; words > 0; --words, to += 2 * step) bevel_store_word(to, word);
}

/* int8 results of two pixels and four channels, for shifts of 33 and more; the second pixel's are `step` further. */
BEVEL_SHARED void bevel_store_2x4(const int32_t *sums, const int32_t *multiplier, const int8_t *shift,
                                  int32_t zero_point, int32_t low, int32_t high, int8_t *y, int32_t step) {
  for (int32_t channel = 0; channel < 4; ++channel, ++y) {
    for (int32_t pixel = 0; pixel < 2; ++pixel) {
      const int32_t upper = (int32_t)((int64_t)*sums++ * multiplier[channel] >> 32);
      const int32_t result = (((upper >> (shift[channel] - 33)) + 1) >> 1) + zero_point;
      y[pixel * step] = (int8_t)(result < low ? low : result > high ? high : result);
    }
  }
}

#define BEVEL_STEP_PAIR                                                                \
  {                                                                                    \
    const int32_t a = bevel_load_word(x), b = bevel_load_word(x + 2);                 \
    const int32_t w0 = bevel_load_word(w), w1 = bevel_load_word(w + 2);               \
    a0 = bevel_smlad(a, w0, a0), b0 = bevel_smlad(b, w0, b0);                          \
    a1 = bevel_smlad(a, w1, a1), b1 = bevel_smlad(b, w1, b1);                          \
    const int32_t w2 = bevel_load_word(w + 4), w3 = bevel_load_word(w + 6);           \
    a2 = bevel_smlad(a, w2, a2), b2 = bevel_smlad(b, w2, b2);                          \
    a3 = bevel_smlad(a, w3, a3), b3 = bevel_smlad(b, w3, b3);                          \
    x += 4, w += 8;                                                                    \
  }

/* The sums of two pixels and four channels, from each channel's bias on: those of a channel are neighbours. */
BEVEL_SHARED void bevel_sum_2x4(const int16_t *x, const int16_t *w, int32_t pairs, const int32_t *bias, int32_t *sums) {
  int32_t a0 = bias[0], a1 = bias[1], a2 = bias[2], a3 = bias[3];
  int32_t b0 = a0, b1 = a1, b2 = a2, b3 = a3;
  const int16_t *const end = w + 8 * pairs;
  if (pairs & 1) goto odd;
  while (w != end) {
    BEVEL_STEP_PAIR
  odd:
    BEVEL_STEP_PAIR
  }
  sums[0] = a0, sums[1] = b0, sums[2] = a1, sums[3] = b1;
  sums[4] = a2, sums[5] = b2, sums[6] = a3, sums[7] = b3;
}

/* The sums of one pixel and four channels, in 64 bits. */
BEVEL_SHARED void bevel_sum_1x4(const int16_t *x, const int16_t *w, int32_t pairs, const int64_t *bias, int64_t *sums) {
  int64_t a0 = bias[0], a1 = bias[1], a2 = bias[2], a3 = bias[3];
  for (const int16_t *const end = w + 8 * pairs; w != end; x += 2, w += 8) {
    const int32_t a = bevel_load_word(x);
    a0 = bevel_smlald(a, bevel_load_word(w), a0);
    a1 = bevel_smlald(a, bevel_load_word(w + 2), a1);
    a2 = bevel_smlald(a, bevel_load_word(w + 4), a2);
    a3 = bevel_smlald(a, bevel_load_word(w + 6), a3);
  }
  sums[0] = a0, sums[1] = a1, sums[2] = a2, sums[3] = a3;
}

#endif
