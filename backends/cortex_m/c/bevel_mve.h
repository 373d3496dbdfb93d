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

/* How sums become int8. `lifted`: 1, some shift is below 33; 2, all multipliers are 2**30, and ties go to even; both. */
#define BEVEL_OUTPUT int zero_point, int low, int high, int lifted
#define BEVEL_LIFTS(lifted) ((lifted) & 1)
#define BEVEL_EVEN(lifted) ((lifted) & 2)

/* Words that rescale four channels: their biases, their multipliers, four bytes of 32 - shift, and where some shift is
 * below 33, four bytes of a shift to the left that comes first. */
#define BEVEL_RESCALING(lifted) (BEVEL_LIFTS(lifted) ? 10 : 9)

/* Before a loop that would only become larger, not faster, by unrolling. */
#define BEVEL_ROLLED _Pragma("GCC unroll 1")

#if defined(__ARM_FEATURE_MVE) && (__ARM_FEATURE_MVE & 1)

#include <arm_mve.h>

/* A loop over lanes of which the last few may not be there. */
#define BEVEL_LANES(bits, body, ...)                                                                   \
  __asm__ volatile("dlstp." bits " lr, %[n]\n\t1:\n\t" body "letp lr, 1b" __VA_ARGS__ : "lr", "memory")

/* Sums that half up brings to the even integer where they lie on a half: an odd quotient keeps them, an even one takes
 * one away. `down`: by how much they are shifted to the quotient, to the left. */
BEVEL_INLINE int32x4_t bevel_mve_to_even(int32x4_t sums, int32x4_t down) {
  return vaddq_s32(sums, vsubq_n_s32(vandq_s32(vshlq_s32(sums, down), vdupq_n_s32(1)), 1));
}

/* Four channels' sums, not yet clamped. */
BEVEL_INLINE int32x4_t bevel_mve_rescale(int32x4_t sums, const int32_t *rescaling, int lifted) {
  __asm__("" : "+r"(rescaling)); /* one pointer, where compilers would keep three in memory */
  sums = vaddq_s32(sums, vldrwq_s32(rescaling));
  if (BEVEL_EVEN(lifted)) {
    int32x4_t down = vldrbq_s32((const int8_t *)(rescaling + 8));
    if (BEVEL_LIFTS(lifted)) down = vaddq_s32(down, vldrbq_s32((const int8_t *)(rescaling + 9)));
    sums = bevel_mve_to_even(sums, vsubq_n_s32(down, 2));
  }
  if (BEVEL_LIFTS(lifted)) sums = vshlq_s32(sums, vldrbq_s32((const int8_t *)(rescaling + 9)));
  return vrshlq_s32(vmulhq_s32(sums, vldrwq_s32(rescaling + 4)), vldrbq_s32((const int8_t *)(rescaling + 8)));
}

/* int16 to int8, in each element's lower byte: moved by the zero point, held to the bounds. */
BEVEL_INLINE int32x4_t bevel_mve_clamp(int16x8_t wide, int zero_point, int low, int high) {
  if (zero_point != 0) wide = vqaddq_n_s16(wide, (int16_t)zero_point);
  if (low > -128) wide = vmaxq_s16(wide, vdupq_n_s16((int16_t)low));
  if (high < 127) wide = vminq_s16(wide, vdupq_n_s16((int16_t)high));
  __asm__("vqmovnb.s16 %q0, %q0" : "+w"(wide));
  return vreinterpretq_s32_s16(wide);
}

/* Four words as int16 in the even elements; the odd ones are anything. In place, where intrinsics would copy first. */
BEVEL_INLINE int16x8_t bevel_mve_narrow(int32x4_t wide) {
  __asm__("vqmovnb.s32 %q0, %q0" : "+w"(wide));
  return vreinterpretq_s16_s32(wide);
}

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

/* All blocks; AFTER is done to the sums then; more operands may follow. */
#define BEVEL_ASM(TEXT, AFTER, ...)                                                                \
  __asm__ volatile(TEXT AFTER BEVEL_SUMS                                                           \
                   : [s] "=&w"(first), [t] "=&w"(second), [u] "=&w"(u), [v] "=&w"(v),              \
                     [x0] "+r"(x0), [x1] "+r"(x1), [w] "+r"(w)                                     \
                   : __VA_ARGS__                                                                   \
                   : "r0", "r2", "r4", "r6", "r8", "r10", "r12", "lr", "cc", "memory")
#define BEVEL_ASM_LOOP(TEXT, BODY, AFTER, ...)                                                     \
  __asm__ volatile(TEXT "1:\n\t" BODY BODY BODY "subs %[n], %[n], #1\n\tbne 1b\n\t" AFTER BEVEL_SUMS \
                   : [s] "=&w"(first), [t] "=&w"(second), [u] "=&w"(u), [v] "=&w"(v),              \
                     [x0] "+r"(x0), [x1] "+r"(x1), [w] "+r"(w), [n] "+r"(rounds)                   \
                   : __VA_ARGS__                                                                   \
                   : "r0", "r2", "r4", "r6", "r8", "r10", "r12", "lr", "cc", "memory")

#define BEVEL_EIGHT_SUMS              \
  int32x4_t first, second, u, v;      \
  int rounds = (blocks - 1) / 3

/* Eight sums as two vectors over all blocks: the first ones start them, three a round follow. */
#define BEVEL_DOT(TILE, ...) BEVEL_DOT_OF(TILE("vmladav.s8"), TILE("vmladava.s8"), __VA_ARGS__)
#define BEVEL_DOT_OF(FIRST, NEXT, ...)                                                                     \
  if (blocks == 1) BEVEL_ASM(FIRST, __VA_ARGS__);                                                          \
  else if (blocks == 2) BEVEL_ASM(FIRST NEXT, __VA_ARGS__);                                                \
  else if (blocks == 3) BEVEL_ASM(FIRST NEXT NEXT, __VA_ARGS__);                                           \
  else if (blocks == 4) BEVEL_ASM(FIRST NEXT NEXT NEXT, __VA_ARGS__);                                      \
  else if (blocks % 3 == 1) BEVEL_ASM_LOOP(FIRST, NEXT, __VA_ARGS__);                                      \
  else if (blocks % 3 == 2) BEVEL_ASM_LOOP(FIRST NEXT, NEXT, __VA_ARGS__);                                 \
  else BEVEL_ASM_LOOP(FIRST NEXT NEXT, NEXT, __VA_ARGS__)

/* Sums of four channels of two pixels become `count` elements each at y and y + step. */
BEVEL_INLINE void bevel_mve_put_2x4(int8_t *y, int step, int32x4_t first, int32x4_t second, const int32_t *rescaling,
                                    int count, BEVEL_OUTPUT) {
  first = bevel_mve_rescale(first, rescaling, lifted);
  second = bevel_mve_rescale(second, rescaling, lifted);
  const int16x8_t both = vqmovntq_s32(bevel_mve_narrow(first), second);
  const int32x4_t bytes = bevel_mve_clamp(both, zero_point, low, high);
  bevel_mve_store(y, bytes, count);
  bevel_mve_store(y + step, vshrq_n_s32(bytes, 16), count);
}

/* `count` of four channels of two pixels, at y and y + step. Returns where the next four channels' weights are. */
BEVEL_INLINE const int8_t *bevel_mve_tile_2x4(int8_t *y, int step, const int8_t *x0, const int8_t *x1, const int8_t *w,
                                              const int32_t *rescaling, int blocks, int count, BEVEL_OUTPUT) {
  BEVEL_EIGHT_SUMS;
  BEVEL_DOT(BEVEL_2X4, "", );
  bevel_mve_put_2x4(y, step, first, second, rescaling, count, zero_point, low, high, lifted);
  return w;
}

/* All channels of two pixels, at y and y + step. x0, x1: 16 * blocks bytes; w: int8 [channels / 4, blocks, 4, 16];
 * rescaling: [channels / 4]. */
BEVEL_INLINE void bevel_mve_pixels(int8_t *y, int step, const int8_t *x0, const int8_t *x1, const int8_t *w,
                                   const int32_t *rescaling, int blocks, int channels, BEVEL_OUTPUT) {
  BEVEL_ROLLED
  for (int tile = channels / 4; tile > 0; --tile, y += 4, rescaling += BEVEL_RESCALING(lifted)) {
    w = bevel_mve_tile_2x4(y, step, x0, x1, w, rescaling, blocks, 4, zero_point, low, high, lifted);
  }
  if (channels % 4 == 0) return;
  bevel_mve_tile_2x4(y, step, x0, x1, w, rescaling, blocks, channels % 4, zero_point, low, high, lifted);
}

/* Eight sums become `count` elements. */
BEVEL_INLINE void bevel_mve_put_1x8(int8_t *y, int32x4_t first, int32x4_t second, const int32_t *rescaling, int count,
                                    BEVEL_OUTPUT) {
  first = bevel_mve_rescale(first, rescaling, lifted);
  second = bevel_mve_rescale(second, rescaling + BEVEL_RESCALING(lifted), lifted);
  const int16x8_t both = vqmovntq_s32(bevel_mve_narrow(first), second);
  const int32x4_t bytes = bevel_mve_clamp(both, zero_point, low, high);
  bevel_mve_store(y, bytes, count);
  if (count > 4) bevel_mve_store(y + 4, vshrq_n_s32(bytes, 16), count - 4);
}

/* `count` of eight elements. Returns where the next eight elements' weights are. */
BEVEL_INLINE const int8_t *bevel_mve_tile_1x8(int8_t *y, const int8_t *x0, const int8_t *w, const int32_t *rescaling,
                                              int blocks, int count, BEVEL_OUTPUT) {
  const int8_t *x1 = x0;
  BEVEL_EIGHT_SUMS;
  BEVEL_DOT(BEVEL_1X8, "", );
  bevel_mve_put_1x8(y, first, second, rescaling, count, zero_point, low, high, lifted);
  return w;
}

/* `count` elements. x: 16 * blocks bytes; w: int8 [count / 8, blocks, 8, 16]; rescaling: [count / 8, 2]. */
BEVEL_INLINE void bevel_mve_row(int8_t *y, const int8_t *x, const int8_t *w, const int32_t *rescaling, int blocks,
                                int count, BEVEL_OUTPUT) {
  BEVEL_ROLLED
  for (int tile = count / 8; tile > 0; --tile, y += 8, rescaling += 2 * BEVEL_RESCALING(lifted)) {
    w = bevel_mve_tile_1x8(y, x, w, rescaling, blocks, 8, zero_point, low, high, lifted);
  }
  if (count % 8) bevel_mve_tile_1x8(y, x, w, rescaling, blocks, count % 8, zero_point, low, high, lifted);
}

/* The first `count` of four sums, as int16. */
BEVEL_INLINE void bevel_mve_put_int16(int16_t *y, int32x4_t sums, const int32_t *rescaling, int count, BEVEL_OUTPUT) {
  sums = vaddq_n_s32(bevel_mve_rescale(sums, rescaling, lifted), zero_point);
  sums = vminq_s32(vmaxq_s32(sums, vdupq_n_s32(low)), vdupq_n_s32(high));
  if (count >= 4) {
    vstrhq_s32(y, sums);
  } else {
    vstrhq_p_s32(y, sums, vctp32q((uint32_t)count));
  }
}

/* As bevel_mve_row, to int16. */
BEVEL_INLINE void bevel_mve_row_int16(int16_t *y, const int8_t *x, const int8_t *w, const int32_t *rescaling,
                                      int blocks, int count, BEVEL_OUTPUT) {
  BEVEL_ROLLED
  for (; count > 0; count -= 8, y += 8, rescaling += 2 * BEVEL_RESCALING(lifted)) {
    const int8_t *x0 = x, *x1 = x;
    BEVEL_EIGHT_SUMS;
    BEVEL_DOT(BEVEL_1X8, "", );
    bevel_mve_put_int16(y, first, rescaling, count, zero_point, low, high, lifted);
    if (count > 4) {
      bevel_mve_put_int16(y + 4, second, rescaling + BEVEL_RESCALING(lifted), count - 4, zero_point, low, high, lifted);
    }
  }
}

BEVEL_INLINE void bevel_mve_fill(void *place, int value, int count) {
  int8_t *to = place;
  BEVEL_ROLLED
  for (; count >= 16; count -= 16, to += 16) vstrbq_s8(to, vdupq_n_s8((int8_t)value));
  if (count > 0) vstrbq_p_s8(to, vdupq_n_s8((int8_t)value), vctp8q((uint32_t)count));
}

BEVEL_INLINE void bevel_mve_copy(int8_t *to, const int8_t *from, int count) {
#pragma GCC unroll 4
  for (; count >= 16; count -= 16, to += 16, from += 16) vstrbq_s8(to, vldrbq_s8(from));
  if (__builtin_constant_p(count) && (count == 4 || count == 8)) {
    __builtin_memcpy(to, from, (uint32_t)count); /* quicker than a predicate */
  } else if (count > 0) {
    const mve_pred16_t some = vctp8q((uint32_t)count);
    vstrbq_p_s8(to, vldrbq_z_s8(from, some), some);
  }
}

/* a * a_multiplier + b * b_multiplier + offset, shifted right, of four elements. */
BEVEL_INLINE int32x4_t bevel_mve_weighted(const int8_t *a, const int8_t *b, int32_t a_multiplier, int32_t b_multiplier,
                                          int32_t offset, int shift) {
  int32x4_t sums = vmulq_n_s32(vldrbq_s32(a), a_multiplier);
  sums = vaddq_n_s32(vmlaq_n_s32(sums, vldrbq_s32(b), b_multiplier), offset);
  return vshlq_r_s32(sums, -shift);
}

/* Adds `count` elements, a multiple of 8. y may be a. */
BEVEL_INLINE void bevel_mve_add(int8_t *y, const int8_t *a, const int8_t *b, int count, int32_t a_multiplier,
                                int32_t b_multiplier, int32_t offset, int shift, int zero_point, int low, int high) {
  BEVEL_ROLLED
  for (int blocks = count / 8; blocks > 0; --blocks, y += 8, a += 8, b += 8) {
    const int32x4_t first = bevel_mve_weighted(a, b, a_multiplier, b_multiplier, offset, shift);
    const int32x4_t second = bevel_mve_weighted(a + 4, b + 4, a_multiplier, b_multiplier, offset, shift);
    const int32x4_t bytes = bevel_mve_clamp(vqmovntq_s32(bevel_mve_narrow(first), second), zero_point, low, high);
    vstrbq_s32(y, bytes);
    vstrbq_s32(y + 4, vshrq_n_s32(bytes, 16));
  }
}

#else

BEVEL_INLINE int16_t bevel_mve_held(int64_t sum, int32_t multiplier, int shift, BEVEL_OUTPUT) {
  if (BEVEL_EVEN(lifted)) sum += (sum >> (shift - 30) & 1) - 1;
  const int64_t moved = zero_point + ((sum * multiplier + ((int64_t)1 << (shift - 1))) >> shift);
  return (int16_t)(moved < low ? low : moved > high ? high : moved);
}

BEVEL_INLINE int8_t bevel_mve_clamp(int64_t sum, int32_t multiplier, int shift, BEVEL_OUTPUT) {
  return (int8_t)bevel_mve_held(sum, multiplier, shift, zero_point, low, high, lifted);
}

/* One channel of four; see BEVEL_RESCALING. */
BEVEL_INLINE int16_t bevel_mve_within(int32_t sum, const int32_t *rescaling, int channel, BEVEL_OUTPUT) {
  const int8_t *const right = (const int8_t *)(rescaling + 8), *const left = (const int8_t *)(rescaling + 9);
  const int shift = 32 - right[channel] - (BEVEL_LIFTS(lifted) ? left[channel] : 0);
  const int64_t total = (int64_t)sum + rescaling[channel];
  return bevel_mve_held(total, rescaling[4 + channel], shift, zero_point, low, high, lifted);
}

BEVEL_INLINE int8_t bevel_mve_requantize(int32_t sum, const int32_t *rescaling, int channel, BEVEL_OUTPUT) {
  return (int8_t)bevel_mve_within(sum, rescaling, channel, zero_point, low, high, lifted);
}

BEVEL_INLINE int32_t bevel_mve_dot(const int8_t *x, const int8_t *w, int blocks, int step) {
  int32_t sum = 0;
  for (int k = 0; k < 16 * blocks; ++k) sum += x[k] * w[k / 16 * step + k % 16];
  return sum;
}

BEVEL_INLINE void bevel_mve_pixels(int8_t *y, int step, const int8_t *x0, const int8_t *x1, const int8_t *w,
                                   const int32_t *rescaling, int blocks, int channels, BEVEL_OUTPUT) {
  for (int c = 0; c < channels; ++c) {
    const int8_t *const own = w + c / 4 * blocks * 64 + c % 4 * 16;
    const int32_t *const scale = rescaling + c / 4 * BEVEL_RESCALING(lifted);
    const int32_t first = bevel_mve_dot(x0, own, blocks, 64), second = bevel_mve_dot(x1, own, blocks, 64);
    y[c] = bevel_mve_requantize(first, scale, c % 4, zero_point, low, high, lifted);
    y[step + c] = bevel_mve_requantize(second, scale, c % 4, zero_point, low, high, lifted);
  }
}

BEVEL_INLINE void bevel_mve_row(int8_t *y, const int8_t *x, const int8_t *w, const int32_t *rescaling, int blocks,
                                int count, BEVEL_OUTPUT) {
  for (int c = 0; c < count; ++c) {
    const int32_t *own = rescaling + c / 4 * BEVEL_RESCALING(lifted);
    const int32_t sum = bevel_mve_dot(x, w + c / 8 * blocks * 128 + c % 8 * 16, blocks, 128);
    y[c] = bevel_mve_requantize(sum, own, c % 4, zero_point, low, high, lifted);
  }
}

BEVEL_INLINE void bevel_mve_row_int16(int16_t *y, const int8_t *x, const int8_t *w, const int32_t *rescaling,
                                      int blocks, int count, BEVEL_OUTPUT) {
  for (int c = 0; c < count; ++c) {
    const int32_t *own = rescaling + c / 4 * BEVEL_RESCALING(lifted);
    const int32_t sum = bevel_mve_dot(x, w + c / 8 * blocks * 128 + c % 8 * 16, blocks, 128);
    y[c] = bevel_mve_within(sum, own, c % 4, zero_point, low, high, lifted);
  }
}

BEVEL_INLINE void bevel_mve_fill(void *place, int value, int count) {
  int8_t *to = place;
  for (int i = 0; i < count; ++i) to[i] = (int8_t)value;
}

BEVEL_INLINE void bevel_mve_copy(int8_t *to, const int8_t *from, int count) {
  for (int i = 0; i < count; ++i) to[i] = from[i];
}

BEVEL_INLINE void bevel_mve_add(int8_t *y, const int8_t *a, const int8_t *b, int count, int32_t a_multiplier,
                                int32_t b_multiplier, int32_t offset, int shift, int zero_point, int low, int high) {
  for (int i = 0; i < count; ++i) {
    const int32_t moved = zero_point + ((a[i] * a_multiplier + b[i] * b_multiplier + offset) >> shift);
    y[i] = (int8_t)(moved < low ? low : moved > high ? high : moved);
  }
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
