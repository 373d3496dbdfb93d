/* Weights of one to seven bits, decoded into words of four int8 weights, or into the blocks of bevel_tiles.h.
 *
 * How codes lie in `bits` words a unit of eight words of four: backends/encodings/subbyte.py. A word of a block is two halfwords,
 * each 256 times a weight plus another. So `least` is added to halfwords: the borrow of a negative lower weight is what
 * the block wants in the upper one. With a stride of 1 and a least of 0 the words are those of the codes themselves.
 */
#ifndef BEVEL_SUBBYTE_H
#define BEVEL_SUBBYTE_H

#include "bevel_dsp.h"
#include "bevel_tiles.h"

static inline uint32_t bevel_add_halves(uint32_t x, uint32_t y) {
#if defined(__ARM_FEATURE_DSP) && __ARM_FEATURE_DSP
  uint32_t result;
  __asm__("sadd16 %0, %1, %2" : "=r"(result) : "r"(x), "r"(y));
  return result;
#else
  return ((x & 0xFFFF0000u) + (y & 0xFFFF0000u)) | ((x + y) & 0xFFFFu);
#endif
}

/* The ends of a block, around its weights. */
static inline void bevel_copy_5(int32_t *restrict to, const int32_t *restrict from) {
  for (int32_t i = 0; i < 5; i++) to[i] = from[i];
}

/* Words of codes become words of a block, each code by its weight. */
__attribute__((noinline, unused)) static void bevel_look_up(int32_t *words, int32_t count, const int8_t *table) {
  for (int32_t i = 0; i < count; i++) {
    const uint32_t codes = (uint32_t)words[i];
    const int32_t lower = table[codes & 0xFF] + 256 * table[codes >> 8 & 0xFF];
    const int32_t upper = table[codes >> 16 & 0xFF] + 256 * table[codes >> 24];
    words[i] = bevel_halves(lower, upper);
  }
}

/* All pairs of 16 weights as halfwords of a block. */
__attribute__((noinline, unused)) static void bevel_pairs(const int8_t *table, int16_t *pairs) {
  for (int32_t i = 0; i < 256; i++) pairs[i] = (int16_t)(table[i & 15] + 256 * table[i >> 4]);
}

/* Two words of a block out of four bytes. */
#define BEVEL_DECODE_PAIRS                                               \
  const uint32_t four = (uint32_t)*stored++;                             \
  out[0] = bevel_halves(halves[four & 0xFF], halves[four >> 8 & 0xFF]);  \
  out[1] = bevel_halves(halves[four >> 16 & 0xFF], halves[four >> 24]);

/* `count` blocks out of bytes that are a halfword's two codes each. */
__attribute__((noinline, unused)) static void bevel_paired_blocks(const int32_t *restrict stored, int32_t *restrict out,
                                                                  int32_t count, const int16_t *restrict pairs) {
  const uint16_t *const halves = (const uint16_t *)pairs;
  for (int32_t block = 0; block < count; block++) {
    const int32_t *const end = out + 5 + (stored[0] & 0xFFFF);
    bevel_copy_5(out, stored);
    for (out += 5, stored += 5; out != end; out += 2) {
      BEVEL_DECODE_PAIRS
    }
    bevel_copy_5(out, stored);
    out += 5, stored += 5;
  }
}

/* The same, where layers share codes: the ends of blocks are in `scales`. */
__attribute__((noinline, unused)) static void bevel_shared_paired_blocks(
    const int32_t *restrict stored, int32_t *restrict out, int32_t count, const int16_t *restrict pairs,
    const int32_t *restrict scales) {
  const uint16_t *const halves = (const uint16_t *)pairs;
  for (int32_t block = 0; block < count; block++, scales += 10) {
    const int32_t *const end = out + 5 + (scales[0] & 0xFFFF);
    bevel_copy_5(out, scales);
    for (out += 5; out != end; out += 2) {
      BEVEL_DECODE_PAIRS
    }
    bevel_copy_5(out, scales + 5);
    out += 5;
  }
}

/* Word `j` of the unit that begins at `stored`: a shift and a mask for each plane. */
#define BEVEL_PLANE(word, shift, mask) ((uint32_t)stored[word] >> (shift) & (mask))
#define BEVEL_CODES(bits, j)                                                                      \
  (((bits) & 4 ? BEVEL_PLANE((j) / 2, 4 * ((j) % 2), 0x0F0F0F0Fu) : 0u) |                         \
   ((bits) & 2 ? BEVEL_PLANE(((bits) & 4) + (j) / 4, 2 * ((j) % 4), 0x03030303u) << ((bits) & 4) : 0u) | \
   ((bits) & 1 ? BEVEL_PLANE((bits) - 1, j, 0x01010101u) << ((bits) & 6) : 0u))
#define BEVEL_DECODE(bits, j) out[j] = (int32_t)bevel_add_halves(BEVEL_CODES(bits, j) * (uint32_t)stride, start);

/* bevel_codes_<bits> makes `words` words, a multiple of eight, and returns where it stopped reading. The others make
 * `count` blocks, one after the other. */
#define BEVEL_SUBBYTE(bits)                                                                                    \
  __attribute__((noinline, unused)) static const int32_t *bevel_codes_##bits(                                 \
      const int32_t *restrict stored, int32_t *restrict out, int32_t words, int32_t stride, int32_t least) {  \
    const uint32_t start = (uint32_t)(257 * least & 0xFFFF) * 0x10001u;                                       \
    for (int32_t i = 0; i < words; i += 8, out += 8, stored += (bits)) {                                      \
      BEVEL_DECODE(bits, 0) BEVEL_DECODE(bits, 1) BEVEL_DECODE(bits, 2) BEVEL_DECODE(bits, 3)                 \
      BEVEL_DECODE(bits, 4) BEVEL_DECODE(bits, 5) BEVEL_DECODE(bits, 6) BEVEL_DECODE(bits, 7)                 \
    }                                                                                                         \
    return stored;                                                                                            \
  }                                                                                                           \
  __attribute__((noinline, unused)) static void bevel_blocks_##bits(                                          \
      const int32_t *restrict stored, int32_t *restrict out, int32_t count, int32_t stride, int32_t least) {  \
    for (int32_t block = 0; block < count; block++) {                                                         \
      const int32_t words = stored[0] & 0xFFFF;                                                               \
      bevel_copy_5(out, stored);                                                                              \
      stored = bevel_codes_##bits(stored + 5, out + 5, words, stride, least);                                 \
      bevel_copy_5(out + 5 + words, stored);                                                                  \
      out += 10 + words, stored += 5;                                                                         \
    }                                                                                                         \
  }                                                                                                           \
  __attribute__((noinline, unused)) static void bevel_tabled_blocks_##bits(                                   \
      const int32_t *restrict stored, int32_t *restrict out, int32_t count, const int8_t *restrict table) {   \
    bevel_blocks_##bits(stored, out, count, 1, 0);                                                            \
    for (int32_t block = 0; block < count; block++) {                                                         \
      const int32_t words = out[0] & 0xFFFF;                                                                  \
      bevel_look_up(out + 5, words, table);                                                                   \
      out += 10 + words;                                                                                      \
    }                                                                                                         \
  }                                                                                                           \
  __attribute__((noinline, unused)) static void bevel_shared_blocks_##bits(                                   \
      const int32_t *restrict stored, int32_t *restrict out, int32_t count, int32_t stride, int32_t least,    \
      const int32_t *restrict scales) {                                                                       \
    for (int32_t block = 0; block < count; block++, scales += 10) {                                           \
      const int32_t words = scales[0] & 0xFFFF;                                                               \
      bevel_copy_5(out, scales);                                                                              \
      stored = bevel_codes_##bits(stored, out + 5, words, stride, least);                                     \
      bevel_copy_5(out + 5 + words, scales + 5);                                                              \
      out += 10 + words;                                                                                      \
    }                                                                                                         \
  }                                                                                                           \
  __attribute__((noinline, unused)) static void bevel_shared_tabled_blocks_##bits(                            \
      const int32_t *restrict stored, int32_t *restrict out, int32_t count, const int8_t *restrict table,     \
      const int32_t *restrict scales) {                                                                       \
    bevel_shared_blocks_##bits(stored, out, count, 1, 0, scales);                                             \
    for (int32_t block = 0; block < count; block++) {                                                         \
      const int32_t words = out[0] & 0xFFFF;                                                                  \
      bevel_look_up(out + 5, words, table);                                                                   \
      out += 10 + words;                                                                                      \
    }                                                                                                         \
  }

BEVEL_SUBBYTE(1)
BEVEL_SUBBYTE(2)
BEVEL_SUBBYTE(3)
BEVEL_SUBBYTE(4)
BEVEL_SUBBYTE(5)
BEVEL_SUBBYTE(6)
BEVEL_SUBBYTE(7)

#endif
