/* Depthwise convolution for Helium: windows of one channel as vectors; see depthwise_mve.py. */
#ifndef BEVEL_MVE_DEPTHWISE_H
#define BEVEL_MVE_DEPTHWISE_H

#include "bevel_mve.h"

/* One channel's weights w, where they go (`lanes`), and how its sums are rescaled. */
#define BEVEL_CHANNEL const int8_t *w, const uint8_t *lanes, int32_t bias, int32_t multiplier, int shift

#if defined(__ARM_FEATURE_MVE) && (__ARM_FEATURE_MVE & 1)

/* Four core registers as one vector, in two instructions; the compilers would take four. */
BEVEL_INLINE int32x4_t bevel_mve_vector(int32_t s0, int32_t s1, int32_t s2, int32_t s3) {
  int32x4_t sums;
  __asm__("vmov %q0[2], %q0[0], %1, %2\n\tvmov %q0[3], %q0[1], %3, %4"
          : "=&w"(sums)
          : "r"(s0), "r"(s2), "r"(s1), "r"(s3));
  return sums;
}

/* Bytes of four rows in turns: byte 4 * i + j of `rows` is byte i of rj. */
BEVEL_INLINE void bevel_mve_interleave(void *rows, const int8_t *r0, const int8_t *r1, const int8_t *r2,
                                       const int8_t *r3, int count) {
  int8_t *to = rows;
  for (int blocks = count / 16; blocks > 0; --blocks) {
    __asm__ volatile("vldrb.8 q0, [%1], #16\n\tvldrb.8 q1, [%2], #16\n\tvldrb.8 q2, [%3], #16\n\t"
                     "vldrb.8 q3, [%4], #16\n\tvst40.8 {q0, q1, q2, q3}, [%0]\n\tvst41.8 {q0, q1, q2, q3}, [%0]\n\t"
                     "vst42.8 {q0, q1, q2, q3}, [%0]\n\tvst43.8 {q0, q1, q2, q3}, [%0]!"
                     : "+r"(to), "+r"(r0), "+r"(r1), "+r"(r2), "+r"(r3)
                     :
                     : "q0", "q1", "q2", "q3", "memory");
  }
  BEVEL_ROLLED
  for (int i = 0; i < count % 16; ++i, to += 4) to[0] = r0[i], to[1] = r1[i], to[2] = r2[i], to[3] = r3[i];
}

/* The bytes of row `j` of such four. */
BEVEL_INLINE void bevel_mve_fill_row(void *rows, int j, int value, int count) {
  int8_t *to = (int8_t *)rows + j;
  const uint8x16_t places = vidupq_n_u8(0, 4);
  BEVEL_ROLLED
  for (; count >= 16; count -= 16, to += 64) vstrbq_scatter_offset_s8(to, places, vdupq_n_s8((int8_t)value));
  BEVEL_ROLLED
  for (; count > 0; --count, to += 4) *to = (int8_t)value;
}

/* The weights of one channel, where `lanes` is below 255: from w + lanes. */
BEVEL_INLINE int8x16_t bevel_mve_taps(const int8_t *w, const uint8_t *lanes) {
  const uint8x16_t places = vldrbq_u8(lanes);
#if defined(__clang__)
  return vldrbq_gather_offset_z_s8(w, places, vcmpneq_n_u8(places, 255));
#else
  int8x16_t taps; /* Written out: gcc 12 ends in an internal error on the intrinsics. */
  __asm__("vcmp.i8 ne, %q1, %2\n\tvpst\n\tvldrbt.u8 %q0, [%3, %q1]"
          : "=&w"(taps)
          : "w"(places), "r"(255), "r"(w)
          : "p0", "memory");
  return taps;
#endif
}

/* Four sums of one channel to int8, in each word's lowest byte. */
BEVEL_INLINE int32x4_t bevel_mve_rescale_one(int32x4_t sums, int32_t bias, int32_t multiplier, int shift,
                                             BEVEL_OUTPUT) {
  const int lift = BEVEL_LIFTS(lifted) && shift < 33 ? 33 - shift : 0;
  sums = vaddq_n_s32(sums, bias);
  if (BEVEL_EVEN(lifted)) sums = bevel_mve_to_even(sums, vdupq_n_s32(30 - shift));
  if (BEVEL_LIFTS(lifted)) sums = vshlq_r_s32(sums, lift);
  sums = vrshlq_n_s32(vmulhq_s32(sums, vdupq_n_s32(multiplier)), 32 - shift - lift);
  return bevel_mve_clamp(bevel_mve_narrow(sums), zero_point, low, high);
}

#define BEVEL_GATHER(t, offsets) vreinterpretq_s8_s32(vldrwq_gather_offset_s32((const int32_t *)(t), offsets))

/* One channel of two rows of outputs at stride 1, two columns at a time; see depthwise_mve.py. */
BEVEL_INLINE void bevel_mve_depthwise_2x2(int8_t *y, const void *rows, BEVEL_CHANNEL, int channels,
                                          int columns, BEVEL_OUTPUT) {
  const int8_t *t = rows;
  const int8x16_t w00 = bevel_mve_taps(w, lanes);
  uint32_t nothing = 0;
  const int8x16_t w01 = vshlcq_s8(w00, &nothing, 32);
  const int8x16_t w10 = vreinterpretq_s8_u32(vshlq_n_u32(vreinterpretq_u32_s8(w00), 8));
  const int8x16_t w11 = vreinterpretq_s8_u32(vshlq_n_u32(vreinterpretq_u32_s8(w01), 8));
  const uint32x4_t across = vmulq_n_u32(vidupq_n_u32(0, 1), (uint32_t)(4 * channels));
  const uint32_t right = (uint32_t)channels, below = (uint32_t)(columns * channels);
  const uint32x4_t places = {0, right, below, below + right};
  BEVEL_ROLLED
  for (int x = 0; x < columns; x += 2) {
    const int32_t back = x + 2 > columns ? channels : 0; /* an odd last column comes with the one before it */
    const int8x16_t window = BEVEL_GATHER(t - 4 * back, across);
    const int32x4_t sums = bevel_mve_vector(vmladavq_s8(window, w00), vmladavq_s8(window, w01),
                                            vmladavq_s8(window, w10), vmladavq_s8(window, w11));
    const int32x4_t bytes = bevel_mve_rescale_one(sums, bias, multiplier, shift, zero_point, low, high, lifted);
    vstrbq_scatter_offset_s32(y - back, places, bytes);
    t += 8 * channels;
    y += 2 * channels;
  }
}

/* One channel of one row of outputs, four columns at a time, which are `stride` pixels of `channels` apart, as their
 * taps are `dilation` pixels. */
BEVEL_INLINE void bevel_mve_depthwise_1x4(int8_t *y, const void *rows, BEVEL_CHANNEL, int channels,
                                          int columns, int stride, int dilation, BEVEL_OUTPUT) {
  const int8_t *t = rows;
  const int8x16_t taps = bevel_mve_taps(w, lanes);
  const uint32x4_t across = vmulq_n_u32(vidupq_n_u32(0, 1), (uint32_t)(4 * channels * dilation));
  const uint32x4_t places = vmulq_n_u32(vidupq_n_u32(0, 1), (uint32_t)channels);
  const int step = 4 * channels * stride;
  BEVEL_ROLLED
  for (int x = 0; x < columns; x += 4) {
    const int32x4_t sums = bevel_mve_vector(vmladavq_s8(BEVEL_GATHER(t, across), taps),
                                            vmladavq_s8(BEVEL_GATHER(t + step, across), taps),
                                            vmladavq_s8(BEVEL_GATHER(t + 2 * step, across), taps),
                                            vmladavq_s8(BEVEL_GATHER(t + 3 * step, across), taps));
    const int32x4_t bytes = bevel_mve_rescale_one(sums, bias, multiplier, shift, zero_point, low, high, lifted);
    if (x + 4 <= columns) {
      vstrbq_scatter_offset_s32(y, places, bytes);
    } else {
      vstrbq_scatter_offset_p_s32(y, places, bytes, vctp32q((uint32_t)(columns - x)));
    }
    t += 4 * step;
    y += 4 * channels;
  }
}

#else

BEVEL_INLINE void bevel_mve_interleave(void *rows, const int8_t *r0, const int8_t *r1, const int8_t *r2,
                                       const int8_t *r3, int count) {
  int8_t *to = rows;
  for (int i = 0; i < count; ++i, to += 4) to[0] = r0[i], to[1] = r1[i], to[2] = r2[i], to[3] = r3[i];
}

BEVEL_INLINE void bevel_mve_fill_row(void *rows, int j, int value, int count) {
  int8_t *to = (int8_t *)rows + j;
  for (int i = 0; i < count; ++i) to[4 * i] = (int8_t)value;
}

/* One output: the taps of a window that starts at t, in row `row` of the four that take turns there. */
BEVEL_INLINE int8_t bevel_mve_depthwise(const int8_t *t, int row, BEVEL_CHANNEL, int step, BEVEL_OUTPUT) {
  int32_t sum = 0;
  for (int lane = 0; lane < 16; ++lane) {
    if (lanes[lane] != 255) sum += t[lane / 4 * step + lane % 4 + row] * w[lanes[lane]];
  }
  return bevel_mve_clamp((int64_t)sum + bias, multiplier, shift, zero_point, low, high, lifted);
}

BEVEL_INLINE void bevel_mve_depthwise_2x2(int8_t *y, const void *rows, BEVEL_CHANNEL, int channels,
                                          int columns, BEVEL_OUTPUT) {
  const int8_t *t = rows;
  for (int i = 0; i < 2 * columns; ++i) {
    const int8_t *const window = t + i % columns * 4 * channels;
    y[i * channels] = bevel_mve_depthwise(window, i / columns, w, lanes, bias, multiplier, shift, 4 * channels,
                                          zero_point, low, high, lifted);
  }
}

BEVEL_INLINE void bevel_mve_depthwise_1x4(int8_t *y, const void *rows, BEVEL_CHANNEL, int channels,
                                          int columns, int stride, int dilation, BEVEL_OUTPUT) {
  const int8_t *t = rows;
  for (int i = 0; i < columns; ++i) {
    y[i * channels] = bevel_mve_depthwise(t + i * stride * 4 * channels, 0, w, lanes, bias, multiplier, shift,
                                          4 * channels * dilation, zero_point, low, high, lifted);
  }
}

#endif

#endif
