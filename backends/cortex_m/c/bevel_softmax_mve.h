/* A row of a Softmax on Helium: its largest code and its exponentials, eight at a time, then shares, four at a time.
 *
 *     VRMULH     an exponential: the rounded upper half of a product of two entries, gathered by the distance
 *     VQRDMLASH  a share of 16 bits: the rounded upper word of twice an exponential by the row's factor, less 2**15
 *     VQDMLASH   what a share of fewer bits is shifted and rounded from, moved by the zero point
 *
 * Exponentials are kept, two bytes each. The arithmetic is that of `calib/arithmetic/softmax.py`.
 */
#ifndef BEVEL_SOFTMAX_MVE_H
#define BEVEL_SOFTMAX_MVE_H

#include "bevel_reciprocal.h"
#include "bevel_mve.h"

#if defined(__ARM_FEATURE_MVE) && (__ARM_FEATURE_MVE & 1)

BEVEL_INLINE int32_t bevel_mve_softmax_largest(const void *x, int32_t count, bool wide) {
  int32_t most = wide ? -32768 : -128;
  int16x8_t codes;
#define BEVEL_LARGEST(lanes, load, kind)                                                          \
  BEVEL_LANES(lanes, load " %q[c], [%[x]], #16\n\tvmaxv." kind " %[most], %q[c]\n\t",             \
              : [x] "+l"(x), [most] "+r"(most), [c] "=&w"(codes)                                  \
              : [n] "r"(count))
  if (wide) {
    BEVEL_LARGEST("16", "vldrh.16", "s16");
  } else {
    BEVEL_LARGEST("8", "vldrb.8", "s8");
  }
  return most;
}

/* The sum of the exponentials, which go to `e`. */
BEVEL_INLINE int32_t bevel_mve_softmax_powers(uint16_t *e, const void *x, int32_t count, int32_t largest,
                                              const uint16_t *coarse, const uint16_t *fine, bool wide) {
  const int16x8_t most = vdupq_n_s16((int16_t)largest);
  uint16x8_t codes, upper, found = vdupq_n_u16(coarse[0]);
  int32_t total = 0;
#define BEVEL_POWERS(load, step, times)                                                                      \
  BEVEL_LANES("16",                                                                                          \
              load " %q[d], [%[x]], #" step "\n\tvsub.i16 %q[d], %q[m], %q[d]\n\t" times                    \
                   "vstrh.16 %q[d], [%[e]], #16\n\tvaddva.u16 %[total], %q[d]\n\t",                         \
              : [x] "+l"(x), [e] "+r"(e), [total] "+Te"(total), [d] "=&w"(codes), [u] "=&w"(upper), [f] "+&w"(found) \
              : [n] "r"(count), [m] "w"(most), [coarse] "r"(coarse), [fine] "r"(fine))
  if (wide) {
    BEVEL_POWERS("vldrh.16", "16",
                 "vshr.u16 %q[u], %q[d], #8\n\tvbic.i16 %q[d], #0xFF00\n\t"
                 "vldrh.u16 %q[f], [%[coarse], %q[u], uxtw #1]\n\t"
                 "vldrh.u16 %q[u], [%[fine], %q[d], uxtw #1]\n\tvrmulh.u16 %q[d], %q[f], %q[u]\n\t");
  } else {
    BEVEL_POWERS("vldrb.s16", "8",
                 "vldrh.u16 %q[u], [%[fine], %q[d], uxtw #1]\n\tvrmulh.u16 %q[d], %q[f], %q[u]\n\t");
  }
  return total;
}

/* y = share - 32768 of shares of 16 bits. */
BEVEL_INLINE void bevel_mve_softmax_halves(int16_t *y, const uint16_t *e, int32_t count, int32_t factor) {
  int32x4_t share;
  BEVEL_LANES("32",
              "vldrh.u32 %q[s], [%[e]], #8\n\tvqrdmlash.s32 %q[s], %q[f], %[least]\n\tvstrh.32 %q[s], [%[y]], #8\n\t",
              : [e] "+l"(e), [y] "+l"(y), [s] "=&w"(share)
              : [n] "r"(count), [f] "w"(vdupq_n_s32(factor)), [least] "r"(-32768));
}

/* y = share - 128, held to int8, of shares of 8 bits: eight at once are taken apart into even and odd ones, which a
 * predicate of halfwords would cut. */
BEVEL_INLINE void bevel_mve_softmax_bytes(int8_t *y, const uint16_t *e, int32_t count, int32_t factor) {
  int32x4_t share, odd;
  const int32x4_t factors = vdupq_n_s32(factor);
  if (count >= 8) {
    BEVEL_LANES("16",
                "vldrh.16 %q[o], [%[e]], #16\n\tvmovlb.u16 %q[s], %q[o]\n\tvmovlt.u16 %q[o], %q[o]\n\t"
                "vqdmlash.s32 %q[s], %q[f], %[least]\n\tvqdmlash.s32 %q[o], %q[f], %[least]\n\t"
                "vqrshrnb.s32 %q[s], %q[s], #8\n\tvqrshrnt.s32 %q[s], %q[o], #8\n\t"
                "vqmovnb.s16 %q[s], %q[s]\n\tvstrb.16 %q[s], [%[y]], #8\n\t",
                : [e] "+l"(e), [y] "+l"(y), [s] "=&w"(share), [o] "=&w"(odd)
                : [n] "r"(count & ~7), [f] "w"(factors), [least] "r"(-128 * 256));
  }
  if (count % 8 == 0) return;
  BEVEL_LANES("32",
              "vldrh.u32 %q[s], [%[e]], #8\n\tvqdmlash.s32 %q[s], %q[f], %[least]\n\t"
              "vqrshrnb.s32 %q[s], %q[s], #8\n\tvqmovnb.s16 %q[s], %q[s]\n\tvstrb.32 %q[s], [%[y]], #4\n\t",
              : [e] "+l"(e), [y] "+l"(y), [s] "=&w"(share)
              : [n] "r"(count & 7), [f] "w"(factors), [least] "r"(-128 * 256));
}

/* Four shares of up to 16 bits in units of 2**-(16 - down), with the zero point. */
BEVEL_INLINE int32x4_t bevel_mve_softmax_share(int32x4_t e, int32_t factor, int down, int zero_point, int low, int high) {
  int32x4_t share = down > 0 ? vrshlq_n_s32(vqdmulhq_n_s32(e, factor), -down) : vqrdmulhq_n_s32(e, factor);
  share = vaddq_n_s32(share, zero_point);
  if (low > zero_point) share = vmaxq_s32(share, vdupq_n_s32(low));
  return vminq_s32(share, vdupq_n_s32(high));
}

BEVEL_INLINE void bevel_mve_softmax_shares(void *y, const uint16_t *e, int32_t count, int32_t factor, int down,
                                           int zero_point, int low, int high, bool wide) {
  int8_t *to = (int8_t *)y;
  if (wide && down == 0 && zero_point == -32768 && low == -32768 && high == 32767) {
    bevel_mve_softmax_halves((int16_t *)y, e, count, factor);
    return;
  }
  if (!wide && down == 8 && zero_point == -128 && low == -128 && high == 127) {
    bevel_mve_softmax_bytes((int8_t *)y, e, count, factor);
    return;
  }
  BEVEL_ROLLED
  for (; count >= 4; count -= 4, e += 4, to += wide ? 8 : 4) {
    const int32x4_t found = vreinterpretq_s32_u32(vldrhq_u32(e));
    const int32x4_t share = bevel_mve_softmax_share(found, factor, down, zero_point, low, high);
    if (wide) {
      vstrhq_s32((int16_t *)(void *)to, share);
    } else {
      vstrbq_s32(to, share);
    }
  }
  if (count > 0) {
    const mve_pred16_t some = vctp32q((uint32_t)count);
    const int32x4_t found = vreinterpretq_s32_u32(vldrhq_z_u32(e, some));
    const int32x4_t share = bevel_mve_softmax_share(found, factor, down, zero_point, low, high);
    if (wide) {
      vstrhq_p_s32((int16_t *)(void *)to, share, some);
    } else {
      vstrbq_p_s32(to, share, some);
    }
  }
}

#else

BEVEL_INLINE int32_t bevel_mve_softmax_code(const void *x, int32_t i, bool wide) {
  return wide ? ((const int16_t *)x)[i] : ((const int8_t *)x)[i];
}

BEVEL_INLINE int32_t bevel_mve_softmax_largest(const void *x, int32_t count, bool wide) {
  int32_t most = -32768;
  for (int32_t i = 0; i < count; ++i) {
    const int32_t code = bevel_mve_softmax_code(x, i, wide);
    most = code > most ? code : most;
  }
  return most;
}

BEVEL_INLINE int32_t bevel_mve_softmax_powers(uint16_t *e, const void *x, int32_t count, int32_t largest,
                                              const uint16_t *coarse, const uint16_t *fine, bool wide) {
  uint32_t total = 0;
  for (int32_t i = 0; i < count; ++i) {
    const uint32_t distance = (uint32_t)(largest - bevel_mve_softmax_code(x, i, wide));
    const uint32_t product = (uint32_t)coarse[wide ? distance >> 8 : 0] * fine[distance & 0xFF];
    e[i] = (uint16_t)((product + 0x8000u) >> 16);
    total += e[i];
  }
  return (int32_t)total;
}

BEVEL_INLINE void bevel_mve_softmax_shares(void *y, const uint16_t *e, int32_t count, int32_t factor, int down,
                                           int zero_point, int low, int high, bool wide) {
  for (int32_t i = 0; i < count; ++i) {
    const int64_t product = (int64_t)e[i] * factor + ((int64_t)1 << (30 + down));
    const int32_t share = (int32_t)(product >> (31 + down)) + zero_point;
    const int32_t held = share < low ? low : share > high ? high : share;
    if (wide) {
      ((int16_t *)y)[i] = (int16_t)held;
    } else {
      ((int8_t *)y)[i] = (int8_t)held;
    }
  }
}

#endif

/* A row: `kept` of its elements have shares, the others none. */
BEVEL_INLINE void bevel_mve_softmax_row(void *y, const void *x, int16_t *scratch, const uint16_t *coarse,
                                        const uint16_t *fine, int32_t kept, bool codes, bool results, int down,
                                        int zero_point, int low, int high) {
  uint16_t *const e = (uint16_t *)scratch;
  const int32_t largest = bevel_mve_softmax_largest(x, kept, codes);
  const int32_t factor = bevel_softmax_reciprocal(bevel_mve_softmax_powers(e, x, kept, largest, coarse, fine, codes));
  bevel_mve_softmax_shares(y, e, kept, factor, down, zero_point, low, high, results);
}

#endif
