/* Weights of two or four bits for Helium: four or two channels in each byte; see positional_mve.py.
 *
 * The lowest channels' digits are weights less `least`, the last one's is signed. A vector of bytes is multiplied as it
 * is loaded and again for each channel but the last one, masked to fewer channels each time. What two neighbouring sums
 * differ by is one channel's sum, moved left as its digit was in the byte.
 */
#ifndef BEVEL_POSITIONAL_MVE_H
#define BEVEL_POSITIONAL_MVE_H

#include "bevel_mve.h"

#if defined(__ARM_FEATURE_MVE) && (__ARM_FEATURE_MVE & 1)

/* As BEVEL_2X4 and BEVEL_1X8: a load or a mask between any two products. */
#define BEVEL_2X4_FOUR(MAC)                                                                                       \
  "vldrb.8 %q[s], [%[x0]], #16\n\tvldrb.8 %q[u], [%[w]], #16\n\t" MAC " r2, %q[s], %q[u]\n\t"                     \
  "vldrb.8 %q[t], [%[x1]], #16\n\t" MAC " r10, %q[t], %q[u]\n\tvand %q[u], %q[u], %q[m]\n\t"                      \
  MAC " r0, %q[s], %q[u]\n\tvldrb.8 %q[v], [%[w]], #16\n\t" MAC " r8, %q[t], %q[u]\n\t"                           \
  "vand %q[u], %q[v], %q[m]\n\t" MAC " r6, %q[s], %q[v]\n\t" MAC " lr, %q[t], %q[v]\n\t"                          \
  MAC " r4, %q[s], %q[u]\n\t" MAC " r12, %q[t], %q[u]\n\t"

#define BEVEL_2X4_TWO(MAC)                                                                                        \
  "vldrb.8 %q[s], [%[x0]], #16\n\tvldrb.8 %q[u], [%[w]], #16\n\t" MAC " r6, %q[s], %q[u]\n\t"                     \
  "vldrb.8 %q[t], [%[x1]], #16\n\t" MAC " lr, %q[t], %q[u]\n\tvand %q[v], %q[u], %q[k]\n\t"                       \
  MAC " r4, %q[s], %q[v]\n\tvand %q[u], %q[u], %q[m]\n\t" MAC " r12, %q[t], %q[v]\n\t"                            \
  "vand %q[v], %q[v], %q[l]\n\t" MAC " r2, %q[s], %q[u]\n\t" MAC " r10, %q[t], %q[u]\n\t"                        \
  MAC " r0, %q[s], %q[v]\n\t" MAC " r8, %q[t], %q[v]\n\t"

#define BEVEL_1X8_FOUR(MAC)                                                                                       \
  "vldrb.8 %q[s], [%[x0]], #16\n\tvldrb.8 %q[u], [%[w]], #16\n\t" MAC " r2, %q[s], %q[u]\n\t"                     \
  "vand %q[u], %q[u], %q[m]\n\tvldrb.8 %q[t], [%[w]], #16\n\t" MAC " r0, %q[s], %q[u]\n\t"                        \
  "vand %q[v], %q[t], %q[m]\n\t" MAC " r6, %q[s], %q[t]\n\tvldrb.8 %q[u], [%[w]], #16\n\t"                        \
  MAC " r4, %q[s], %q[v]\n\tvand %q[v], %q[u], %q[m]\n\t" MAC " r10, %q[s], %q[u]\n\t"                            \
  "vldrb.8 %q[t], [%[w]], #16\n\t" MAC " r8, %q[s], %q[v]\n\tvand %q[v], %q[t], %q[m]\n\t"                        \
  MAC " lr, %q[s], %q[t]\n\t" MAC " r12, %q[s], %q[v]\n\t"

#define BEVEL_1X8_TWO(MAC)                                                                                        \
  "vldrb.8 %q[s], [%[x0]], #16\n\tvldrb.8 %q[u], [%[w]], #16\n\t" MAC " r6, %q[s], %q[u]\n\t"                     \
  "vand %q[v], %q[u], %q[k]\n\tvldrb.8 %q[t], [%[w]], #16\n\t" MAC " r4, %q[s], %q[v]\n\t"                        \
  "vand %q[u], %q[u], %q[m]\n\t" MAC " lr, %q[s], %q[t]\n\tvand %q[v], %q[v], %q[l]\n\t"                         \
  MAC " r2, %q[s], %q[u]\n\tvand %q[u], %q[t], %q[k]\n\t" MAC " r0, %q[s], %q[v]\n\t"                             \
  "vand %q[t], %q[t], %q[m]\n\t" MAC " r12, %q[s], %q[u]\n\tvand %q[u], %q[u], %q[l]\n\t"                        \
  MAC " r10, %q[s], %q[t]\n\t" MAC " r8, %q[s], %q[u]\n\t"

#define BEVEL_APART_FOUR "sub r2, r2, r0\n\tsub r6, r6, r4\n\tsub r10, r10, r8\n\tsub lr, lr, r12\n\t"
#define BEVEL_APART_TWO                                                                                           \
  "sub r6, r6, r4\n\tsub r4, r4, r2\n\tsub r2, r2, r0\n\tsub lr, lr, r12\n\tsub r12, r12, r10\n\tsub r10, r10, r8\n\t"

#define BEVEL_MASKS_FOUR [m] "w"(vdupq_n_u8(0x0F))
#define BEVEL_MASKS_TWO [k] "w"(vdupq_n_u8(0x3F)), [m] "w"(vdupq_n_u8(0x0F)), [l] "w"(vdupq_n_u8(0x03))

#define BEVEL_POSITIONAL_DOT(TILE)                                            \
  BEVEL_EIGHT_SUMS;                                                           \
  if (bits == 4) {                                                            \
    BEVEL_DOT(TILE##_FOUR, BEVEL_APART_FOUR, BEVEL_MASKS_FOUR);               \
  } else {                                                                    \
    BEVEL_DOT(TILE##_TWO, BEVEL_APART_TWO, BEVEL_MASKS_TWO);                  \
  }

/* What the digits of four channels lack, moved left as their sums are. */
BEVEL_INLINE int32x4_t bevel_mve_lacking(int bits, int least) {
  const int32x4_t four = {least, (least + 8) * 16, least, (least + 8) * 16};
  const int32x4_t two = {least, least * 4, least * 16, (least + 2) * 64};
  return bits == 4 ? four : two;
}

BEVEL_INLINE int32_t bevel_mve_sum(const int8_t *x, int blocks) {
  int32_t sum = 0;
#pragma GCC unroll 16
  for (; blocks > 0; --blocks, x += 16) sum = vaddvaq_s8(sum, vldrbq_s8(x));
  return sum;
}

BEVEL_INLINE const int8_t *bevel_mve_positional_2x4(int8_t *y, int step, const int8_t *x0, const int8_t *x1,
                                                    const int8_t *w, const int32_t *rescaling, int blocks, int count,
                                                    BEVEL_OUTPUT, int bits, int32x4_t lacking, int32_t sum0,
                                                    int32_t sum1) {
  BEVEL_POSITIONAL_DOT(BEVEL_2X4);
  first = vmlaq_n_s32(first, lacking, sum0);
  second = vmlaq_n_s32(second, lacking, sum1);
  bevel_mve_put_2x4(y, step, first, second, rescaling, count, zero_point, low, high, lifted);
  return w;
}

BEVEL_INLINE const int8_t *bevel_mve_positional_1x8(int8_t *y, const int8_t *x0, const int8_t *w,
                                                    const int32_t *rescaling, int blocks, int count, BEVEL_OUTPUT,
                                                    int bits, int32x4_t lacking, int32_t sum) {
  const int8_t *x1 = x0;
  BEVEL_POSITIONAL_DOT(BEVEL_1X8);
  first = vmlaq_n_s32(first, lacking, sum);
  second = vmlaq_n_s32(second, lacking, sum);
  bevel_mve_put_1x8(y, first, second, rescaling, count, zero_point, low, high, lifted);
  return w;
}

/* As bevel_mve_pixels, with w: int8 [channels / 4, blocks, bits / 2, 16]. */
BEVEL_INLINE void bevel_mve_positional_pixels(int8_t *y, int step, const int8_t *x0, const int8_t *x1, const int8_t *w,
                                              const int32_t *rescaling, int blocks, int channels, BEVEL_OUTPUT,
                                              int bits, int least) {
  const int32x4_t lacking = bevel_mve_lacking(bits, least);
  const int32_t sum0 = bevel_mve_sum(x0, blocks), sum1 = bevel_mve_sum(x1, blocks);
  BEVEL_ROLLED
  for (int tile = channels / 4; tile > 0; --tile, y += 4, rescaling += BEVEL_RESCALING(lifted)) {
    w = bevel_mve_positional_2x4(y, step, x0, x1, w, rescaling, blocks, 4, zero_point, low, high, lifted, bits, lacking,
                                 sum0, sum1);
  }
  if (channels % 4 == 0) return;
  bevel_mve_positional_2x4(y, step, x0, x1, w, rescaling, blocks, channels % 4, zero_point, low, high, lifted, bits,
                           lacking, sum0, sum1);
}

/* As bevel_mve_row, with w: int8 [count / 8, blocks, bits, 16]. */
BEVEL_INLINE void bevel_mve_positional_row(int8_t *y, const int8_t *x, const int8_t *w, const int32_t *rescaling,
                                           int blocks, int count, BEVEL_OUTPUT, int bits, int least) {
  const int32x4_t lacking = bevel_mve_lacking(bits, least);
  const int32_t sum = bevel_mve_sum(x, blocks);
  BEVEL_ROLLED
  for (int tile = count / 8; tile > 0; --tile, y += 8, rescaling += 2 * BEVEL_RESCALING(lifted)) {
    w = bevel_mve_positional_1x8(y, x, w, rescaling, blocks, 8, zero_point, low, high, lifted, bits, lacking, sum);
  }
  if (count % 8 == 0) return;
  bevel_mve_positional_1x8(y, x, w, rescaling, blocks, count % 8, zero_point, low, high, lifted, bits, lacking, sum);
}

#else

/* The sum of one channel, moved left by `bits` times its place in the bytes at w, which are `step` apart in blocks. */
BEVEL_INLINE int32_t bevel_mve_positional_sum(const int8_t *x, const int8_t *w, int blocks, int step, int bits,
                                              int place, int least) {
  const int half = 1 << (bits - 1), last = 8 / bits - 1;
  int32_t sum = 0;
  for (int k = 0; k < 16 * blocks; ++k) {
    const int digit = w[k / 16 * step + k % 16] >> (bits * place);
    sum += x[k] * (least + (place == last ? digit + half : digit & (2 * half - 1)));
  }
  return sum * (1 << (bits * place));
}

BEVEL_INLINE void bevel_mve_positional_pixels(int8_t *y, int step, const int8_t *x0, const int8_t *x1, const int8_t *w,
                                              const int32_t *rescaling, int blocks, int channels, BEVEL_OUTPUT,
                                              int bits, int least) {
  const int together = 8 / bits, block = 64 / together;
  for (int c = 0; c < channels; ++c) {
    const int8_t *const own = w + c / 4 * blocks * block + c % 4 / together * 16;
    const int32_t *const scale = rescaling + c / 4 * BEVEL_RESCALING(lifted);
    const int32_t first = bevel_mve_positional_sum(x0, own, blocks, block, bits, c % together, least);
    const int32_t second = bevel_mve_positional_sum(x1, own, blocks, block, bits, c % together, least);
    y[c] = bevel_mve_requantize(first, scale, c % 4, zero_point, low, high, lifted);
    y[step + c] = bevel_mve_requantize(second, scale, c % 4, zero_point, low, high, lifted);
  }
}

BEVEL_INLINE void bevel_mve_positional_row(int8_t *y, const int8_t *x, const int8_t *w, const int32_t *rescaling,
                                           int blocks, int count, BEVEL_OUTPUT, int bits, int least) {
  const int together = 8 / bits, block = 128 / together;
  for (int c = 0; c < count; ++c) {
    const int8_t *const own = w + c / 8 * blocks * block + c % 8 / together * 16;
    const int32_t *const scale = rescaling + c / 4 * BEVEL_RESCALING(lifted);
    const int32_t sum = bevel_mve_positional_sum(x, own, blocks, block, bits, c % together, least);
    y[c] = bevel_mve_requantize(sum, scale, c % 4, zero_point, low, high, lifted);
  }
}

#endif

#endif
