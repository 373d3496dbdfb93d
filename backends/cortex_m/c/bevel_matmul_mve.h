/* Products of two activations on Helium: two rows of a by four columns of b at a time.
 *
 * Codes are multiplied as they are, sixteen bytes or, where one factor is int16, eight halfwords an instruction. Columns
 * of bytes that become halfwords take their zero point with them, origin = zb, else origin = 0, and
 *
 *     sum((a - za) * (b - zb))  ==  sum(a * b') - za * (sum(b') - count * z) - z * sum(a),    b' = b - origin, z = zb - origin
 *
 * has a number for each column, which lies behind it, and one for each row unless z is 0. Sums wrap around: only what
 * they come to must fit a word. Columns lie in tiles of four, [tiles, blocks, 4, 16 bytes] with four words behind the
 * blocks of each; zeros fill the last block, so rows that lie side by side are read on to its end where they lie.
 */
#ifndef BEVEL_MATMUL_MVE_H
#define BEVEL_MATMUL_MVE_H

#include "bevel_gather_mve.h"

/* How a sum becomes a result: shifted left by `lift`, multiplied, the upper word shifted right by `right`, rounded. */
#define BEVEL_MATMUL_OUTPUT int32_t multiplier, int lift, int right, int zero_point, int low, int high, int bytes

/* Words of a tile. */
#define BEVEL_MATMUL_TILE(blocks) (16 * (blocks) + 4)

#if defined(__ARM_FEATURE_MVE) && (__ARM_FEATURE_MVE & 1)

/* The rounded shift of four upper words, with the zero point, held to int16 in one instruction where that shifts far
 * enough; else held to the bounds later. */
#define BEVEL_NARROWS(right) ((right) <= 15)

/* Four whole sums become `count` elements of 1 or 2 bytes. Where the shift narrows, twice the product is taken: of sums
 * shifted by one less, or to be shifted right by one more. */
BEVEL_INLINE void bevel_mve_matmul_store(void *y, int32x4_t sums, int count, BEVEL_MATMUL_OUTPUT) {
  const int least = bytes == 1 ? -128 : -32768, most = bytes == 1 ? 127 : 32767;
  const int32x4_t factors = vdupq_n_s32(multiplier);
  if (BEVEL_NARROWS(right)) {
    const int down = lift > 0 ? right : right + 1;
    if (lift > 1) sums = vshlq_r_s32(sums, lift - 1);
    sums = zero_point == 0 ? vqdmulhq_s32(sums, factors) : vqdmlashq_n_s32(sums, factors, zero_point * (1 << down));
    __asm__("vqrshrnb.s32 %q0, %q0, %1" : "+w"(sums) : "i"(BEVEL_NARROWS(right) ? down : 1));
    int16x8_t halves = vreinterpretq_s16_s32(sums);
    if (low > least) halves = vmaxq_s16(halves, vdupq_n_s16((int16_t)low));
    if (high < most) halves = vminq_s16(halves, vdupq_n_s16((int16_t)high));
    if (bytes == 1 && (low == least || high == most)) __asm__("vqmovnb.s16 %q0, %q0" : "+w"(halves));
    sums = vreinterpretq_s32_s16(halves);
  } else {
    if (lift > 0) sums = vshlq_r_s32(sums, lift);
    sums = vrshlq_n_s32(vmulhq_s32(sums, factors), -right);
    if (zero_point != 0) sums = vaddq_n_s32(sums, zero_point);
    sums = vminq_s32(vmaxq_s32(sums, vdupq_n_s32(low)), vdupq_n_s32(high));
  }
  if (bytes == 1) {
    bevel_mve_store((int8_t *)y, sums, count);
  } else if (count >= 4) {
    vstrhq_s32((int16_t *)y, sums);
  } else {
    vstrhq_p_s32((int16_t *)y, sums, vctp32q((uint32_t)count));
  }
}

/* Block `at` of two rows, which stay where they are, by four columns: as BEVEL_2X4. */
#define BEVEL_BLOCK(MAC, at)                                                                                     \
  "vldrb.8 %q[s], [%[x0], #" at "]\n\tvldrb.8 %q[u], [%[w]], #16\n\tvldrb.8 %q[t], [%[x1], #" at "]\n\t"         \
  MAC " r0, %q[s], %q[u]\n\tvldrb.8 %q[v], [%[w]], #16\n\t" MAC " r8, %q[t], %q[u]\n\t"                        \
  MAC " r2, %q[s], %q[v]\n\tvldrb.8 %q[u], [%[w]], #16\n\t" MAC " r10, %q[t], %q[v]\n\t"                       \
  MAC " r4, %q[s], %q[u]\n\tvldrb.8 %q[v], [%[w]], #16\n\t" MAC " r12, %q[t], %q[u]\n\t"                       \
  MAC " r6, %q[s], %q[v]\n\t" MAC " lr, %q[t], %q[v]\n\t"
#define BEVEL_BLOCKS_ASM(TEXT)                                                                                   \
  __asm__ volatile(TEXT BEVEL_SUMS                                                                              \
                   : [s] "=&w"(first), [t] "=&w"(second), [u] "=&w"(u), [v] "=&w"(v), [w] "+r"(w)                \
                   : [x0] "r"(x0), [x1] "r"(x1)                                                                  \
                   : "r0", "r2", "r4", "r6", "r8", "r10", "r12", "lr", "memory")
#define BEVEL_BLOCKS_2(MAC) BEVEL_BLOCK(MAC, "16")
#define BEVEL_BLOCKS_3(MAC) BEVEL_BLOCKS_2(MAC) BEVEL_BLOCK(MAC, "32")
#define BEVEL_BLOCKS_4(MAC) BEVEL_BLOCKS_3(MAC) BEVEL_BLOCK(MAC, "48")
#define BEVEL_BLOCKS_5(MAC) BEVEL_BLOCKS_4(MAC) BEVEL_BLOCK(MAC, "64")
#define BEVEL_BLOCKS_6(MAC) BEVEL_BLOCKS_5(MAC) BEVEL_BLOCK(MAC, "80")
#define BEVEL_BLOCKS_7(MAC) BEVEL_BLOCKS_6(MAC) BEVEL_BLOCK(MAC, "96")
#define BEVEL_BLOCKS_8(MAC) BEVEL_BLOCKS_7(MAC) BEVEL_BLOCK(MAC, "112")
/* Up to eight blocks without a loop, whose places fit the instructions. */
#define BEVEL_MATMUL_DOT(FIRST, NEXT)                                                                            \
  if (blocks == 1) BEVEL_BLOCKS_ASM(BEVEL_BLOCK(FIRST, "0"));                                                    \
  else if (blocks == 2) BEVEL_BLOCKS_ASM(BEVEL_BLOCK(FIRST, "0") BEVEL_BLOCKS_2(NEXT));                          \
  else if (blocks == 3) BEVEL_BLOCKS_ASM(BEVEL_BLOCK(FIRST, "0") BEVEL_BLOCKS_3(NEXT));                          \
  else if (blocks == 4) BEVEL_BLOCKS_ASM(BEVEL_BLOCK(FIRST, "0") BEVEL_BLOCKS_4(NEXT));                          \
  else if (blocks == 5) BEVEL_BLOCKS_ASM(BEVEL_BLOCK(FIRST, "0") BEVEL_BLOCKS_5(NEXT));                          \
  else if (blocks == 6) BEVEL_BLOCKS_ASM(BEVEL_BLOCK(FIRST, "0") BEVEL_BLOCKS_6(NEXT));                          \
  else if (blocks == 7) BEVEL_BLOCKS_ASM(BEVEL_BLOCK(FIRST, "0") BEVEL_BLOCKS_7(NEXT));                          \
  else if (blocks == 8) BEVEL_BLOCKS_ASM(BEVEL_BLOCK(FIRST, "0") BEVEL_BLOCKS_8(NEXT));                          \
  else BEVEL_DOT_OF(BEVEL_2X4(FIRST), BEVEL_2X4(NEXT), "", )

/* All columns of two rows at a0 and a1, from whose sums less0 and less1 are taken; nothing if `whole`. Results lie at y
 * and `apart` bytes on. */
BEVEL_INLINE void bevel_mve_matmul_products(int8_t *y, int apart, const int8_t *a0, const int8_t *a1, const int8_t *w,
                                            int32_t less0, int32_t less1, bool whole, int blocks, int columns,
                                            bool wide, BEVEL_MATMUL_OUTPUT) {
  const int32x4_t lost0 = vdupq_n_s32(less0), lost1 = vdupq_n_s32(less1); /* registers are scarcer than vectors */
  BEVEL_ROLLED
  for (int left = columns; left > 0; left -= 4, y += 4 * bytes) {
    const int8_t *x0 = a0, *x1 = a1;
    BEVEL_EIGHT_SUMS;
    if (wide) {
      BEVEL_MATMUL_DOT("vmladav.s16", "vmladava.s16");
    } else {
      BEVEL_MATMUL_DOT("vmladav.s8", "vmladava.s8");
    }
    __asm__("vldrb.8 %q0, [%1], #16" : "=w"(u), "+r"(w) : : "memory");
    first = vaddq_s32(first, u);
    second = vaddq_s32(second, u);
    if (!whole) first = vsubq_s32(first, lost0);
    if (!whole) second = vsubq_s32(second, lost1);
    const int count = columns % 4 == 0 ? 4 : left;
    bevel_mve_matmul_store(y, first, count, multiplier, lift, right, zero_point, low, high, bytes);
    bevel_mve_matmul_store(y + apart, second, count, multiplier, lift, right, zero_point, low, high, bytes);
  }
}

#else

BEVEL_INLINE void bevel_mve_matmul_store(void *y, uint32_t sum, BEVEL_MATMUL_OUTPUT) {
  const int64_t product = (int64_t)(int32_t)(sum << lift) * multiplier + ((int64_t)1 << (31 + right));
  const int64_t moved = (product >> (32 + right)) + zero_point;
  const int16_t result = (int16_t)(moved < low ? low : moved > high ? high : moved);
  if (bytes == 2) {
    __builtin_memcpy(y, &result, sizeof result);
  } else {
    *(int8_t *)y = (int8_t)result;
  }
}

BEVEL_INLINE int32_t bevel_mve_matmul_dot(const int8_t *x, const int8_t *w, int blocks, bool wide) {
  uint32_t sum = 0;
  for (int block = 0; block < blocks; ++block, x += 16, w += 64) {
    for (int i = 0; i < (wide ? 8 : 16); ++i) {
      int16_t first = x[i], second = w[i];
      if (wide) {
        __builtin_memcpy(&first, x + 2 * i, sizeof first);
        __builtin_memcpy(&second, w + 2 * i, sizeof second);
      }
      sum += (uint32_t)(first * second);
    }
  }
  return (int32_t)sum;
}

BEVEL_INLINE void bevel_mve_matmul_products(int8_t *y, int apart, const int8_t *a0, const int8_t *a1, const int8_t *w,
                                            int32_t less0, int32_t less1, bool whole, int blocks, int columns,
                                            bool wide, BEVEL_MATMUL_OUTPUT) {
  for (int i = 0; i < 2 * columns; ++i) {
    const int c = i / 2, upper = i % 2;
    const int8_t *const tile = w + c / 4 * 4 * BEVEL_MATMUL_TILE(blocks);
    int32_t own;
    __builtin_memcpy(&own, tile + 64 * blocks + c % 4 * 4, sizeof own);
    const uint32_t sum = (uint32_t)bevel_mve_matmul_dot(upper ? a1 : a0, tile + c % 4 * 16, blocks, wide);
    const uint32_t all = sum + (uint32_t)own + (whole ? 0u : 0u - (uint32_t)(upper ? less1 : less0));
    bevel_mve_matmul_store(y + upper * apart + c * bytes, all, multiplier, lift, right, zero_point, low, high, bytes);
  }
}

#endif

/* All columns of b, `next` elements apart, in tiles of four, and what each adds to its sums. `zeros`: count * za * z. */
#define BEVEL_MATMUL_COLUMNS(name, type, ...)                                                                         \
  BEVEL_INLINE void name(int32_t *packed, const type *b, int step, int next, int columns, int count, int blocks,     \
                         bool wide, int origin, int a_zero_point, int32_t zeros) {                                   \
    BEVEL_ROLLED                                                                                                      \
    for (int c = 0; c < columns; ++c, b += next) {                                                                    \
      int32_t *const tile = packed + c / 4 * BEVEL_MATMUL_TILE(blocks);                                               \
      const int32_t total = __VA_ARGS__;                                                                              \
      tile[16 * blocks + c % 4] = (int32_t)((uint32_t)zeros - (uint32_t)a_zero_point * (uint32_t)total);              \
    }                                                                                                                 \
    (void)wide;                                                                                                       \
    (void)origin;                                                                                                     \
  }

BEVEL_MATMUL_COLUMNS(bevel_mve_matmul_columns_int8, int8_t,
                     bevel_mve_gather_int8((int8_t *)(tile + c % 4 * 4), 4, b, step, count, blocks, wide, origin))
BEVEL_MATMUL_COLUMNS(bevel_mve_matmul_columns_int16, int16_t,
                     bevel_mve_gather_int16((int8_t *)(tile + c % 4 * 4), 4, b, step, count, blocks))

/* Two rows of a, and all columns of their results, side by side, at y and `apart` elements on. Rows are read where they
 * lie if they lie side by side and `room` elements are theirs, from the first of the later one on, to the end of the
 * last block; else a copy in `rows`. zero_left: z. */
#define BEVEL_MATMUL(name, type, wide, gather)                                                                        \
  BEVEL_INLINE void name(void *y, int apart, const type *a0, const type *a1, int step, int count, int room,          \
                         int32_t *rows, const int32_t *w, int blocks, int columns, int zero_left,                    \
                         BEVEL_MATMUL_OUTPUT) {                                                                       \
    const int8_t *x0 = (const int8_t *)a0, *x1 = (const int8_t *)a1;                                                  \
    int32_t less0 = 0, less1 = 0;                                                                                     \
    if (step == 1 && room >= ((wide) ? 8 : 16) * blocks) {                                                            \
      if (zero_left != 0) {                                                                                           \
        less0 = bevel_mve_times_sum(a0, count, wide, zero_left);                                                      \
        less1 = bevel_mve_times_sum(a1, count, wide, zero_left);                                                      \
      }                                                                                                               \
    } else {                                                                                                          \
      less0 = bevel_mve_times(gather((int8_t *)rows, a0), zero_left);                                                 \
      less1 = bevel_mve_times(gather((int8_t *)(rows + 4 * blocks), a1), zero_left);                                  \
      x0 = (const int8_t *)rows, x1 = (const int8_t *)(rows + 4 * blocks);                                            \
    }                                                                                                                 \
    bevel_mve_matmul_products((int8_t *)y, apart * bytes, x0, x1, (const int8_t *)w, less0, less1, zero_left == 0,    \
                              blocks, columns, wide, multiplier, lift, right, zero_point, low, high, bytes);          \
  }

#define BEVEL_ROW_INT8(to, a) bevel_mve_gather_int8(to, 1, a, step, count, blocks, false, 0)
#define BEVEL_ROW_INT16(to, a) bevel_mve_gather_int16(to, 1, a, step, count, blocks)
BEVEL_MATMUL(bevel_mve_matmul_int8, int8_t, false, BEVEL_ROW_INT8)
#define BEVEL_ROW_WIDENED(to, a) bevel_mve_gather_int8(to, 1, a, step, count, blocks, true, 0)
BEVEL_MATMUL(bevel_mve_matmul_int16, int16_t, true, BEVEL_ROW_INT16)
/* Rows of bytes by columns of halfwords: there is no room where they lie. */
BEVEL_MATMUL(bevel_mve_matmul_widened, int8_t, true, BEVEL_ROW_WIDENED)

#endif
