/* Products of one pixel with weights of two, three or four bits: eight, five or four output channels in each halfword.
 *
 * Channel j's codes lie `bits` * j above the first channel's. SMLAD with the halfword up to channel j sums
 *
 *       c[j] = sum of a * (u[0] + ... + u[j] << bits * j),   so that   c[j] - c[j-1] = (sum of a * u[j]) << bits * j
 *
 * exactly, in 32 bits that wrap around, as long as that last number fits them. One mask makes one halfword out of the
 * next, for two taps at once. Codes are weights moved up to begin at zero, which the sums' starts make up for; the last
 * channel's are the weights themselves, as its sign is the halfword's. `backends/encodings/positional.py` packs blocks of one word
 * a channel, where its c starts, and then one word for each two taps.
 */
#ifndef BEVEL_POSITIONAL_H
#define BEVEL_POSITIONAL_H

#include "bevel_dsp.h"
#include "bevel_tiles.h"

#if defined(__ARM_FEATURE_DSP) && __ARM_FEATURE_DSP

/* One word of weights, which is lost, and one of activations: channels from the last to the first. */
#define BEVEL_SMLAD(sum, w, a) "smlad " sum ", " w ", " a ", " sum "\n"
#define BEVEL_CLEAR(w, mask) "bic " w ", " w ", #" mask "\n"
#define BEVEL_KEEP(w, mask) "and " w ", " w ", #" mask "\n"
#define BEVEL_BYTES(w) "uxtb16 " w ", " w "\n"
#define BEVEL_WORD_4(w, a)                                                                   \
  BEVEL_SMLAD("r7", w, a) BEVEL_CLEAR(w, "0xF000F000") BEVEL_SMLAD("r6", w, a) BEVEL_BYTES(w) \
  BEVEL_SMLAD("r5", w, a) BEVEL_KEEP(w, "0x000F000F") BEVEL_SMLAD("r4", w, a)
#define BEVEL_WORD_3(w, a)                                                                                     \
  BEVEL_SMLAD("r8", w, a) BEVEL_CLEAR(w, "0xF000F000") BEVEL_SMLAD("r7", w, a) BEVEL_CLEAR(w, "0xFE00FE00")     \
  BEVEL_SMLAD("r6", w, a) BEVEL_KEEP(w, "0x003F003F") BEVEL_SMLAD("r5", w, a) BEVEL_KEEP(w, "0x00070007")       \
  BEVEL_SMLAD("r4", w, a)
#define BEVEL_WORD_2(w, a)                                                                                     \
  BEVEL_SMLAD("r11", w, a) BEVEL_CLEAR(w, "0xC000C000") BEVEL_SMLAD("r10", w, a) BEVEL_CLEAR(w, "0xF000F000")   \
  BEVEL_SMLAD("r9", w, a) BEVEL_CLEAR(w, "0xFC00FC00") BEVEL_SMLAD("r8", w, a) BEVEL_BYTES(w)                   \
  BEVEL_SMLAD("r7", w, a) BEVEL_KEEP(w, "0x003F003F") BEVEL_SMLAD("r6", w, a) BEVEL_KEEP(w, "0x000F000F")       \
  BEVEL_SMLAD("r5", w, a) BEVEL_KEEP(w, "0x00030003") BEVEL_SMLAD("r4", w, a)

/* Eight taps. r0: activations; r1: weights; r3: where the activations end. */
#define BEVEL_EIGHT_4                                                                                    \
  "ldm r0!, {r8-r11}\n"                                                                                  \
  "ldrd r12, lr, [r1], #8\n" BEVEL_WORD_4("r12", "r8") BEVEL_WORD_4("lr", "r9")                            \
  "ldrd r12, lr, [r1], #8\n" BEVEL_WORD_4("r12", "r10") BEVEL_WORD_4("lr", "r11")
#define BEVEL_EIGHT_3                                                                                    \
  "ldm r0!, {r9-r12}\n"                                                                                  \
  "ldrd r2, lr, [r1], #8\n" BEVEL_WORD_3("r2", "r9") BEVEL_WORD_3("lr", "r10")                             \
  "ldrd r2, lr, [r1], #8\n" BEVEL_WORD_3("r2", "r11") BEVEL_WORD_3("lr", "r12")
#define BEVEL_FOUR_2                                                                                     \
  "ldrd r2, r12, [r0], #8\n"                                                                             \
  "ldr lr, [r1], #4\n" BEVEL_WORD_2("lr", "r2")                                                            \
  "ldr lr, [r1], #4\n" BEVEL_WORD_2("lr", "r12")
#define BEVEL_EIGHT_2 BEVEL_FOUR_2 BEVEL_FOUR_2

/* Adds to all sums of a block. The first round is half of one where the eights of taps are an odd number. */
#define BEVEL_MULTIPLY(bits, sums)                                                                       \
  BEVEL_ASSEMBLY void bevel_multiply_##bits(const int32_t *a, const int32_t *packed, int32_t *c,         \
                                            const int32_t *end) {                                        \
    __asm__ volatile(                                                                                    \
        "push {r2, r4-r11, lr}\n"                                                                        \
        "ldm r2, {" sums "}\n"                                                                           \
        "sub r12, r3, r0\n"                                                                              \
        "tst r12, #16\n"                                                                                 \
        "bne 2f\n"                                                                                       \
        "1:\n" BEVEL_EIGHT_##bits "2:\n" BEVEL_EIGHT_##bits                                              \
        "cmp r0, r3\n"                                                                                   \
        "bne 1b\n"                                                                                       \
        "pop {r2}\n"                                                                                     \
        "stm r2, {" sums "}\n"                                                                           \
        "pop {r4-r11, pc}\n" ::: "memory");                                                              \
  }

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-parameter"
BEVEL_MULTIPLY(4, "r4-r7")
BEVEL_MULTIPLY(3, "r4-r8")
BEVEL_MULTIPLY(2, "r4-r11")
#pragma GCC diagnostic pop

#else

static inline void bevel_multiply(int32_t bits, int32_t channels, const int32_t *a, const int32_t *packed, int32_t *c,
                                  const int32_t *end) {
  for (; a != end; a++, packed++) {
    for (int32_t j = 0; j < channels; j++) {
      const uint32_t kept = j == channels - 1 ? 0xFFFFu : (1u << bits * (j + 1)) - 1u;
      c[j] = bevel_smlad(*a, (int32_t)((uint32_t)*packed & (kept * 0x10001u)), c[j]);
    }
  }
}

static inline void bevel_multiply_4(const int32_t *a, const int32_t *packed, int32_t *c, const int32_t *end) {
  bevel_multiply(4, 4, a, packed, c, end);
}

static inline void bevel_multiply_3(const int32_t *a, const int32_t *packed, int32_t *c, const int32_t *end) {
  bevel_multiply(3, 5, a, packed, c, end);
}

static inline void bevel_multiply_2(const int32_t *a, const int32_t *packed, int32_t *c, const int32_t *end) {
  bevel_multiply(2, 8, a, packed, c, end);
}

#endif

/* The sum of all activations of `words` words. */
__attribute__((noinline, unused)) static void bevel_sum_pairs(const int32_t *a, int32_t words, int32_t *sum) {
  int32_t total = 0;
  for (int32_t i = 0; i < words; i++) total = bevel_smlad(a[i], 0x10001, total);
  *sum = total;
}

/* One block: sums of a * w for each of its channels, biases included. The sum of all activations lies before them.
 * bevel_shared_*: for blocks whose weights layers share, and whose starts lie elsewhere. */
#define BEVEL_POSITIONAL_SUMS(bits, channels, starts, weights)                                                 \
    const uint32_t moved = 0u - ((uint32_t)sums[-1] << ((bits) - 1));                                          \
    uint32_t start = 0;                                                                                        \
    for (int32_t j = 0; j < (channels); j++) {                                                                 \
      if (j < (channels) - 1) start += moved << (bits) * j;                                                    \
      sums[j] = (int32_t)((uint32_t)(starts)[j] + start);                                                      \
    }                                                                                                          \
    bevel_multiply_##bits(a, weights, sums, a + words);                                                        \
    for (int32_t j = (channels) - 1; j > 0; j--)                                                               \
      sums[j] = (int32_t)((uint32_t)sums[j] - (uint32_t)sums[j - 1]) >> (bits) * j;
#define BEVEL_POSITIONAL(bits, channels)                                                                       \
  __attribute__((noinline, unused)) static void bevel_positional_##bits(const int32_t *a, int32_t words,       \
                                                                        const int32_t *packed, int32_t *sums) { \
    BEVEL_POSITIONAL_SUMS(bits, channels, packed, packed + (channels))                                         \
  }                                                                                                            \
  __attribute__((noinline, unused)) static void bevel_shared_positional_##bits(                                \
      const int32_t *a, int32_t words, const int32_t *weights, int32_t *sums, const int32_t *starts) {         \
    BEVEL_POSITIONAL_SUMS(bits, channels, starts, weights)                                                     \
  }

BEVEL_POSITIONAL(4, 4)
BEVEL_POSITIONAL(3, 5)
BEVEL_POSITIONAL(2, 8)

#endif
