/* Walsh-Hadamard transforms on Cortex-M, in sums of 32 bits.
 *
 * Several stages of butterflies read and write each sum once: three where sums are single words, eight of which fit
 * the registers; with Helium two, of vectors of four sums, where those of neighbours are done to vectors of every fourth
 * sum, as VLD4 and VST4 take them apart. */
#ifndef BEVEL_HADAMARD_H
#define BEVEL_HADAMARD_H

#include <stdint.h>

#include "bevel_dsp.h"

#define BEVEL_INLINE static inline __attribute__((always_inline))

#define BEVEL_FOURFOLD _Pragma("GCC unroll 4")

/* (a, b, c, d) of two digits to their sums and differences. */
BEVEL_INLINE void bevel_hadamard_four(int32_t *s, int step) {
  const int32_t a = s[0] + s[step], b = s[0] - s[step];
  const int32_t c = s[2 * step] + s[3 * step], d = s[2 * step] - s[3 * step];
  s[0] = a + c;
  s[step] = b + d;
  s[2 * step] = a - c;
  s[3 * step] = b - d;
}

BEVEL_INLINE void bevel_hadamard_two(int32_t *s, int step) {
  const int32_t a = s[0];
  s[0] = a + s[step];
  s[step] = a - s[step];
}

#if defined(__ARM_FEATURE_MVE) && (__ARM_FEATURE_MVE & 1)

#include <arm_mve.h>

BEVEL_INLINE void bevel_hadamard_fours(int32_t *s, int step) {
  const int32x4_t s0 = vldrwq_s32(s), s1 = vldrwq_s32(s + step);
  const int32x4_t s2 = vldrwq_s32(s + 2 * step), s3 = vldrwq_s32(s + 3 * step);
  const int32x4_t a = vaddq_s32(s0, s1), b = vsubq_s32(s0, s1), c = vaddq_s32(s2, s3), d = vsubq_s32(s2, s3);
  vstrwq_s32(s, vaddq_s32(a, c));
  vstrwq_s32(s + step, vaddq_s32(b, d));
  vstrwq_s32(s + 2 * step, vsubq_s32(a, c));
  vstrwq_s32(s + 3 * step, vsubq_s32(b, d));
}

/* Both stages of sixteen neighbours. */
BEVEL_INLINE void bevel_hadamard_neighbours(int32_t *s) {
  int32x4x4_t v = vld4q_s32(s);
  const int32x4_t a = vaddq_s32(v.val[0], v.val[1]), b = vsubq_s32(v.val[0], v.val[1]);
  const int32x4_t c = vaddq_s32(v.val[2], v.val[3]), d = vsubq_s32(v.val[2], v.val[3]);
  v.val[0] = vaddq_s32(a, c);
  v.val[1] = vaddq_s32(b, d);
  v.val[2] = vsubq_s32(a, c);
  v.val[3] = vsubq_s32(b, d);
  vst4q_s32(s, v);
}

BEVEL_INLINE void bevel_hadamard_twos(int32_t *s, int step) {
  const int32x4_t a = vldrwq_s32(s), b = vldrwq_s32(s + step);
  vstrwq_s32(s, vaddq_s32(a, b));
  vstrwq_s32(s + step, vsubq_s32(a, b));
}

/* s[i] = (x[i] - zero_point) * signs[i] */
#define BEVEL_HADAMARD_SIGNED(TYPE, LOAD, LOAD_SOME)                                                            \
  BEVEL_INLINE void bevel_hadamard_signed_##TYPE(int32_t *s, const TYPE##_t *x, const int8_t *signs, int count, \
                                                 int zero_point) {                                              \
    BEVEL_FOURFOLD                                                                                              \
    for (; count >= 4; count -= 4, s += 4, x += 4, signs += 4) {                                                \
      vstrwq_s32(s, vmulq_s32(vsubq_n_s32(LOAD(x), zero_point), vldrbq_s32(signs)));                            \
    }                                                                                                           \
    if (count > 0) {                                                                                            \
      const mve_pred16_t lanes = vctp32q((uint32_t)count);                                                      \
      const int32x4_t steps = vsubq_n_s32(LOAD_SOME(x, lanes), zero_point);                                     \
      vstrwq_p_s32(s, vmulq_s32(steps, vldrbq_z_s32(signs, lanes)), lanes);                                     \
    }                                                                                                           \
  }
BEVEL_HADAMARD_SIGNED(int8, vldrbq_s32, vldrbq_z_s32)
BEVEL_HADAMARD_SIGNED(int16, vldrhq_s32, vldrhq_z_s32)

/* out = the row s [m] times base [m, m], m a multiple of four. */
BEVEL_INLINE void bevel_hadamard_base(int32_t *out, const int32_t *s, const int8_t *base, int m) {
  for (int i = 0; i < m; i += 4) {
    int32x4_t sum = vdupq_n_s32(0);
    for (int j = 0; j < m; ++j) sum = vmlaq_n_s32(sum, vldrbq_s32(base + j * m + i), s[j]);
    vstrwq_s32(out + i, sum);
  }
}

/* `up` to the left, the upper word of the product, `down` to the right, rounded half up. */
BEVEL_INLINE int32x4_t bevel_hadamard_rescaled(int32x4_t sums, int32_t multiplier, int up, int down, int zero_point,
                                               int low, int high) {
  if (up) sums = vshlq_r_s32(sums, up);
  sums = vaddq_n_s32(vrshlq_s32(vmulhq_s32(sums, vdupq_n_s32(multiplier)), vdupq_n_s32(-down)), zero_point);
  return vminq_s32(vmaxq_s32(sums, vdupq_n_s32(low)), vdupq_n_s32(high));
}

#define BEVEL_HADAMARD_STORED(TYPE, STORE, STORE_SOME)                                                         \
  BEVEL_INLINE void bevel_hadamard_stored_##TYPE(TYPE##_t *y, const int32_t *s, int count, int32_t multiplier, \
                                                 int up, int down, int zero_point, int low, int high) {        \
    BEVEL_FOURFOLD                                                                                             \
    for (; count >= 4; count -= 4, s += 4, y += 4) {                                                           \
      STORE(y, bevel_hadamard_rescaled(vldrwq_s32(s), multiplier, up, down, zero_point, low, high));           \
    }                                                                                                          \
    if (count > 0) {                                                                                           \
      const mve_pred16_t lanes = vctp32q((uint32_t)count);                                                     \
      const int32x4_t sums = vldrwq_z_s32(s, lanes);                                                           \
      STORE_SOME(y, bevel_hadamard_rescaled(sums, multiplier, up, down, zero_point, low, high), lanes);        \
    }                                                                                                          \
  }
BEVEL_HADAMARD_STORED(int8, vstrbq_s32, vstrbq_p_s32)
BEVEL_HADAMARD_STORED(int16, vstrhq_s32, vstrhq_p_s32)

/* Two stages of all sums, of pairs that lie `step` apart, and four times that. */
BEVEL_INLINE void bevel_hadamard_pass(int32_t *s, int size, int step) {
  for (int part = 0; part < size; part += 4 * step) {
    int i = 0;
    for (; i + 4 <= step; i += 4) bevel_hadamard_fours(s + part + i, step);
    for (; i < step; ++i) bevel_hadamard_four(s + part + i, step);
  }
}

#define BEVEL_PASS(number)                                                                         \
  if ((step << 2 * number) * 4 <= size && (number || !near)) bevel_hadamard_pass(s, size, step << 2 * number)

BEVEL_INLINE void bevel_hadamard_stages(int32_t *s, int size, int step, int stages) {
  const int near = step == 1 && stages >= 4;
  if (near) {
    for (int part = 0; part < size; part += 16) bevel_hadamard_neighbours(s + part);
  }
  BEVEL_PASS(0);
  BEVEL_PASS(1);
  BEVEL_PASS(2);
  BEVEL_PASS(3);
  BEVEL_PASS(4);
  BEVEL_PASS(5);
  if (stages % 2) {
    int i = 0;
    for (; i + 4 <= size / 2; i += 4) bevel_hadamard_twos(s + i, size / 2);
    for (; i < size / 2; ++i) bevel_hadamard_two(s + i, size / 2);
  }
}

#else

#define BEVEL_HADAMARD_PAIR(a, b) \
  do {                            \
    const int32_t first = a;      \
    a = first + b;                \
    b = first - b;                \
  } while (0)

/* Three digits at once. */
BEVEL_INLINE void bevel_hadamard_eight(int32_t *s, int step) {
  int32_t v0 = s[0], v1 = s[step], v2 = s[2 * step], v3 = s[3 * step];
  int32_t v4 = s[4 * step], v5 = s[5 * step], v6 = s[6 * step], v7 = s[7 * step];
  BEVEL_HADAMARD_PAIR(v0, v1);
  BEVEL_HADAMARD_PAIR(v2, v3);
  BEVEL_HADAMARD_PAIR(v4, v5);
  BEVEL_HADAMARD_PAIR(v6, v7);
  BEVEL_HADAMARD_PAIR(v0, v2);
  BEVEL_HADAMARD_PAIR(v1, v3);
  BEVEL_HADAMARD_PAIR(v4, v6);
  BEVEL_HADAMARD_PAIR(v5, v7);
  BEVEL_HADAMARD_PAIR(v0, v4);
  BEVEL_HADAMARD_PAIR(v1, v5);
  BEVEL_HADAMARD_PAIR(v2, v6);
  BEVEL_HADAMARD_PAIR(v3, v7);
  s[0] = v0;
  s[step] = v1;
  s[2 * step] = v2;
  s[3 * step] = v3;
  s[4 * step] = v4;
  s[5 * step] = v5;
  s[6 * step] = v6;
  s[7 * step] = v7;
}

BEVEL_INLINE void bevel_hadamard_pass(int32_t *s, int size, int step) {
  for (int part = 0; part < size; part += 8 * step) {
    for (int i = 0; i < step; ++i) bevel_hadamard_eight(s + part + i, step);
  }
}

#define BEVEL_PASS(number) \
  if ((step << 3 * number) * 8 <= size) bevel_hadamard_pass(s, size, step << 3 * number)

BEVEL_INLINE void bevel_hadamard_stages(int32_t *s, int size, int step, int stages) {
  BEVEL_PASS(0);
  BEVEL_PASS(1);
  BEVEL_PASS(2);
  BEVEL_PASS(3);
  if (stages % 3 == 2) {
    for (int i = 0; i < size / 4; ++i) bevel_hadamard_four(s + i, size / 4);
  } else if (stages % 3 == 1) {
    for (int i = 0; i < size / 2; ++i) bevel_hadamard_two(s + i, size / 2);
  }
}

#define BEVEL_HADAMARD_SIGNED(TYPE)                                                                             \
  BEVEL_INLINE void bevel_hadamard_signed_##TYPE(int32_t *s, const TYPE##_t *x, const int8_t *signs, int count, \
                                                 int zero_point) {                                              \
    BEVEL_FOURFOLD                                                                                              \
    for (int i = 0; i < count; ++i) s[i] = (x[i] - zero_point) * signs[i];                                      \
  }
BEVEL_HADAMARD_SIGNED(int8)
BEVEL_HADAMARD_SIGNED(int16)

BEVEL_INLINE void bevel_hadamard_base(int32_t *out, const int32_t *s, const int8_t *base, int m) {
  for (int i = 0; i < m; ++i) {
    int32_t sum = 0;
    for (int j = 0; j < m; ++j) sum += s[j] * base[j * m + i];
    out[i] = sum;
  }
}

#define BEVEL_HADAMARD_STORED(TYPE, SATURATE, LEAST)                                                                   \
  BEVEL_INLINE void bevel_hadamard_stored_##TYPE(TYPE##_t *y, const int32_t *s, int count, int32_t multiplier, \
                                                 int up, int down, int zero_point, int low, int high) {        \
    BEVEL_FOURFOLD                                                                                              \
    for (int i = 0; i < count; ++i) {                                                                           \
      const int32_t sum = (int32_t)((uint32_t)s[i] << up);                                                      \
      int32_t moved = SATURATE((bevel_smmla(sum, multiplier, 1 << (down - 1)) >> down) + zero_point);           \
      if (low > LEAST) moved = moved < low ? low : moved;                                                       \
      if (high < -LEAST - 1) moved = moved > high ? high : moved;                                               \
      y[i] = (TYPE##_t)moved;                                                                                   \
    }                                                                                                           \
  }
BEVEL_HADAMARD_STORED(int8, bevel_ssat8, -128)
BEVEL_HADAMARD_STORED(int16, bevel_ssat16, -32768)

#endif

/* All of a block; `room` holds m sums. */
BEVEL_INLINE void bevel_hadamard_block(int32_t *s, int32_t *room, const int8_t *base, int size, int m, int stages) {
  if (m > 1) {
    for (int part = 0; part < size; part += m) {
      for (int j = 0; j < m; ++j) room[j] = s[part + j];
      bevel_hadamard_base(s + part, room, base, m);
    }
  }
  bevel_hadamard_stages(s, size, m, stages);
}

#endif
