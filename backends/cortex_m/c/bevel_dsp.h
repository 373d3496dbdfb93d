/* The SIMD instructions of Arm's DSP extension, which work on a word as two halfwords or four bytes.
 *
 * Each function is one instruction on a core with the extension (Cortex-M4, M7, M33, M55) and the same arithmetic in
 * plain C elsewhere, so that kernels written with them compute the same everywhere. Words are int32_t, and sums wrap
 * around. In comments, x.b0 is the lowest byte of x, and x.h1 is its upper halfword.
 */
#ifndef BEVEL_DSP_H
#define BEVEL_DSP_H

#include <stdint.h>

/* Four bytes from any address. Cores with the DSP extension load unaligned words as they are. */
static inline int32_t bevel_load_word(const void *place) {
  int32_t word;
  __builtin_memcpy(&word, place, sizeof word);
  return word;
}

/* Two bytes from any address, without a sign. */
static inline int32_t bevel_load_half(const void *place) {
  uint16_t half;
  __builtin_memcpy(&half, place, sizeof half);
  return half;
}

/* Four bytes to any address. */
static inline void bevel_store_word(void *place, int32_t word) { __builtin_memcpy(place, &word, sizeof word); }

#if defined(__ARM_FEATURE_DSP) && __ARM_FEATURE_DSP

#include <arm_acle.h>

/* h0 = x.b0, h1 = x.b2, both sign-extended. */
static inline int32_t bevel_sxtb16(int32_t x) { return (int32_t)__sxtb16((int8x4_t)x); }

/* h0 = x.b1, h1 = x.b3, both sign-extended. The compilers do not use the instruction's rotation by themselves. */
static inline int32_t bevel_sxtb16_odd(int32_t x) {
  int32_t result;
  __asm__("sxtb16 %0, %1, ror #8" : "=r"(result) : "r"(x));
  return result;
}

/* sum + x.h0 * y.h0 + x.h1 * y.h1. Not the intrinsic, which sets a flag that would order these among each other. */
static inline int32_t bevel_smlad(int32_t x, int32_t y, int32_t sum) {
  __asm__("smlad %0, %1, %2, %0" : "+r"(sum) : "r"(x), "r"(y));
  return sum;
}

/* The same, of 64 bits. */
static inline int64_t bevel_smlald(int32_t x, int32_t y, int64_t sum) {
  __asm__("smlald %Q0, %R0, %1, %2" : "+r"(sum) : "r"(x), "r"(y));
  return sum;
}

/* sum + x.h0 * y.h0 */
static inline int32_t bevel_smlabb(int32_t x, int32_t y, int32_t sum) {
  int32_t result;
  __asm__("smlabb %0, %1, %2, %3" : "=r"(result) : "r"(x), "r"(y), "r"(sum));
  return result;
}

/* sum + x.h0 * y.h1 */
static inline int32_t bevel_smlabt(int32_t x, int32_t y, int32_t sum) {
  int32_t result;
  __asm__("smlabt %0, %1, %2, %3" : "=r"(result) : "r"(x), "r"(y), "r"(sum));
  return result;
}

/* sum + x.h1 * y.h0 */
static inline int32_t bevel_smlatb(int32_t x, int32_t y, int32_t sum) {
  int32_t result;
  __asm__("smlatb %0, %1, %2, %3" : "=r"(result) : "r"(x), "r"(y), "r"(sum));
  return result;
}

/* x.h0 * y.h0 + x.h1 * y.h1 */
static inline int32_t bevel_smuad(int32_t x, int32_t y) {
  int32_t sum;
  __asm__("smuad %0, %1, %2" : "=r"(sum) : "r"(x), "r"(y));
  return sum;
}

/* h0 = x.h0, h1 = y.h0 */
static inline int32_t bevel_pkhbt(int32_t x, int32_t y) {
  int32_t result;
  __asm__("pkhbt %0, %1, %2, lsl #16" : "=r"(result) : "r"(x), "r"(y));
  return result;
}

/* h0 = x.h1, h1 = y.h1 */
static inline int32_t bevel_pkhtb(int32_t x, int32_t y) {
  int32_t result;
  __asm__("pkhtb %0, %1, %2, asr #16" : "=r"(result) : "r"(y), "r"(x));
  return result;
}

/* high + the upper word of x * y */
static inline int32_t bevel_smmla(int32_t x, int32_t y, int32_t high) {
  int32_t result;
  __asm__("smmla %0, %1, %2, %3" : "=r"(result) : "r"(x), "r"(y), "r"(high));
  return result;
}

/* The upper word of x * y, rounded half up. */
static inline int32_t bevel_smmulr(int32_t x, int32_t y) {
  int32_t result;
  __asm__("smmulr %0, %1, %2" : "=r"(result) : "r"(x), "r"(y));
  return result;
}

/* x.h0 - y.h0, x.h1 - y.h1 */
static inline int32_t bevel_ssub16(int32_t x, int32_t y) {
  int32_t result;
  __asm__("ssub16 %0, %1, %2" : "=r"(result) : "r"(x), "r"(y) : "cc");
  return result;
}

/* The same, each held to int16. */
static inline int32_t bevel_qsub16(int32_t x, int32_t y) {
  int32_t result;
  __asm__("qsub16 %0, %1, %2" : "=r"(result) : "r"(x), "r"(y));
  return result;
}

/* x, at least -128 and at most 127. */
static inline int32_t bevel_ssat8(int32_t x) {
  int32_t result;
  __asm__("ssat %0, #8, %1" : "=r"(result) : "r"(x));
  return result;
}

/* x, at least -32768 and at most 32767. */
static inline int32_t bevel_ssat16(int32_t x) {
  int32_t result;
  __asm__("ssat %0, #16, %1" : "=r"(result) : "r"(x));
  return result;
}

/* x >> shift, at least -128 and at most 127, for a constant shift below 32. */
static inline __attribute__((always_inline)) int32_t bevel_ssat8_shifted(int32_t x, const int32_t shift) {
  int32_t result;
  if (shift == 0) return bevel_ssat8(x);
  __asm__("ssat %0, #8, %1, asr %2" : "=r"(result) : "r"(x), "n"(shift));
  return result;
}

/* x * y + sum. Compilers turn sums of products and a constant around, and then need one instruction more. */
static inline int32_t bevel_mla(int32_t x, int32_t y, int32_t sum) {
  int32_t result;
  __asm__("mla %0, %1, %2, %3" : "=r"(result) : "r"(x), "r"(y), "r"(sum));
  return result;
}

/* The greater of each two signed bytes. */
static inline int32_t bevel_max_bytes(int32_t x, int32_t y) {
  int32_t result;
  __asm__("ssub8 %0, %1, %2\n\tsel %0, %1, %2" : "=&r"(result) : "r"(x), "r"(y) : "cc");
  return result;
}

/* The greater of each two signed halfwords. */
static inline int32_t bevel_max_halves(int32_t x, int32_t y) {
  int32_t result;
  __asm__("ssub16 %0, %1, %2\n\tsel %0, %1, %2" : "=&r"(result) : "r"(x), "r"(y) : "cc");
  return result;
}

/* x with y.b0 added to h0, and y.b2 to h1. */
static inline int32_t bevel_sxtab16(int32_t x, int32_t y) {
  int32_t result;
  __asm__("sxtab16 %0, %1, %2" : "=r"(result) : "r"(x), "r"(y));
  return result;
}

/* x with y.b1 added to h0, and y.b3 to h1. */
static inline int32_t bevel_sxtab16_odd(int32_t x, int32_t y) {
  int32_t result;
  __asm__("sxtab16 %0, %1, %2, ror #8" : "=r"(result) : "r"(x), "r"(y));
  return result;
}

#else

static inline int32_t bevel_pair(int32_t low, int32_t high) {
  return (int32_t)((uint32_t)(uint16_t)low | (uint32_t)high << 16);
}

static inline int32_t bevel_sxtb16(int32_t x) { return bevel_pair((int8_t)x, (int8_t)(x >> 16)); }

static inline int32_t bevel_sxtb16_odd(int32_t x) { return bevel_pair((int8_t)(x >> 8), (int8_t)(x >> 24)); }

static inline int32_t bevel_smlad(int32_t x, int32_t y, int32_t sum) {
  const int64_t low = (int64_t)(int16_t)x * (int16_t)y;
  return (int32_t)(uint32_t)(sum + low + (int64_t)(int16_t)(x >> 16) * (int16_t)(y >> 16));
}

static inline int64_t bevel_smlald(int32_t x, int32_t y, int64_t sum) {
  return sum + (int64_t)(int16_t)x * (int16_t)y + (int64_t)(int16_t)(x >> 16) * (int16_t)(y >> 16);
}

static inline int32_t bevel_smlabb(int32_t x, int32_t y, int32_t sum) {
  return (int32_t)((uint32_t)sum + (uint32_t)((int16_t)x * (int16_t)y));
}

static inline int32_t bevel_smlabt(int32_t x, int32_t y, int32_t sum) { return bevel_smlabb(x, y >> 16, sum); }

static inline int32_t bevel_smlatb(int32_t x, int32_t y, int32_t sum) { return bevel_smlabb(x >> 16, y, sum); }

static inline int32_t bevel_smuad(int32_t x, int32_t y) { return bevel_smlad(x, y, 0); }

static inline int32_t bevel_pkhbt(int32_t x, int32_t y) { return bevel_pair((int16_t)x, (int16_t)y); }

static inline int32_t bevel_pkhtb(int32_t x, int32_t y) { return bevel_pair((int16_t)(x >> 16), (int16_t)(y >> 16)); }

static inline int32_t bevel_smmla(int32_t x, int32_t y, int32_t high) {
  return (int32_t)((uint32_t)high + (uint32_t)((int64_t)x * y >> 32));
}

static inline int32_t bevel_smmulr(int32_t x, int32_t y) {
  return (int32_t)(((int64_t)x * y + ((int64_t)1 << 31)) >> 32);
}

static inline int32_t bevel_ssub16(int32_t x, int32_t y) {
  return bevel_pair((int16_t)x - (int16_t)y, (int16_t)(x >> 16) - (int16_t)(y >> 16));
}

static inline int32_t bevel_max_halves(int32_t x, int32_t y) {
  const int32_t low = (int16_t)x > (int16_t)y ? x : y, high = x >> 16 > y >> 16 ? x : y;
  return bevel_pair((int16_t)low, (int16_t)(high >> 16));
}

static inline int32_t bevel_ssat8(int32_t x) { return x < -128 ? -128 : x > 127 ? 127 : x; }

static inline int32_t bevel_ssat16(int32_t x) { return x < -32768 ? -32768 : x > 32767 ? 32767 : x; }

static inline int32_t bevel_qsub16(int32_t x, int32_t y) {
  return bevel_pair(bevel_ssat16((int16_t)x - (int16_t)y), bevel_ssat16((int16_t)(x >> 16) - (int16_t)(y >> 16)));
}

static inline int32_t bevel_ssat8_shifted(int32_t x, int32_t shift) { return bevel_ssat8(x >> shift); }

static inline int32_t bevel_mla(int32_t x, int32_t y, int32_t sum) {
  return (int32_t)((uint32_t)sum + (uint32_t)x * (uint32_t)y);
}

static inline int32_t bevel_max_bytes(int32_t x, int32_t y) {
  uint32_t result = 0;
  for (int bits = 0; bits < 32; bits += 8) {
    const uint32_t greater = (uint32_t)((int8_t)(x >> bits) >= (int8_t)(y >> bits) ? x : y);
    result |= greater & 0xFFu << bits;
  }
  return (int32_t)result;
}

static inline int32_t bevel_sxtab16(int32_t x, int32_t y) {
  return bevel_pair((int16_t)x + (int8_t)y, (int16_t)(x >> 16) + (int8_t)(y >> 16));
}

static inline int32_t bevel_sxtab16_odd(int32_t x, int32_t y) { return bevel_sxtab16(x, y >> 8); }

#endif

/* (a * factor_of_a + b * factor_of_b + offset) >> shift, a constant, of 64 bits before. */
static inline __attribute__((always_inline)) int32_t bevel_wide_sum(int32_t a, int32_t factor_of_a, int32_t b,
                                                                    int32_t factor_of_b, int64_t offset,
                                                                    int32_t shift) {
  return (int32_t)((offset + (int64_t)a * factor_of_a + (int64_t)b * factor_of_b) >> shift);
}

/* x * 2**by, which fits. */
static inline int32_t bevel_shift_left(int32_t x, int32_t by) { return (int32_t)((uint32_t)x << by); }

/* `count` elements `step` apart that are all the same. */
#define BEVEL_FILL(name, type, every)                                                                    \
  __attribute__((noinline, unused)) static void name(type *y, int32_t step, int32_t count, int32_t value) {  \
    const int32_t word = every;                                                                          \
    int32_t done = 0;                                                                                    \
    if (step == 1)                                                                                       \
      for (; done + 16 / (int32_t)sizeof *y <= count; done += 16 / (int32_t)sizeof *y)                   \
        for (int32_t i = 0; i < 4; i++) bevel_store_word(y + done + i * (4 / (int32_t)sizeof *y), word); \
    for (; done < count; done++) y[done * step] = (type)value;                                           \
  }

BEVEL_FILL(bevel_fill_int8, int8_t, (int32_t)((uint32_t)(uint8_t)value * 0x1010101u))
BEVEL_FILL(bevel_fill_int16, int16_t, bevel_pkhbt(value, value))

/* Half 0 or 1 of x, sign-extended. */
static inline int32_t bevel_half(int32_t x, int32_t which) { return which ? x >> 16 : (int16_t)x; }

/* The bytes of lane 0 to 3, a constant, of two words: h0 = x.b<lane>, h1 = y.b<lane>, sign-extended. */
static inline int32_t bevel_lane_pair(int32_t x, int32_t y, int32_t lane) {
  const int32_t halves = lane & 2 ? bevel_pkhtb(x, y) : bevel_pkhbt(x, y);
  return lane & 1 ? bevel_sxtb16_odd(halves) : bevel_sxtb16(halves);
}

/* (sum * multiplier + 2**(shift - 1)) >> shift, moved by the zero point and held to int8, for shifts from 33 on:
 *
 *     rounding = (2 * zero_point + 1) << (shift - 33),   beyond = shift - 32
 *
 * where rounding must leave room for the upper word of the product, 2**30 at most.
 */
static inline int32_t bevel_requantize(int32_t sum, int32_t multiplier, int32_t rounding, int32_t beyond) {
  return bevel_ssat8(bevel_smmla(sum, multiplier, rounding) >> beyond);
}

/* The same, but ties go to the even integer. Those have a lower word of zero, and a half above it. */
static inline int32_t bevel_requantize_even(int32_t sum, int32_t multiplier, int32_t zero_point, int32_t beyond) {
  const int64_t product = (int64_t)sum * multiplier;
  const int32_t upper = (int32_t)(product >> 32);
  const int32_t up = (upper >> beyond & 1) | ((uint32_t)product != 0);
  return bevel_ssat8(((upper + (1 << (beyond - 1)) - 1 + up) >> beyond) + zero_point);
}

#endif
