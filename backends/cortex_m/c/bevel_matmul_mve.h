/* Products of two activations on Helium: two rows of a by four columns of b at a time.
 *
 * Codes are multiplied as they are, sixteen bytes or, where one factor is int16, eight halfwords an instruction, and
 *
 *     sum((a - za) * (b - zb))  ==  sum(a * b) + (count * za * zb - za * sum(b)) - zb * sum(a)
 *
 * has a number for each column and one for each row, which are added behind. Sums wrap around: only what they come to
 * must fit a word. Columns lie in tiles of four, [tiles, blocks, 4, 16 bytes], rows one after the other, [2, blocks, 16
 * bytes]; zeros fill the last block.
 */
#ifndef BEVEL_MATMUL_MVE_H
#define BEVEL_MATMUL_MVE_H

#include "bevel_mve.h"

/* How a sum becomes a result: shifted left by `lift`, multiplied, the upper word shifted right by `right`, rounded. */
#define BEVEL_MATMUL_OUTPUT int32_t multiplier, int lift, int right, int zero_point, int low, int high, int bytes

#if defined(__ARM_FEATURE_MVE) && (__ARM_FEATURE_MVE & 1)

/* The elements b[0], b[step], ... in every `spacing`th block of 16 bytes, as halfwords or as bytes; their sum. */
BEVEL_INLINE int32_t bevel_mve_gather_int8(int8_t *to, int spacing, const int8_t *b, int step, int count, int blocks,
                                           bool wide) {
  int32_t total = 0;
  if (!wide && step == 1) {
    BEVEL_ROLLED
    for (; blocks > 0; --blocks, to += 16 * spacing, count -= 16, b += 16) {
      const int8x16_t found = vldrbq_z_s8(b, vctp8q((uint32_t)count));
      total = vaddvaq_s8(total, found);
      vstrbq_s8(to, found);
    }
    return total;
  }
  const uint16x8_t offsets = vmulq_n_u16(vidupq_n_u16(0, 1), (uint16_t)step);
  BEVEL_ROLLED
  for (; blocks > 0; --blocks, to += 16 * spacing) {
    for (int half = 0; half < (wide ? 1 : 2); ++half, count -= 8, b += 8 * step) {
      const mve_pred16_t some = vctp16q((uint32_t)(count > 0 ? count : 0));
      const int16x8_t found = vldrbq_gather_offset_z_s16(b, offsets, some);
      total = vaddvaq_s16(total, found);
      if (wide) {
        vstrhq_s16((int16_t *)(void *)to, found);
      } else {
        vstrbq_s16(to + 8 * half, found);
      }
    }
  }
  return total;
}

BEVEL_INLINE int32_t bevel_mve_gather_int16(int8_t *to, int spacing, const int16_t *a, int step, int count,
                                            int blocks) {
  const uint16x8_t offsets = vmulq_n_u16(vidupq_n_u16(0, 1), (uint16_t)step);
  int32_t total = 0;
  BEVEL_ROLLED
  for (; blocks > 0; --blocks, to += 16 * spacing, count -= 8, a += 8 * step) {
    const mve_pred16_t some = vctp16q((uint32_t)count);
    const int16x8_t found =
        step == 1 ? vldrhq_z_s16(a, some) : vldrhq_gather_shifted_offset_z_s16(a, offsets, some);
    total = vaddvaq_s16(total, found);
    vstrhq_s16((int16_t *)(void *)to, found);
  }
  return total;
}

/* Four sums of a row become `count` elements of 1 or 2 bytes. */
BEVEL_INLINE void bevel_mve_matmul_put(void *y, int32x4_t sums, const int32_t *column, int32_t row, int count,
                                       BEVEL_MATMUL_OUTPUT) {
  sums = vaddq_n_s32(vaddq_s32(sums, vldrwq_s32(column)), row);
  if (lift > 0) sums = vshlq_r_s32(sums, lift);
  sums = vrshlq_n_s32(vmulhq_s32(sums, vdupq_n_s32(multiplier)), -right);
  if (zero_point != 0) sums = vaddq_n_s32(sums, zero_point);
  sums = vminq_s32(vmaxq_s32(sums, vdupq_n_s32(low)), vdupq_n_s32(high));
  if (bytes == 1) {
    bevel_mve_store((int8_t *)y, sums, count);
  } else if (count >= 4) {
    vstrhq_s32((int16_t *)y, sums);
  } else {
    vstrhq_p_s32((int16_t *)y, sums, vctp32q((uint32_t)count));
  }
}

/* `count` of four columns of two rows. Returns where the next four columns are. */
BEVEL_INLINE const int8_t *bevel_mve_matmul_tile(int8_t *y0, int8_t *y1, const int8_t *rows, const int8_t *w,
                                                 const int32_t *column, int32_t row0, int32_t row1, int blocks,
                                                 int count, bool wide, BEVEL_MATMUL_OUTPUT) {
  const int8_t *x0 = rows, *x1 = rows + 16 * blocks;
  BEVEL_EIGHT_SUMS;
  if (wide) {
    BEVEL_DOT_OF(BEVEL_2X4("vmladav.s16"), BEVEL_2X4("vmladava.s16"), "", );
  } else {
    BEVEL_DOT(BEVEL_2X4, "", );
  }
  bevel_mve_matmul_put(y1, second, column, row1, count, multiplier, lift, right, zero_point, low, high, bytes);
  bevel_mve_matmul_put(y0, first, column, row0, count, multiplier, lift, right, zero_point, low, high, bytes);
  return w;
}

/* All columns of two rows. */
BEVEL_INLINE void bevel_mve_matmul_products(int8_t *y0, int8_t *y1, const int8_t *rows, const int8_t *w,
                                            const int32_t *column, int32_t row0, int32_t row1, int blocks, int columns,
                                            bool wide, BEVEL_MATMUL_OUTPUT) {
  BEVEL_ROLLED
  for (int tile = columns / 4; tile > 0; --tile, column += 4, y0 += 4 * bytes, y1 += 4 * bytes) {
    w = bevel_mve_matmul_tile(y0, y1, rows, w, column, row0, row1, blocks, 4, wide, multiplier, lift, right, zero_point,
                              low, high, bytes);
  }
  if (columns % 4 == 0) return;
  bevel_mve_matmul_tile(y0, y1, rows, w, column, row0, row1, blocks, columns % 4, wide, multiplier, lift, right,
                        zero_point, low, high, bytes);
}

#else

BEVEL_INLINE void bevel_mve_place(int8_t *to, int spacing, int index, int32_t value, bool wide) {
  const int bytes = index * (wide ? 2 : 1);
  int8_t *const at = to + bytes / 16 * 16 * spacing + bytes % 16;
  const int16_t half = (int16_t)value;
  if (wide) {
    __builtin_memcpy(at, &half, sizeof half);
  } else {
    *at = (int8_t)value;
  }
}

BEVEL_INLINE int32_t bevel_mve_gather_int8(int8_t *to, int spacing, const int8_t *b, int step, int count, int blocks,
                                           bool wide) {
  int32_t total = 0;
  for (int i = 0; i < blocks * (wide ? 8 : 16); ++i) {
    const int32_t found = i < count ? b[i * step] : 0;
    total += found;
    bevel_mve_place(to, spacing, i, found, wide);
  }
  return total;
}

BEVEL_INLINE int32_t bevel_mve_gather_int16(int8_t *to, int spacing, const int16_t *a, int step, int count,
                                            int blocks) {
  int32_t total = 0;
  for (int i = 0; i < blocks * 8; ++i) {
    const int32_t found = i < count ? a[i * step] : 0;
    total += found;
    bevel_mve_place(to, spacing, i, found, true);
  }
  return total;
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

BEVEL_INLINE void bevel_mve_matmul_products(int8_t *y0, int8_t *y1, const int8_t *rows, const int8_t *w,
                                            const int32_t *column, int32_t row0, int32_t row1, int blocks, int columns,
                                            bool wide, BEVEL_MATMUL_OUTPUT) {
  for (int i = 0; i < 2 * columns; ++i) {
    const int c = i / 2, upper = i % 2;
    const int8_t *const own = w + c / 4 * blocks * 64 + c % 4 * 16;
    const uint32_t sum = (uint32_t)bevel_mve_matmul_dot(rows + upper * 16 * blocks, own, blocks, wide);
    const int32_t whole = (int32_t)((sum + (uint32_t)column[c] + (uint32_t)(upper ? row1 : row0)) << lift);
    const int64_t product = (int64_t)whole * multiplier + ((int64_t)1 << (31 + right));
    const int64_t moved = (product >> (32 + right)) + zero_point;
    const int16_t result = (int16_t)(moved < low ? low : moved > high ? high : moved);
    int8_t *const y = (upper ? y1 : y0) + c * bytes;
    if (bytes == 2) {
      __builtin_memcpy(y, &result, sizeof result);
    } else {
      *y = (int8_t)result;
    }
  }
}

#endif

/* All columns of b, `next` elements apart, in tiles of four, and what each adds to its sums. `zeros`: count * za * zb. */
BEVEL_INLINE void bevel_mve_matmul_columns_int8(int32_t *packed, int32_t *column, const int8_t *b, int step, int next,
                                                int columns, int count, int blocks, bool wide, int a_zero_point,
                                                int32_t zeros) {
  BEVEL_ROLLED
  for (int c = 0; c < columns; ++c, b += next) {
    int8_t *const to = (int8_t *)packed + c / 4 * blocks * 64 + c % 4 * 16;
    const int32_t total = bevel_mve_gather_int8(to, 4, b, step, count, blocks, wide);
    column[c] = (int32_t)((uint32_t)zeros - (uint32_t)a_zero_point * (uint32_t)total);
  }
}

BEVEL_INLINE void bevel_mve_matmul_columns_int16(int32_t *packed, int32_t *column, const int16_t *b, int step, int next,
                                                 int columns, int count, int blocks, int a_zero_point, int32_t zeros) {
  BEVEL_ROLLED
  for (int c = 0; c < columns; ++c, b += next) {
    int8_t *const to = (int8_t *)packed + c / 4 * blocks * 64 + c % 4 * 16;
    const int32_t total = bevel_mve_gather_int16(to, 4, b, step, count, blocks);
    column[c] = (int32_t)((uint32_t)zeros - (uint32_t)a_zero_point * (uint32_t)total);
  }
}

/* What a row of `total` adds to its sums. */
BEVEL_INLINE int32_t bevel_mve_matmul_row(int32_t total, int b_zero_point) {
  return (int32_t)(0u - (uint32_t)b_zero_point * (uint32_t)total);
}

/* Two rows of a, and all columns of their results, side by side. */
BEVEL_INLINE void bevel_mve_matmul_int8(void *y0, void *y1, const int8_t *a0, const int8_t *a1, int step, int count,
                                        int32_t *rows, const int32_t *w, const int32_t *column, int blocks, int columns,
                                        int b_zero_point, BEVEL_MATMUL_OUTPUT) {
  const int32_t first = bevel_mve_gather_int8((int8_t *)rows, 1, a0, step, count, blocks, false);
  const int32_t second = bevel_mve_gather_int8((int8_t *)rows + 16 * blocks, 1, a1, step, count, blocks, false);
  bevel_mve_matmul_products((int8_t *)y0, (int8_t *)y1, (const int8_t *)rows, (const int8_t *)w, column, bevel_mve_matmul_row(first, b_zero_point),
                            bevel_mve_matmul_row(second, b_zero_point), blocks, columns, false, multiplier, lift, right, zero_point, low, high, bytes);
}

BEVEL_INLINE void bevel_mve_matmul_int16(void *y0, void *y1, const int16_t *a0, const int16_t *a1, int step, int count,
                                         int32_t *rows, const int32_t *w, const int32_t *column, int blocks, int columns,
                                         int b_zero_point, BEVEL_MATMUL_OUTPUT) {
  const int32_t first = bevel_mve_gather_int16((int8_t *)rows, 1, a0, step, count, blocks);
  const int32_t second = bevel_mve_gather_int16((int8_t *)rows + 16 * blocks, 1, a1, step, count, blocks);
  bevel_mve_matmul_products((int8_t *)y0, (int8_t *)y1, (const int8_t *)rows, (const int8_t *)w, column, bevel_mve_matmul_row(first, b_zero_point),
                            bevel_mve_matmul_row(second, b_zero_point), blocks, columns, true, multiplier, lift, right, zero_point, low, high, bytes);
}

#endif
