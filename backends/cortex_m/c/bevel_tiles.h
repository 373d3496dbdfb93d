/* Products of int8 activations and packed int8 weights: one or two pixels times four output channels at a time.
 *
 * Activations are widened to pairs of int16 once, for all output channels (bevel_widen_*). Weights stay int8: two
 * output channels share a halfword, 256 * high + low, and two such halfwords, of successive taps, share a word:
 *
 *        31            16 15             0
 *       | 256*w1[k+1] + w0[k+1] | 256*w1[k] + w0[k] |
 *
 * SMLAD with that word sums c = sum of a * (256*w1 + w0); SMLAD with SXTB16 of it sums l = sum of a * w0; and
 * c - l = 256 * sum of a * w1, exactly, while that fits a word. `backends/encodings/packing.py` checks it and packs one block for
 * each four output channels, in the order in which it is read:
 *
 *       (2 * zero_point + 1) << 16 | taps               taps are a multiple of 8
 *       l0, c01, l2, c23                                where the four sums start: the bias
 *       taps / 2 times: word of channels 0 and 1, word of channels 2 and 3
 *       multiplier 0, 1, 2, 3, and a word of four shifts
 *
 * An int8 output is (sum * multiplier + 2**(shift - 1)) >> shift moved by the zero point, from the product's upper word
 * alone: the two constants that are added sit in (2 * zero_point + 1) << s, and >> s and >> 1 follow, for
 * s = shift - 33. Channels 1 and 3 have s = shift - 25, since their sums are left 256-fold. Both are what is stored.
 *
 * Where layers share their weights (bevel_shared_*), a block's weights lie in an array that all of them read, and its
 * ten other words, in the same order, in one of each layer.
 */
#ifndef BEVEL_TILES_H
#define BEVEL_TILES_H

#include <stdint.h>

#if defined(__ARM_FEATURE_DSP) && __ARM_FEATURE_DSP

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-parameter" /* assembly reads them in their registers */

#if defined(__clang__)
#define BEVEL_ASSEMBLY __attribute__((naked, noinline, unused)) static
#else
#define BEVEL_ASSEMBLY __attribute__((naked, noinline, noipa, unused)) static
#endif

/* Two taps of two pixels and four channels, 16 products in 12 instructions. r0: activations, a word of pixel 0 before
 * one of pixel 1; r1: weights; r4 to r7: l0, c01, l2, c23 of pixel 0; r8 to r11: those of pixel 1. */
#define BEVEL_STEP_2X4        \
  "ldrd r2, r3, [r1], #8\n"   \
  "ldrd r12, lr, [r0], #8\n"  \
  "smlad r5, r2, r12, r5\n"   \
  "smlad r9, r2, lr, r9\n"    \
  "smlad r7, r3, r12, r7\n"   \
  "smlad r11, r3, lr, r11\n"  \
  "sxtb16 r2, r2\n"           \
  "sxtb16 r3, r3\n"           \
  "smlad r4, r2, r12, r4\n"   \
  "smlad r8, r2, lr, r8\n"    \
  "smlad r6, r3, r12, r6\n"   \
  "smlad r10, r3, lr, r10\n"

/* 16 taps a round; the first round is half of one where taps are an odd multiple of 8. Strings of what is done besides
 * where weights lie elsewhere: `keep` r1, point it at `weights`, and back at the `scales`. */
#define BEVEL_SUM_2X4_OF(keep, weights, scales)                           \
  "push {r2-r11, lr}\n" keep                                              \
  "ldr r2, [r1], #4\n"                                                    \
  "uxth r3, r2\n"                                                         \
  "tst r2, #8\n"                                                          \
  "add r3, r0, r3, lsl #2\n"                                              \
  "asr r2, r2, #16\n"                                                     \
  "strd r2, r3, [sp, #-8]!\n"                                             \
  "ldm r1!, {r4-r7}\n" weights                                            \
  "mov r8, r4\n"                                                          \
  "mov r9, r5\n"                                                          \
  "mov r10, r6\n"                                                         \
  "mov r11, r7\n"                                                         \
  "bne 2f\n"                                                              \
  "1:\n" BEVEL_STEP_2X4 BEVEL_STEP_2X4 BEVEL_STEP_2X4 BEVEL_STEP_2X4      \
  "2:\n" BEVEL_STEP_2X4 BEVEL_STEP_2X4 BEVEL_STEP_2X4 BEVEL_STEP_2X4      \
  "ldr r2, [sp, #4]\n"                                                    \
  "cmp r0, r2\n"                                                          \
  "bne 1b\n"                                                              \
  "pop {r2, r3}\n" scales /* r2: the zero point's constant */             \
  "sub r5, r5, r4\n"                                                      \
  "sub r7, r7, r6\n"                                                      \
  "sub r9, r9, r8\n"                                                      \
  "sub r11, r11, r10\n"
#define BEVEL_SUM_2X4 BEVEL_SUM_2X4_OF("", "", "")
#define BEVEL_SHARED_SUM_2X4 \
  BEVEL_SUM_2X4_OF("push {r1}\n", "ldr r1, [sp, #56]\n", "pop {r1}\nadd r1, r1, #20\n")

/* One channel of both pixels: r2 the zero point's constant, lr the shift in its lowest byte. */
#define BEVEL_SCALE_2(first, second, multiplier)         \
  "lsl r12, r2, lr\n"                                    \
  "smmla " first ", " first ", " multiplier ", r12\n"    \
  "smmla " second ", " second ", " multiplier ", r12\n"  \
  "asr " first ", " first ", lr\n"                       \
  "asr " second ", " second ", lr\n"                     \
  "ssat " first ", #8, " first ", asr #1\n"              \
  "ssat " second ", #8, " second ", asr #1\n"

/* From four sums of each pixel to the return, with what `BEVEL_SUM_2X4` pushed. */
#define BEVEL_END_OUTPUTS_2X4                              \
  "ldr lr, [r1, #16]\n"                                    \
  "ldrd r0, r3, [r1]\n" BEVEL_SCALE_2("r4", "r8", "r0")    \
  "lsr lr, lr, #8\n" BEVEL_SCALE_2("r5", "r9", "r3")       \
  "lsr lr, lr, #8\n"                                       \
  "ldrd r0, r3, [r1, #8]\n" BEVEL_SCALE_2("r6", "r10", "r0") \
  "lsr lr, lr, #8\n" BEVEL_SCALE_2("r7", "r11", "r3")      \
  "pop {r0, r1}\n"                                         \
  "strb r8, [r1]\n"                                        \
  "strb r9, [r1, #1]\n"                                    \
  "strb r10, [r1, #2]\n"                                   \
  "strb r11, [r1, #3]\n"                                   \
  "strb r4, [r0]\n"                                        \
  "strb r5, [r0, #1]\n"                                    \
  "strb r6, [r0, #2]\n"                                    \
  "strb r7, [r0, #3]\n"                                    \
  "pop {r4-r11, pc}\n"

/* The same, ending at the sums themselves. */
#define BEVEL_END_SUMS_2X4  \
  "asr r5, r5, #8\n"        \
  "asr r7, r7, #8\n"        \
  "asr r9, r9, #8\n"        \
  "asr r11, r11, #8\n"      \
  "pop {r0, r1}\n"          \
  "stm r0, {r4-r7}\n"       \
  "stm r1, {r8-r11}\n"      \
  "pop {r4-r11, pc}\n"

/* y0 and y1: four outputs each. They may be the same place, which then holds pixel 0's. */
BEVEL_ASSEMBLY void bevel_outputs_2x4(const int32_t *a, const int32_t *packed, int8_t *y0, int8_t *y1) {
  __asm__ volatile(BEVEL_SUM_2X4 BEVEL_END_OUTPUTS_2X4 ::: "memory");
}

BEVEL_ASSEMBLY void bevel_shared_outputs_2x4(const int32_t *a, const int32_t *scales, int8_t *y0, int8_t *y1,
                                             const int32_t *weights) {
  __asm__ volatile(BEVEL_SHARED_SUM_2X4 BEVEL_END_OUTPUTS_2X4 ::: "memory");
}

BEVEL_ASSEMBLY void bevel_sums_2x4(const int32_t *a, const int32_t *packed, int32_t *sums0, int32_t *sums1) {
  __asm__ volatile(BEVEL_SUM_2X4 BEVEL_END_SUMS_2X4 ::: "memory");
}

BEVEL_ASSEMBLY void bevel_shared_sums_2x4(const int32_t *a, const int32_t *scales, int32_t *sums0, int32_t *sums1,
                                          const int32_t *weights) {
  __asm__ volatile(BEVEL_SHARED_SUM_2X4 BEVEL_END_SUMS_2X4 ::: "memory");
}

/* Eight taps of one pixel and four channels, 32 products in 27 instructions. r0: activations; r1: weights; r4 to r7:
 * l0, c01, l2, c23. */
#define BEVEL_HALF_1X4(first, second)      \
  "ldm r1!, {r2, r3, r12, lr}\n"           \
  "smlad r5, r2, " first ", r5\n"          \
  "smlad r7, r3, " first ", r7\n"          \
  "sxtb16 r2, r2\n"                        \
  "sxtb16 r3, r3\n"                        \
  "smlad r4, r2, " first ", r4\n"          \
  "smlad r6, r3, " first ", r6\n"          \
  "smlad r5, r12, " second ", r5\n"        \
  "smlad r7, lr, " second ", r7\n"         \
  "sxtb16 r12, r12\n"                      \
  "sxtb16 lr, lr\n"                        \
  "smlad r4, r12, " second ", r4\n"        \
  "smlad r6, lr, " second ", r6\n"
#define BEVEL_STEP_1X4 "ldm r0!, {r8-r11}\n" BEVEL_HALF_1X4("r8", "r9") BEVEL_HALF_1X4("r10", "r11")

#define BEVEL_SUM_1X4_OF(keep, weights, scales) \
  "push {r2, r4-r11, lr}\n" keep            \
  "ldr r2, [r1], #4\n"                 \
  "uxth r3, r2\n"                      \
  "tst r2, #8\n"                       \
  "add r3, r0, r3, lsl #1\n"           \
  "asr r2, r2, #16\n"                  \
  "strd r2, r3, [sp, #-8]!\n"          \
  "ldm r1!, {r4-r7}\n" weights                 \
  "bne 2f\n"                           \
  "1:\n" BEVEL_STEP_1X4                \
  "2:\n" BEVEL_STEP_1X4                \
  "ldr r2, [sp, #4]\n"                 \
  "cmp r0, r2\n"                       \
  "bne 1b\n"                           \
  "pop {r2, r3}\n" scales                     \
  "sub r5, r5, r4\n"                   \
  "sub r7, r7, r6\n"
#define BEVEL_SUM_1X4 BEVEL_SUM_1X4_OF("", "", "")
#define BEVEL_SHARED_SUM_1X4 \
  BEVEL_SUM_1X4_OF("push {r1, r3}\n", "ldr r1, [sp, #12]\n", "pop {r1, r3}\nadd r1, r1, #20\n")

#define BEVEL_SCALE_1(sum, multiplier)             \
  "lsl r12, r2, lr\n"                              \
  "smmla " sum ", " sum ", " multiplier ", r12\n"  \
  "asr " sum ", " sum ", lr\n"                     \
  "ssat " sum ", #8, " sum ", asr #1\n"

#define BEVEL_END_OUTPUTS_1X4                              \
  "ldm r1, {r8-r11, lr}\n" BEVEL_SCALE_1("r4", "r8")       \
  "lsr lr, lr, #8\n" BEVEL_SCALE_1("r5", "r9")             \
  "lsr lr, lr, #8\n" BEVEL_SCALE_1("r6", "r10")            \
  "lsr lr, lr, #8\n" BEVEL_SCALE_1("r7", "r11")            \
  "pop {r0}\n"                                             \
  "strb r4, [r0]\n"                                        \
  "strb r5, [r0, #1]\n"                                    \
  "strb r6, [r0, #2]\n"                                    \
  "strb r7, [r0, #3]\n"                                    \
  "pop {r4-r11, pc}\n"

#define BEVEL_END_SUMS_1X4  \
  "asr r5, r5, #8\n"        \
  "asr r7, r7, #8\n"        \
  "pop {r0}\n"              \
  "stm r0, {r4-r7}\n"       \
  "pop {r4-r11, pc}\n"

BEVEL_ASSEMBLY void bevel_outputs_1x4(const int32_t *a, const int32_t *packed, int8_t *y) {
  __asm__ volatile(BEVEL_SUM_1X4 BEVEL_END_OUTPUTS_1X4 ::: "memory");
}

BEVEL_ASSEMBLY void bevel_shared_outputs_1x4(const int32_t *a, const int32_t *scales, int8_t *y,
                                             const int32_t *weights) {
  __asm__ volatile(BEVEL_SHARED_SUM_1X4 BEVEL_END_OUTPUTS_1X4 ::: "memory");
}

BEVEL_ASSEMBLY void bevel_sums_1x4(const int32_t *a, const int32_t *packed, int32_t *sums) {
  __asm__ volatile(BEVEL_SUM_1X4 BEVEL_END_SUMS_1X4 ::: "memory");
}

BEVEL_ASSEMBLY void bevel_shared_sums_1x4(const int32_t *a, const int32_t *scales, int32_t *sums,
                                          const int32_t *weights) {
  __asm__ volatile(BEVEL_SHARED_SUM_1X4 BEVEL_END_SUMS_1X4 ::: "memory");
}

/* Four elements of each of two pixels, in seven instructions: r2, r3 the pixels, r0 where they go, r1 how many fours.
 */
#define BEVEL_WIDEN_2            \
  "ldr r12, [r2], #4\n"          \
  "ldr lr, [r3], #4\n"           \
  "sxtb16 r4, r12\n"             \
  "sxtb16 r5, lr\n"              \
  "sxtb16 r6, r12, ror #8\n"     \
  "sxtb16 r7, lr, ror #8\n"      \
  "stm r0!, {r4-r7}\n"

BEVEL_ASSEMBLY void bevel_widen_fours_2(int32_t *a, int32_t fours, const int8_t *x0, const int8_t *x1) {
  __asm__ volatile("push {r4-r7, lr}\n"
                   "lsrs r1, r1, #1\n"
                   "bcc 2f\n" BEVEL_WIDEN_2
                   "cbz r1, 3f\n"
                   "2:\n" BEVEL_WIDEN_2 BEVEL_WIDEN_2
                   "subs r1, r1, #1\n"
                   "bne 2b\n"
                   "3:\n"
                   "pop {r4-r7, pc}\n" ::: "memory");
}

#pragma GCC diagnostic pop

/* Bytes 0 and 2, and bytes 1 and 3, as int16. */
static inline int32_t bevel_even_bytes(int32_t x) {
  int32_t result;
  __asm__("sxtb16 %0, %1" : "=r"(result) : "r"(x));
  return result;
}

static inline int32_t bevel_odd_bytes(int32_t x) {
  int32_t result;
  __asm__("sxtb16 %0, %1, ror #8" : "=r"(result) : "r"(x));
  return result;
}

#else

static inline int32_t bevel_even_bytes(int32_t x) {
  return (int32_t)((uint32_t)(uint16_t)(int8_t)x | (uint32_t)(int8_t)(x >> 16) << 16);
}

static inline int32_t bevel_odd_bytes(int32_t x) { return bevel_even_bytes(x >> 8); }

static inline void bevel_widen_fours_2(int32_t *a, int32_t fours, const int8_t *x0, const int8_t *x1) {
  for (int32_t i = 0; i < fours; i++) {
    int32_t word0, word1;
    __builtin_memcpy(&word0, x0 + 4 * i, 4);
    __builtin_memcpy(&word1, x1 + 4 * i, 4);
    a[4 * i] = bevel_even_bytes(word0);
    a[4 * i + 1] = bevel_even_bytes(word1);
    a[4 * i + 2] = bevel_odd_bytes(word0);
    a[4 * i + 3] = bevel_odd_bytes(word1);
  }
}

static inline int32_t bevel_tap(const int32_t *a, int32_t lanes, int32_t k) {
  const uint32_t pair = (uint32_t)a[k / 2 * lanes];
  return (int16_t)(k % 2 ? pair >> 16 : pair);
}

static inline void bevel_sums(const int32_t *a, int32_t lanes, const int32_t *head, const int32_t *weights,
                              int32_t *sums) {
  const int32_t taps = head[0] & 0xFFFF;
  for (int32_t pair = 0; pair < 2; pair++) {
    uint32_t low = (uint32_t)head[1 + 2 * pair], both = (uint32_t)head[2 + 2 * pair];
    for (int32_t k = 0; k < taps; k++) {
      const uint32_t word = (uint32_t)weights[k / 2 * 2 + pair];
      const int32_t halfword = (int16_t)(k % 2 ? word >> 16 : word);
      low += (uint32_t)(bevel_tap(a, lanes, k) * (int8_t)halfword);
      both += (uint32_t)(bevel_tap(a, lanes, k) * halfword);
    }
    sums[2 * pair] = (int32_t)low;
    sums[2 * pair + 1] = (int32_t)(both - low) >> 8;
  }
}

static inline void bevel_outputs(const int32_t *a, int32_t lanes, const int32_t *head, const int32_t *weights,
                                 const int32_t *scale, int8_t *y) {
  int32_t sums[4];
  bevel_sums(a, lanes, head, weights, sums);
  for (int32_t i = 0; i < 4; i++) {
    const int32_t shift = scale[4] >> 8 * i & 0xFF, sum = i % 2 ? sums[i] * 256 : sums[i];
    const int64_t upper = ((int64_t)sum * scale[i] >> 32) + (head[0] >> 16) * (INT64_C(1) << shift);
    const int32_t rounded = (int32_t)upper >> shift >> 1;
    y[i] = (int8_t)(rounded < -128 ? -128 : rounded > 127 ? 127 : rounded);
  }
}

static inline void bevel_shared_sums_1x4(const int32_t *a, const int32_t *scales, int32_t *sums,
                                         const int32_t *weights) {
  bevel_sums(a, 1, scales, weights, sums);
}

static inline void bevel_shared_sums_2x4(const int32_t *a, const int32_t *scales, int32_t *sums0, int32_t *sums1,
                                         const int32_t *weights) {
  bevel_sums(a + 1, 2, scales, weights, sums1);
  bevel_sums(a, 2, scales, weights, sums0);
}

static inline void bevel_shared_outputs_1x4(const int32_t *a, const int32_t *scales, int8_t *y,
                                            const int32_t *weights) {
  bevel_outputs(a, 1, scales, weights, scales + 5, y);
}

static inline void bevel_shared_outputs_2x4(const int32_t *a, const int32_t *scales, int8_t *y0, int8_t *y1,
                                            const int32_t *weights) {
  bevel_outputs(a + 1, 2, scales, weights, scales + 5, y1);
  bevel_outputs(a, 2, scales, weights, scales + 5, y0);
}

static inline void bevel_sums_1x4(const int32_t *a, const int32_t *packed, int32_t *sums) {
  bevel_sums(a, 1, packed, packed + 5, sums);
}

static inline void bevel_sums_2x4(const int32_t *a, const int32_t *packed, int32_t *sums0, int32_t *sums1) {
  bevel_sums(a + 1, 2, packed, packed + 5, sums1);
  bevel_sums(a, 2, packed, packed + 5, sums0);
}

static inline void bevel_outputs_1x4(const int32_t *a, const int32_t *packed, int8_t *y) {
  bevel_outputs(a, 1, packed, packed + 5, packed + 5 + (packed[0] & 0xFFFF), y);
}

static inline void bevel_outputs_2x4(const int32_t *a, const int32_t *packed, int8_t *y0, int8_t *y1) {
  const int32_t *const scale = packed + 5 + (packed[0] & 0xFFFF);
  bevel_outputs(a + 1, 2, packed, packed + 5, scale, y1);
  bevel_outputs(a, 2, packed, packed + 5, scale, y0);
}

#endif

static inline int32_t bevel_halves(int32_t low, int32_t high) {
  return (int32_t)((uint32_t)(uint16_t)low | (uint32_t)high << 16);
}

/* How many words a run of elements becomes: two for each four of them, and a pair of neighbours a word for the rest. */
static inline int32_t bevel_words(int32_t elements) { return elements / 4 * 2 + (elements % 4 + 1) / 2; }

static inline void bevel_fill(int32_t *a, int32_t lanes, int32_t words, int32_t value) {
  for (int32_t i = 0; i < words; i++) a[i * lanes] = bevel_halves(value, value);
}

/* A run of elements of one pixel, whose words lie `lanes` apart. */
static inline void bevel_widen_run(int32_t *a, int32_t lanes, const int8_t *x, int32_t elements) {
  const int32_t fours = elements / 4;
  for (int32_t i = 0; i < fours; i++, x += 4, a += 2 * lanes) {
    int32_t word;
    __builtin_memcpy(&word, x, 4);
    a[0] = bevel_even_bytes(word);
    a[lanes] = bevel_odd_bytes(word);
  }
  if (elements % 4 > 0) a[0] = bevel_halves(x[0], elements % 4 > 1 ? x[1] : 0);
  if (elements % 4 > 2) a[lanes] = bevel_halves(x[2], 0);
}

/* A row of one pixel. */
static inline void bevel_widen_1(int32_t *a, const int8_t *x, int32_t elements) {
  bevel_widen_run(a, 1, x, elements);
}

/* The same row of two pixels, words of pixel 0 before those of pixel 1. */
static inline void bevel_widen_2(int32_t *a, const int8_t *x0, const int8_t *x1, int32_t elements) {
  const int32_t fours = elements / 4;
  if (fours > 0) bevel_widen_fours_2(a, fours, x0, x1);
  if (elements % 4 > 0) {
    bevel_widen_run(a + 4 * fours, 2, x0 + 4 * fours, elements % 4);
    bevel_widen_run(a + 4 * fours + 1, 2, x1 + 4 * fours, elements % 4);
  }
}

static inline int32_t bevel_element(const int8_t *x, int32_t at, int32_t end, int32_t outside) {
  return at >= 0 && at < end ? x[at] : outside;
}

/* A row of one pixel at an edge of the image: elements first, first + 1, ... of a row x of `end` elements, with
 * `outside` for those that are not among them. */
__attribute__((noinline, unused)) static void bevel_widen_edge(int32_t *a, int32_t lanes, const int8_t *x,
                                                               int32_t first, int32_t end, int32_t elements,
                                                               int32_t outside) {
  const int32_t start = first < 0 ? -first : 0, stop = end - first < elements ? end - first : elements;
  if (start >= stop) {
    bevel_fill(a, lanes, bevel_words(elements), outside);
  } else if (start % 4 == 0 && (stop % 4 == 0 || stop == elements)) {
    bevel_fill(a, lanes, start / 2, outside);
    bevel_widen_run(a + start / 2 * lanes, lanes, x + first + start, stop - start);
    if (stop < elements) bevel_fill(a + stop / 2 * lanes, lanes, bevel_words(elements - stop), outside);
  } else {
    for (int32_t k = 0; k < elements; k += 4) {
      int32_t values[4];
      for (int32_t i = 0; i < 4; i++) values[i] = bevel_element(x, first + k + i, end, outside);
      const int32_t whole = elements - k >= 4; /* elements 0, 2 and 1, 3; in the last, broken four 0, 1 and 2 */
      a[k / 2 * lanes] = bevel_halves(values[0], values[whole ? 2 : 1]);
      if (elements - k > 2) a[(k / 2 + 1) * lanes] = bevel_halves(values[whole ? 1 : 2], values[3]);
    }
  }
}

/* The first of a block's outputs, where others of its channels do not exist. */
static inline void bevel_rest_1x4(const int32_t *a, const int32_t *packed, int8_t *y, int32_t count) {
  int8_t all[4];
  bevel_outputs_1x4(a, packed, all);
  for (int32_t i = 0; i < count; i++) y[i] = all[i];
}

static inline void bevel_rest_2x4(const int32_t *a, const int32_t *packed, int8_t *y0, int8_t *y1, int32_t count) {
  int8_t all[8];
  bevel_outputs_2x4(a, packed, all, all + 4);
  for (int32_t i = 0; i < count; i++) y0[i] = all[i], y1[i] = all[4 + i];
}

static inline void bevel_shared_rest_1x4(const int32_t *a, const int32_t *scales, int8_t *y, const int32_t *weights,
                                         int32_t count) {
  int8_t all[4];
  bevel_shared_outputs_1x4(a, scales, all, weights);
  for (int32_t i = 0; i < count; i++) y[i] = all[i];
}

static inline void bevel_shared_rest_2x4(const int32_t *a, const int32_t *scales, int8_t *y0, int8_t *y1,
                                         const int32_t *weights, int32_t count) {
  int8_t all[8];
  bevel_shared_outputs_2x4(a, scales, all, all + 4, weights);
  for (int32_t i = 0; i < count; i++) y0[i] = all[i], y1[i] = all[4 + i];
}

/* Outputs held between bounds tighter than int8's. */
static inline void bevel_clamp(int8_t *y, int32_t count, int32_t low, int32_t high) {
  for (int32_t i = 0; i < count; i++) y[i] = (int8_t)(y[i] < low ? low : y[i] > high ? high : y[i]);
}

#endif
