/* Products of one row and a matrix on Helium, both activations, where the matrix lies: nothing of it is packed.
 *
 * The row is copied once to halfwords, a' = a - origin. Columns are multiplied four at a time, eight elements an
 * instruction, side by side or gathered. What zero points leave out:
 *
 *     sum((a - za) * (b - zb))  ==  sum(a' * b) + extra * sum(b) - zb * sum(a' + extra),    extra = origin - za
 *
 * A row of int16 that leaves 16 bits less its zero point in one element only, as a row of shares does, is kept so, and
 * 2**16 times that element's row of the matrix is added. Sums wrap around: only what they come to must fit a word.
 */
#ifndef BEVEL_MATVEC_MVE_H
#define BEVEL_MATVEC_MVE_H

#include "bevel_dsp.h"
#include "bevel_matmul_mve.h"

/* What is left out of the sums: `extra` times a column's, and `often` times its element at `place`. */
#define BEVEL_LEFT_OUT int extra, int32_t often, int32_t place

/* What a sum over the row and the row's zero point come to. */
BEVEL_INLINE int32_t bevel_mve_matvec_start(int32_t total, int extra, int count, int b_zero_point) {
  return (int32_t)(0u - (uint32_t)b_zero_point * ((uint32_t)total + (uint32_t)extra * (uint32_t)count));
}

#if defined(__ARM_FEATURE_MVE) && (__ARM_FEATURE_MVE & 1)

/* `count` codes of four bits, two to a byte, as 0 to 15, each in a byte of its own. */
BEVEL_INLINE void bevel_mve_nibbles(int8_t *to, const uint8_t *from, int count) {
  uint8_t *bytes = (uint8_t *)to;
  const uint8x16_t mask = vdupq_n_u8(15);
  BEVEL_ROLLED
  for (; count >= 32; count -= 32, from += 16, bytes += 32) {
    const uint8x16_t both = vldrbq_u8(from);
    uint8x16x2_t two;
    two.val[0] = vandq_u8(both, mask);
    two.val[1] = vshrq_n_u8(both, 4);
    vst2q_u8(bytes, two);
  }
  BEVEL_ROLLED
  for (int i = 0; i < count; ++i) bytes[i] = (uint8_t)(from[i / 2] >> (4 * (i % 2)) & 15);
}

/* The row less `origin`, which wraps around, and its sum; `end`: the row's largest element, or the
 * smallest if `upper` is false. */
#define BEVEL_MATVEC_COPY(load, seek, further)                                                                         \
  BEVEL_LANES("16", load seek further "vsub.i16 %q[f], %q[f], %[origin]\n\tvstrh.16 %q[f], [%[to]], #16\n\t"          \
              "vaddva.s16 %[total], %q[f]\n\t",                                                                       \
              : [a] "+&l"(a), [to] "+&r"(to), [end] "+&r"(most), [total] "+&Te"(total), [f] "=&w"(found)                  \
              : [n] "r"(count), [origin] "r"(origin), [o] "w"(offsets), [eight] "r"(eight))
#define BEVEL_MATVEC_ANY_COPY(seek)                                                          \
  if (wide && step == 1) {                                                                  \
    BEVEL_MATVEC_COPY("vldrh.16 %q[f], [%[a]], #16\n\t", seek, "");                          \
  } else if (step == 1) {                                                                   \
    BEVEL_MATVEC_COPY("vldrb.s16 %q[f], [%[a]], #8\n\t", seek, "");                          \
  } else if (wide) {                                                                        \
    BEVEL_MATVEC_COPY("vldrh.u16 %q[f], [%[a], %q[o], uxtw #1]\n\t", seek, "add %[a], %[a], %[eight]\n\t"); \
  } else {                                                                                  \
    BEVEL_MATVEC_COPY("vldrb.s16 %q[f], [%[a], %q[o]]\n\t", seek, "add %[a], %[a], %[eight]\n\t");          \
  }

BEVEL_INLINE int32_t bevel_mve_matvec_row(int16_t *to, const void *a, int step, int count, int origin, bool wide,
                                          bool seek, bool upper, int32_t *end) {
  const uint16x8_t offsets = bevel_mve_offsets(step);
  const int eight = 8 * step * (wide ? 2 : 1);
  int32_t total = 0, most = *end;
  int16x8_t found;
  if (!seek) {
    BEVEL_MATVEC_ANY_COPY("");
  } else if (upper) {
    BEVEL_MATVEC_ANY_COPY("vmaxv.s16 %[end], %q[f]\n\t");
  } else {
    BEVEL_MATVEC_ANY_COPY("vminv.s16 %[end], %q[f]\n\t");
  }
  *end = most;
  return total;
}

/* Four columns' sums go on by `count` terms; elements of a column lie side by side. */
#define BEVEL_MATVEC_SIDE_BY_SIDE(load, next)                                                                         \
  BEVEL_LANES("16",                                                                                                   \
              "vldrh.16 %q[x], [%[row]], #16\n\t" load " %q[u], [%[b0]], #" next "\n\t" load " %q[v], [%[b1]], #" next   \
              "\n\tvmladava.s16 %[s0], %q[x], %q[u]\n\t" load " %q[u], [%[b2]], #" next                                   \
              "\n\tvmladava.s16 %[s1], %q[x], %q[v]\n\t" load " %q[v], [%[b3]], #" next                                   \
              "\n\tvmladava.s16 %[s2], %q[x], %q[u]\n\tvmladava.s16 %[s3], %q[x], %q[v]\n\t",                             \
              : [row] "+&l"(row), [b0] "+&l"(b0), [b1] "+&l"(b1), [b2] "+&l"(b2), [b3] "+&l"(b3), [s0] "+&Te"(sums[0]),     \
                [s1] "+&Te"(sums[1]), [s2] "+&Te"(sums[2]), [s3] "+&Te"(sums[3]), [x] "=&w"(x), [u] "=&w"(u),            \
                [v] "=&w"(v)                                                                                          \
              : [n] "r"(count))
#define BEVEL_MATVEC_APART(load, scale)                                                                               \
  BEVEL_LANES("16",                                                                                                   \
              "vldrh.16 %q[x], [%[row]], #16\n\t" load " %q[u], [%[b], %q[o0]" scale "]\n\t" load                      \
              " %q[v], [%[b], %q[o1]" scale "]\n\tvmladava.s16 %[s0], %q[x], %q[u]\n\t" load                             \
              " %q[u], [%[b], %q[o2]" scale "]\n\tvmladava.s16 %[s1], %q[x], %q[v]\n\t" load                             \
              " %q[v], [%[b], %q[o3]" scale "]\n\tvmladava.s16 %[s2], %q[x], %q[u]\n\tadd %[b], %[b], %[eight]\n\t"     \
              "vmladava.s16 %[s3], %q[x], %q[v]\n\t",                                                                   \
              : [row] "+&l"(row), [b] "+&r"(b), [s0] "+&Te"(sums[0]), [s1] "+&Te"(sums[1]), [s2] "+&Te"(sums[2]),          \
                [s3] "+&Te"(sums[3]), [x] "=&w"(x), [u] "=&w"(u), [v] "=&w"(v)                                         \
              : [n] "r"(count), [eight] "r"(eight), [o0] "w"(o0), [o1] "w"(o1), [o2] "w"(o2), [o3] "w"(o3))

/* `lanes` of four columns, `next` elements apart, whose own are `down` apart. */
BEVEL_INLINE void bevel_mve_matvec_terms(int32_t *sums, const int16_t *row, const int8_t *b, int down, int next,
                                         int lanes, int count, bool wide) {
  const int size = wide ? 2 : 1;
  int16x8_t x, u, v;
  if (down == 1) {
    const int8_t *b0 = b, *b1 = lanes > 1 ? b + next * size : b, *b2 = lanes > 2 ? b1 + next * size : b;
    const int8_t *b3 = lanes > 3 ? b2 + next * size : b;
    if (wide) {
      BEVEL_MATVEC_SIDE_BY_SIDE("vldrh.16", "16");
    } else {
      BEVEL_MATVEC_SIDE_BY_SIDE("vldrb.s16", "8");
    }
    return;
  }
  const int eight = 8 * down * size;
  const uint16x8_t o0 = bevel_mve_offsets(down), o1 = lanes > 1 ? vaddq_n_u16(o0, (uint16_t)next) : o0;
  const uint16x8_t o2 = lanes > 2 ? vaddq_n_u16(o1, (uint16_t)next) : o0;
  const uint16x8_t o3 = lanes > 3 ? vaddq_n_u16(o2, (uint16_t)next) : o0;
  if (wide) {
    BEVEL_MATVEC_APART("vldrh.u16", ", uxtw #1");
  } else {
    BEVEL_MATVEC_APART("vldrb.s16", "");
  }
}

/* The sum of a column. */
BEVEL_INLINE int32_t bevel_mve_matvec_column(const int8_t *b, int down, int count, bool wide) {
  const uint16x8_t offsets = bevel_mve_offsets(down);
  const int eight = 8 * down * (wide ? 2 : 1);
  int32_t total = 0;
  int16x8_t found;
#define BEVEL_MATVEC_COLUMN(load)                                                                          \
  BEVEL_LANES("16", load "]\n\tadd %[b], %[b], %[eight]\n\tvaddva.s16 %[total], %q[f]\n\t",               \
              : [b] "+&r"(b), [total] "+&Te"(total), [f] "=&w"(found)                                        \
              : [n] "r"(count), [o] "w"(offsets), [eight] "r"(eight))
  if (wide) {
    BEVEL_MATVEC_COLUMN("vldrh.u16 %q[f], [%[b], %q[o], uxtw #1");
  } else {
    BEVEL_MATVEC_COLUMN("vldrb.s16 %q[f], [%[b], %q[o]");
  }
  return total;
}

/* `count` of four columns, `next` elements apart, whose own are `down` apart. */
BEVEL_INLINE void bevel_mve_matvec_four(void *y, const int16_t *row, const int8_t *b, int down, int next, int terms,
                                        BEVEL_LEFT_OUT, int32_t start, int count, bool wide, BEVEL_MATMUL_OUTPUT) {
  int32_t sums[4] = {start, start, start, start};
  bevel_mve_matvec_terms(sums, row, b, down, next, count, terms, wide);
  if (extra != 0 || often != 0) {
    for (int c = 0; c < count; ++c) {
      const int8_t *const own = b + c * next * (wide ? 2 : 1);
      const int one = wide ? ((const int16_t *)(const void *)own)[place * down] : own[place * down];
      sums[c] += (int32_t)((uint32_t)one * (uint32_t)often);
      if (extra != 0) sums[c] += bevel_mve_times(bevel_mve_matvec_column(own, down, terms, wide), extra);
    }
  }
  int32x4_t four;
  __asm__("vmov %q0[2], %q0[0], %1, %3\n\tvmov %q0[3], %q0[1], %2, %4"
          : "=w"(four)
          : "r"(sums[0]), "r"(sums[1]), "r"(sums[2]), "r"(sums[3]));
  bevel_mve_matmul_store(y, four, count, multiplier, lift, right, zero_point, low, high, bytes);
}

/* Columns of eight terms, eight at a time; the even ones first, so that results come to lie in their order. Returns how
 * many are left. */
#define BEVEL_MATVEC_NEAR(next, wide) ((next) * ((wide) ? 2 : 1) <= ((wide) ? 254 : 127))
#define BEVEL_MATVEC_TWO(load, even, odd)                                                             \
  load " %q[u], [%[b]]\n\t" load " %q[v], [%[b], %[next]]\n\tadd %[b], %[b], %[two]\n\t"             \
  "vmladav.s16 " even ", %q[x], %q[u]\n\tvmladav.s16 " odd ", %q[x], %q[v]\n\t"
#define BEVEL_MATVEC_EIGHT(load)                                                                      \
  __asm__ volatile(BEVEL_MATVEC_TWO(load, "r0", "r8") BEVEL_MATVEC_TWO(load, "r2", "r10")             \
                       BEVEL_MATVEC_TWO(load, "r4", "r12") BEVEL_MATVEC_TWO(load, "r6", "lr")         \
                           BEVEL_SUMS                                                                 \
                   : [s] "=&w"(first), [t] "=&w"(second), [u] "=&w"(u), [v] "=&w"(v), [b] "+&r"(b)     \
                   : [x] "w"(x), [next] "i"(near), [two] "r"(2 * next * size)                         \
                   : "r0", "r2", "r4", "r6", "r8", "r10", "r12", "lr", "memory")

BEVEL_INLINE int bevel_mve_matvec_eights(int8_t *y, const int16_t *row, const int8_t *b, int next, int columns,
                                         int32_t start, bool wide, BEVEL_MATMUL_OUTPUT) {
  const int size = wide ? 2 : 1, near = BEVEL_MATVEC_NEAR(next, wide) ? next * size : 0;
  const int least = bytes == 1 ? -128 : -32768, most = bytes == 1 ? 127 : 32767, down = lift > 0 ? right : right + 1;
  const int16x8_t x = vldrhq_s16(row);
  const int32x4_t factors = vdupq_n_s32(multiplier), starts = vdupq_n_s32(start);
  BEVEL_ROLLED
  for (; columns >= 8; columns -= 8, y += 8 * bytes) {
    int32x4_t first, second, u, v;
    if (wide) {
      BEVEL_MATVEC_EIGHT("vldrh.16");
    } else {
      BEVEL_MATVEC_EIGHT("vldrb.s16");
    }
    first = vaddq_s32(first, starts);
    second = vaddq_s32(second, starts);
    if (lift > 1) first = vshlq_r_s32(first, lift - 1);
    if (lift > 1) second = vshlq_r_s32(second, lift - 1);
    first = vqdmlashq_n_s32(first, factors, zero_point * (1 << (BEVEL_NARROWS(right) ? down : 1)));
    second = vqdmlashq_n_s32(second, factors, zero_point * (1 << (BEVEL_NARROWS(right) ? down : 1)));
    __asm__("vqrshrnb.s32 %q0, %q0, %1" : "+w"(first) : "i"(BEVEL_NARROWS(right) ? down : 1));
    __asm__("vqrshrnt.s32 %q0, %q1, %2" : "+w"(first) : "w"(second), "i"(BEVEL_NARROWS(right) ? down : 1));
    int16x8_t halves = vreinterpretq_s16_s32(first);
    if (low > least) halves = vmaxq_s16(halves, vdupq_n_s16((int16_t)low));
    if (high < most) halves = vminq_s16(halves, vdupq_n_s16((int16_t)high));
    if (bytes == 1 && (low == least || high == most)) __asm__("vqmovnb.s16 %q0, %q0" : "+w"(halves));
    if (bytes == 1) {
      vstrbq_s16(y, halves);
    } else {
      vstrhq_s16((int16_t *)(void *)y, halves);
    }
  }
  return columns;
}

#else

BEVEL_INLINE void bevel_mve_nibbles(int8_t *to, const uint8_t *from, int count) {
  for (int i = 0; i < count; ++i) to[i] = (int8_t)(from[i / 2] >> (4 * (i % 2)) & 15);
}

BEVEL_INLINE int32_t bevel_mve_matvec_row(int16_t *to, const void *a, int step, int count, int origin, bool wide,
                                          bool seek, bool upper, int32_t *end) {
  int32_t total = 0;
  for (int i = 0; i < count; ++i) {
    const int found = wide ? ((const int16_t *)a)[i * step] : ((const int8_t *)a)[i * step];
    if (seek && (upper ? found > *end : found < *end)) *end = found;
    const uint32_t less = (uint32_t)(found - origin) & 0xFFFFu; /* wraps around */
    to[i] = (int16_t)(less < 0x8000u ? (int)less : (int)less - 0x10000);
    total += to[i];
  }
  return total;
}

BEVEL_INLINE void bevel_mve_matvec_four(void *y, const int16_t *row, const int8_t *b, int down, int next, int terms,
                                        BEVEL_LEFT_OUT, int32_t start, int count, bool wide, BEVEL_MATMUL_OUTPUT) {
  for (int c = 0; c < count; ++c) {
    uint32_t sum = (uint32_t)start;
    for (int i = 0; i < terms; ++i) {
      const int at = c * next + i * down;
      const int32_t more = i == place ? often : 0;
      sum += (uint32_t)(row[i] + extra + more) * (uint32_t)(wide ? ((const int16_t *)(const void *)b)[at] : b[at]);
    }
    bevel_mve_matmul_store((int8_t *)y + c * bytes, sum, multiplier, lift, right, zero_point, low, high, bytes);
  }
}

#endif

/* All columns of a row's product, side by side. */
BEVEL_INLINE void bevel_mve_matvec_columns(void *y, const int16_t *row, const void *b, int down, int next, int columns,
                                           int terms, BEVEL_LEFT_OUT, int32_t start, bool wide, BEVEL_MATMUL_OUTPUT) {
  const int8_t *from = (const int8_t *)b;
  int8_t *to = (int8_t *)y;
#if defined(__ARM_FEATURE_MVE) && (__ARM_FEATURE_MVE & 1)
  if (__builtin_constant_p(terms) && terms == 8 && __builtin_constant_p(extra) && extra == 0 && down == 1 &&
      BEVEL_NARROWS(right) && BEVEL_MATVEC_NEAR(next, wide)) {
    const int left = bevel_mve_matvec_eights(to, row, from, next, columns, start, wide, multiplier, lift, right,
                                             zero_point, low, high, bytes);
    from += (columns - left) * next * (wide ? 2 : 1);
    to += (columns - left) * bytes;
    columns = left;
  }
#endif
  BEVEL_ROLLED
  for (; columns >= 4; columns -= 4, from += 4 * next * (wide ? 2 : 1), to += 4 * bytes)
    bevel_mve_matvec_four(to, row, from, down, next, terms, extra, often, place, start, 4, wide, multiplier, lift,
                          right, zero_point, low, high, bytes);
  if (columns > 0)
    bevel_mve_matvec_four(to, row, from, down, next, terms, extra, often, place, start, columns, wide, multiplier,
                          lift, right, zero_point, low, high, bytes);
}

/* A row and its product. `extra` is not 0 where the row may leave 16 bits less its zero point, which is seen then. */
BEVEL_INLINE void bevel_mve_matvec(void *y, int16_t *row, const void *a, int step, const void *b, int down, int next,
                                   int columns, int terms, int origin, int extra, int b_zero_point, bool rows_wide,
                                   bool wide, BEVEL_MATMUL_OUTPUT) {
  const int point = origin - extra, limit = point < 0 ? 32767 + point : point - 32768;
  const bool upper = point < 0, seek = extra != 0;
  int32_t end = point, often = 0, place = 0;
  int further = 0;
  int32_t total = bevel_mve_matvec_row(row, a, step, terms, point, rows_wide, seek, upper, &end);
  if (seek && (upper ? end > limit : end < limit)) {
    const int16_t *from = (const int16_t *)a;
    int left = 0;
    BEVEL_ROLLED
    for (int i = 0; i < terms; ++i, from += step) {
      if (upper ? *from > limit : *from < limit) left++, place = i;
    }
    if (left == 1) {
      often = upper ? 65536 : -65536;
      total = (int32_t)((uint32_t)total + (uint32_t)often);
    } else {
      further = extra;
      total = bevel_mve_matvec_row(row, a, step, terms, origin, rows_wide, false, upper, &end);
    }
  }
  const int32_t start = bevel_mve_matvec_start(total, further, terms, b_zero_point);
  bevel_mve_matvec_columns(y, row, b, down, next, columns, terms, further, often, place, start, wide, multiplier, lift,
                           right, zero_point, low, high, bytes);
}

#endif
