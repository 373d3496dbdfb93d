/* Pieces of kernels for Helium (MVE), the vector extension of Armv8.1-M: 128-bit vectors, here of 16 bytes or 4 words.
 *
 * A product of matrices takes VMLADAVA, which adds sixteen products of bytes to a core register. It needs both vectors
 * along the summed axis, so weights are stored in blocks of 16 along it, and a tile of 2 pixels by 4 channels uses
 * each loaded vector several times. Sums are brought to int8 four at a time:
 *
 *     VMULH   the upper word of sum * multiplier
 *     VRSHL   shifted right by shift - 32 and rounded, which is the one rounding of the whole product, half up
 *     VQMOVN  twice: held to int16, then, with the zero point added, to int8
 *
 * Every function has the same arithmetic in plain C for other machines.
 */
#ifndef BEVEL_MVE_H
#define BEVEL_MVE_H

#include <stdbool.h>
#include <stdint.h>

/* Arguments that are constants in a kernel choose code, so every function becomes part of its caller. */
#define BEVEL_INLINE static inline __attribute__((always_inline))

/* How sums become int8: see bevel_mve_requantize. */
#define BEVEL_OUTPUT int zero_point, int low, int high, bool lifted

#if defined(__ARM_FEATURE_MVE) && (__ARM_FEATURE_MVE & 1)

#include <arm_mve.h>

/* Four channels' sums, not yet clamped. `rescaling` holds four words each of bias, multiplier, 32 - shift, and where
 * some shift is below 33, a shift to the left that comes first. */
BEVEL_INLINE int32x4_t bevel_mve_rescale(int32x4_t sums, const int32_t *rescaling, bool lifted) {
  sums = vaddq_s32(sums, vldrwq_s32(rescaling));
  if (lifted) sums = vshlq_s32(sums, vldrwq_s32(rescaling + 12));
  return vrshlq_s32(vmulhq_s32(sums, vldrwq_s32(rescaling + 4)), vldrwq_s32(rescaling + 8));
}

/* int16 to int8, in each element's lower byte: moved by the zero point, held to the bounds. */
BEVEL_INLINE int32x4_t bevel_mve_clamp(int16x8_t wide, int zero_point, int low, int high) {
  if (zero_point != 0) wide = vqaddq_n_s16(wide, (int16_t)zero_point);
  if (low > -128) wide = vmaxq_s16(wide, vdupq_n_s16((int16_t)low));
  if (high < 127) wide = vminq_s16(wide, vdupq_n_s16((int16_t)high));
  return vreinterpretq_s32_s8(vqmovnbq_s16(vreinterpretq_s8_s16(wide), wide));
}

/* Four words as int16 in the even elements; the odd ones are anything. */
BEVEL_INLINE int16x8_t bevel_mve_narrow(int32x4_t wide) { return vqmovnbq_s32(vreinterpretq_s16_s32(wide), wide); }

/* The lower bytes of the first `count` words. */
BEVEL_INLINE void bevel_mve_store(int8_t *y, int32x4_t bytes, int count) {
  if (count >= 4) {
    vstrbq_s32(y, bytes);
  } else {
    vstrbq_p_s32(y, bytes, vctp32q((uint32_t)count));
  }
}

/* Sixteen products each for a tile of two pixels and four channels; MAC is vmladav.s8, or vmladava.s8 to go on from
 * there. VMLADAVA adds to even-numbered registers only and there are eight of those, which the compilers do not manage
 * to allocate: so they have their places here. */
#define BEVEL_2X4(MAC)                                                                             \
  "vldrb.8 %q[s], [%[x0]], #16\n\tvldrb.8 %q[u], [%[w]], #16\n\tvldrb.8 %q[t], [%[x1]], #16\n\t"   \
  MAC " r0, %q[s], %q[u]\n\tvldrb.8 %q[v], [%[w]], #16\n\t" MAC " r8, %q[t], %q[u]\n\t"            \
  MAC " r2, %q[s], %q[v]\n\tvldrb.8 %q[u], [%[w]], #16\n\t" MAC " r10, %q[t], %q[v]\n\t"           \
  MAC " r4, %q[s], %q[u]\n\tvldrb.8 %q[v], [%[w]], #16\n\t" MAC " r12, %q[t], %q[u]\n\t"           \
  MAC " r6, %q[s], %q[v]\n\t" MAC " lr, %q[t], %q[v]\n\t"

/* The same for one pixel and eight channels. */
#define BEVEL_1X8(MAC)                                                                             \
  "vldrb.8 %q[s], [%[x0]], #16\n\tvldrb.8 %q[u], [%[w]], #16\n\tvldrb.8 %q[v], [%[w]], #16\n\t"    \
  MAC " r0, %q[s], %q[u]\n\tvldrb.8 %q[t], [%[w]], #16\n\t" MAC " r2, %q[s], %q[v]\n\t"            \
  "vldrb.8 %q[u], [%[w]], #16\n\t" MAC " r4, %q[s], %q[t]\n\tvldrb.8 %q[v], [%[w]], #16\n\t"       \
  MAC " r6, %q[s], %q[u]\n\tvldrb.8 %q[t], [%[w]], #16\n\t" MAC " r8, %q[s], %q[v]\n\t"            \
  "vldrb.8 %q[u], [%[w]], #16\n\t" MAC " r10, %q[s], %q[t]\n\tvldrb.8 %q[v], [%[w]], #16\n\t"      \
  MAC " r12, %q[s], %q[u]\n\t" MAC " lr, %q[s], %q[v]\n\t"

#define BEVEL_SUMS                                                                                  \
  "vmov %q[s][2], %q[s][0], r0, r4\n\tvmov %q[s][3], %q[s][1], r2, r6\n\t"                          \
  "vmov %q[t][2], %q[t][0], r8, r12\n\tvmov %q[t][3], %q[t][1], r10, lr"

#define BEVEL_ASM(TEXT)                                                                            \
  __asm__ volatile(TEXT BEVEL_SUMS                                                                 \
                   : [s] "=&w"(first), [t] "=&w"(second), [u] "=&w"(u), [v] "=&w"(v),              \
                     [x0] "+r"(x0), [x1] "+r"(x1), [w] "+r"(w)                                     \
                   :                                                                               \
                   : "r0", "r2", "r4", "r6", "r8", "r10", "r12", "lr", "cc", "memory")
#define BEVEL_ASM_LOOP(TEXT, BODY)                                                                 \
  __asm__ volatile(TEXT "1:\n\t" BODY BODY BODY BODY "subs %[n], %[n], #1\n\tbne 1b\n\t" BEVEL_SUMS \
                   : [s] "=&w"(first), [t] "=&w"(second), [u] "=&w"(u), [v] "=&w"(v),              \
                     [x0] "+r"(x0), [x1] "+r"(x1), [w] "+r"(w), [n] "+r"(rounds)                   \
                   :                                                                               \
                   : "r0", "r2", "r4", "r6", "r8", "r10", "r12", "lr", "cc", "memory")

/* Eight sums as two vectors over all blocks: the first one starts them; from the fifth on, four a round. */
#define BEVEL_DOT(TILE)                                                        \
  int32x4_t first, second, u, v;                                               \
  int rounds = (blocks - 1) / 4;                                               \
  if (blocks == 1) BEVEL_ASM(TILE("vmladav.s8"));                              \
  else if (blocks == 2) BEVEL_ASM(TILE("vmladav.s8") TILE("vmladava.s8"));     \
  else if (blocks == 3) BEVEL_ASM(TILE("vmladav.s8") TILE("vmladava.s8") TILE("vmladava.s8")); \
  else if (blocks == 4)                                                        \
    BEVEL_ASM(TILE("vmladav.s8") TILE("vmladava.s8") TILE("vmladava.s8") TILE("vmladava.s8")); \
  else if (blocks % 4 == 1) BEVEL_ASM_LOOP(TILE("vmladav.s8"), TILE("vmladava.s8")); \
  else if (blocks % 4 == 2) BEVEL_ASM_LOOP(TILE("vmladav.s8") TILE("vmladava.s8"), TILE("vmladava.s8")); \
  else if (blocks % 4 == 3)                                                    \
    BEVEL_ASM_LOOP(TILE("vmladav.s8") TILE("vmladava.s8") TILE("vmladava.s8"), TILE("vmladava.s8")); \
  else                                                                         \
    BEVEL_ASM_LOOP(TILE("vmladav.s8") TILE("vmladava.s8") TILE("vmladava.s8") TILE("vmladava.s8"), \
                   TILE("vmladava.s8"))

/* y, and y + step: `count` of four neighbouring channels of two pixels. x0, x1: 16 * blocks bytes; w: int8
 * [blocks, 4, 16]. */
BEVEL_INLINE void bevel_mve_tile_2x4(int8_t *y, int step, const int8_t *x0, const int8_t *x1, const int8_t *w,
                                     const int32_t *rescaling, int blocks, int count, BEVEL_OUTPUT) {
  BEVEL_DOT(BEVEL_2X4);
  first = bevel_mve_rescale(first, rescaling, lifted);
  second = bevel_mve_rescale(second, rescaling, lifted);
  const int16x8_t both = vqmovntq_s32(bevel_mve_narrow(first), second);
  const int32x4_t bytes = bevel_mve_clamp(both, zero_point, low, high);
  bevel_mve_store(y, bytes, count);
  bevel_mve_store(y + step, vshrq_n_s32(bytes, 16), count);
}

/* y: `count` of eight neighbouring elements. x0: 16 * blocks bytes; w: int8 [blocks, 8, 16]; rescaling: two of four. */
BEVEL_INLINE void bevel_mve_tile_1x8(int8_t *y, const int8_t *x0, const int8_t *w, const int32_t *rescaling, int blocks,
                                     int count, BEVEL_OUTPUT) {
  const int8_t *x1 = x0;
  BEVEL_DOT(BEVEL_1X8);
  first = bevel_mve_rescale(first, rescaling, lifted);
  second = bevel_mve_rescale(second, rescaling + (lifted ? 16 : 12), lifted);
  const int16x8_t both = vqmovntq_s32(bevel_mve_narrow(first), second);
  const int32x4_t bytes = bevel_mve_clamp(both, zero_point, low, high);
  bevel_mve_store(y, bytes, count);
  if (count > 4) bevel_mve_store(y + 4, vshrq_n_s32(bytes, 16), count - 4);
}

BEVEL_INLINE void bevel_mve_fill(int8_t *to, int value, int count) {
  for (; count > 0; count -= 16, to += 16) {
    vstrbq_p_s8(to, vdupq_n_s8((int8_t)value), vctp8q((uint32_t)count));
  }
}

BEVEL_INLINE void bevel_mve_copy(int8_t *to, const int8_t *from, int count) {
  for (; count >= 16; count -= 16, to += 16, from += 16) vstrbq_s8(to, vldrbq_s8(from));
  if (count > 0) {
    const mve_pred16_t some = vctp8q((uint32_t)count);
    vstrbq_p_s8(to, vldrbq_z_s8(from, some), some);
  }
}

#else

BEVEL_INLINE int8_t bevel_mve_requantize(int32_t sum, const int32_t *rescaling, BEVEL_OUTPUT) {
  int32_t lift = lifted ? rescaling[12] : 0, right = -rescaling[8];
  int64_t product = (int64_t)((uint64_t)(int64_t)(sum + rescaling[0]) << lift) * rescaling[4];
  int64_t moved = zero_point + (((product >> 32) + ((int64_t)1 << right >> 1)) >> right);
  return (int8_t)(moved < low ? low : moved > high ? high : moved);
}

BEVEL_INLINE int32_t bevel_mve_dot(const int8_t *x, const int8_t *w, int blocks, int step) {
  int32_t sum = 0;
  for (int k = 0; k < 16 * blocks; ++k) sum += x[k] * w[k / 16 * step + k % 16];
  return sum;
}

BEVEL_INLINE void bevel_mve_tile_2x4(int8_t *y, int step, const int8_t *x0, const int8_t *x1, const int8_t *w,
                                     const int32_t *rescaling, int blocks, int count, BEVEL_OUTPUT) {
  for (int c = 0; c < count; ++c) {
    const int32_t first = bevel_mve_dot(x0, w + 16 * c, blocks, 64), second = bevel_mve_dot(x1, w + 16 * c, blocks, 64);
    y[c] = bevel_mve_requantize(first, rescaling + c, zero_point, low, high, lifted);
    y[step + c] = bevel_mve_requantize(second, rescaling + c, zero_point, low, high, lifted);
  }
}

BEVEL_INLINE void bevel_mve_tile_1x8(int8_t *y, const int8_t *x0, const int8_t *w, const int32_t *rescaling, int blocks,
                                     int count, BEVEL_OUTPUT) {
  for (int c = 0; c < count; ++c) {
    const int32_t *own = rescaling + c % 4 + c / 4 * (lifted ? 16 : 12);
    y[c] = bevel_mve_requantize(bevel_mve_dot(x0, w + 16 * c, blocks, 128), own, zero_point, low, high, lifted);
  }
}

BEVEL_INLINE void bevel_mve_fill(int8_t *to, int value, int count) {
  for (int i = 0; i < count; ++i) to[i] = (int8_t)value;
}

BEVEL_INLINE void bevel_mve_copy(int8_t *to, const int8_t *from, int count) {
  for (int i = 0; i < count; ++i) to[i] = from[i];
}

#endif

/* One row of a convolution window: `taps` pixels of `channels` bytes from column `first` of `row`, which has `width`
 * pixels. What lies outside the image, all of it unless `inside`, is `zero`. */
BEVEL_INLINE void bevel_mve_window_row(int8_t *window, const int8_t *row, int first, int width, int taps, int channels,
                                       bool inside, bool padded, int zero) {
  if (!inside) {
    bevel_mve_fill(window, zero, taps * channels);
  } else if (!padded || (first >= 0 && first + taps <= width)) {
    bevel_mve_copy(window, row + first * channels, taps * channels);
  } else {
    for (int tap = 0; tap < taps; ++tap, window += channels) {
      if (first + tap >= 0 && first + tap < width) {
        bevel_mve_copy(window, row + (first + tap) * channels, channels);
      } else {
        bevel_mve_fill(window, zero, channels);
      }
    }
  }
}

#endif
