/* Products of one row and a matrix, both activations, where the matrix lies: nothing is packed for a single row.
 *
 * The row is widened once to pairs of int16, a' = a - origin. A matrix whose columns lie side by side along the summed
 * axis (`dot`) is multiplied column by column; one whose rows do (`sum`), four columns at a time, two rows of it with a
 * pair of the row. What zero points leave out:
 *
 *     sum((a - za) * (b - zb))  ==  sum(a' * b) + extra * sum(b) - zb * sum(a' + extra),    extra = origin - za
 *
 * Pairs of the row that are its zero point add nothing and are passed over: shares that a mask bars cost little. Sums
 * wrap around: only what they come to must fit a word.
 */
#ifndef BEVEL_MATVEC_H
#define BEVEL_MATVEC_H

#include "bevel_matmul.h"

/* What a sum becomes, before it is held to its type. */
#define BEVEL_MATVEC_SCALED(sum, scale)                                                                      \
  ((bevel_smmla(bevel_shift_left(sum, (scale)[0]), (scale)[1], (scale)[2]) >> (scale)[3]) + (scale)[4])

/* Pairs of a row in its own order, a zero behind an odd one, then `extra`; the sum of a' + extra, times -zb. */
#define BEVEL_MATVEC_ROW(name, type)                                                                             \
  __attribute__((noinline, unused)) static int32_t name(int32_t *to, const type *a, int32_t step, int32_t count, \
                                                        int32_t origin, int32_t extra, int32_t zero_point) {     \
    int32_t total = 0, done = 0;                                                                                 \
    for (; done + 2 <= count; done += 2, a += 2 * step) {                                                        \
      const int32_t low = a[0] - origin, high = a[step] - origin;                                                \
      *to++ = bevel_pkhbt(low, high);                                                                            \
      total += low + high;                                                                                       \
    }                                                                                                            \
    if (done < count) {                                                                                          \
      *to++ = bevel_pkhbt(a[0] - origin, -extra);                                                                \
      total += a[0] - origin;                                                                                    \
    }                                                                                                            \
    *to = extra;                                                                                                 \
    return (int32_t)(0u - (uint32_t)zero_point * ((uint32_t)total + (uint32_t)extra * (uint32_t)count));         \
  }

BEVEL_MATVEC_ROW(bevel_matvec_row_int8, int8_t)
BEVEL_MATVEC_ROW(bevel_matvec_as_it_is_int16, int16_t)

/* A row that may leave 16 bits, less its zero point, but mostly does not: shares sum to 1, and a large one is alone.
 * If it does, it stays as it is. */
__attribute__((noinline, unused)) static int32_t bevel_matvec_row_int16(int32_t *to, const int16_t *a, int32_t step,
                                                                        int32_t count, int32_t origin, int32_t extra,
                                                                        int32_t zero_point) {
  const int32_t points = bevel_pkhbt(origin - extra, origin - extra);
  int32_t total = 0, left = 0, done = 0;
  if (extra == 0) return bevel_matvec_as_it_is_int16(to, a, step, count, origin, extra, zero_point);
  for (; done + 2 <= count; done += 2) {
    const int32_t two = bevel_pkhbt(a[done * step], a[(done + 1) * step]), held = bevel_qsub16(two, points);
    left |= held ^ bevel_ssub16(two, points);
    to[done / 2] = held;
    total = bevel_smlad(held, 0x10001, total);
  }
  if (done < count) {
    const int32_t two = bevel_pkhbt(a[done * step], points), held = bevel_qsub16(two, points);
    left |= held ^ bevel_ssub16(two, points);
    to[done / 2] = held;
    total = bevel_smlad(held, 0x10001, total);
  }
  if (left != 0) return bevel_matvec_as_it_is_int16(to, a, step, count, origin, extra, zero_point);
  to[(count + 1) / 2] = 0;
  return (int32_t)(0u - (uint32_t)zero_point * (uint32_t)total);
}

/* Elements a few apart of each whole group of a row, as masks take groups of b apart; the others in their order. */
#define BEVEL_MATVEC_PAIR(i, half)                                        \
  to[i] = bevel_pkhbt(a[(i) * step] - origin, a[((i) + half) * step] - origin); \
  total = bevel_smlad(to[i], 0x10001, total);
#define BEVEL_MATVEC_GROUPS(name, type, half, pairs)                                                             \
  __attribute__((noinline, unused)) static int32_t name(int32_t *to, const type *a, int32_t step, int32_t count, \
                                                        int32_t origin, int32_t extra, int32_t zero_point) {     \
    int32_t total = 0;                                                                                           \
    (void)extra;                                                                                                 \
    for (; count >= 2 * half; count -= 2 * half, a += 2 * half * step, to += half) {                             \
      pairs                                                                                                      \
    }                                                                                                            \
    for (int32_t i = 0; i < count; i += 2) {                                                                     \
      to[i / 2] = bevel_pkhbt(a[i * step] - origin, i + 1 < count ? a[(i + 1) * step] - origin : 0);             \
      total = bevel_smlad(to[i / 2], 0x10001, total);                                                            \
    }                                                                                                            \
    return (int32_t)(0u - (uint32_t)zero_point * (uint32_t)total);                                               \
  }
#define BEVEL_MATVEC_TWO_PAIRS BEVEL_MATVEC_PAIR(0, 2) BEVEL_MATVEC_PAIR(1, 2)
#define BEVEL_MATVEC_FOUR_PAIRS \
  BEVEL_MATVEC_PAIR(0, 4) BEVEL_MATVEC_PAIR(1, 4) BEVEL_MATVEC_PAIR(2, 4) BEVEL_MATVEC_PAIR(3, 4)

BEVEL_MATVEC_GROUPS(bevel_matvec_fours_int8, int8_t, 2, BEVEL_MATVEC_TWO_PAIRS)
BEVEL_MATVEC_GROUPS(bevel_matvec_fours_int16, int16_t, 2, BEVEL_MATVEC_TWO_PAIRS)
BEVEL_MATVEC_GROUPS(bevel_matvec_eights_int8, int8_t, 4, BEVEL_MATVEC_FOUR_PAIRS)
BEVEL_MATVEC_GROUPS(bevel_matvec_eights_int16, int16_t, 4, BEVEL_MATVEC_FOUR_PAIRS)

/* The product of a row with a column, whose elements lie side by side. */
static inline int32_t bevel_matvec_four(const int32_t *row, const int8_t *b, int32_t sum) {
  const int32_t four = bevel_load_word(b);
  return bevel_smlad(bevel_sxtb16_odd(four), row[1], bevel_smlad(bevel_sxtb16(four), row[0], sum));
}

static inline int32_t bevel_matvec_dot_int8(const int32_t *row, const int8_t *b, int32_t count, int32_t sum) {
  for (; count >= 8; count -= 8, b += 8, row += 4)
    sum = bevel_matvec_four(row + 2, b + 4, bevel_matvec_four(row, b, sum));
  for (; count >= 4; count -= 4, b += 4, row += 2) sum = bevel_matvec_four(row, b, sum);
  for (int32_t i = 0; i < count; i++) sum += b[i] * bevel_half(row[i / 2], i % 2);
  return sum;
}

static inline int32_t bevel_matvec_dot_int16(const int32_t *row, const int16_t *b, int32_t count, int32_t sum) {
  for (; count >= 2; count -= 2, b += 2, row++) sum = bevel_smlad(bevel_load_word(b), row[0], sum);
  return count ? bevel_mla(b[0], bevel_half(row[0], 0), sum) : sum;
}

/* Codes of four bits, two to a byte, as 0 to 15: those four apart of a word make pairs. */
#define BEVEL_NIBBLES(word, place) ((int32_t)((uint32_t)(word) >> (4 * (place)) & 0x000F000Fu))
#define BEVEL_NIBBLE(b, place) ((b)[(place) / 2] >> (4 * ((place) % 2)) & 15)

static inline int32_t bevel_matvec_dot_int4(const int32_t *row, const uint8_t *b, int32_t count, int32_t sum) {
  for (; count >= 8; count -= 8, b += 4, row += 4) {
    const int32_t word = bevel_load_word(b);
    sum = bevel_smlad(BEVEL_NIBBLES(word, 0), row[0], sum);
    sum = bevel_smlad(BEVEL_NIBBLES(word, 1), row[1], sum);
    sum = bevel_smlad(BEVEL_NIBBLES(word, 2), row[2], sum);
    sum = bevel_smlad(BEVEL_NIBBLES(word, 3), row[3], sum);
  }
  for (int32_t i = 0; i < count; i++) sum = bevel_mla(BEVEL_NIBBLE(b, i), bevel_half(row[i / 2], i % 2), sum);
  return sum;
}

/* Columns `next` elements, or bytes of codes of four bits, apart, of which a row has no `extra`. */
#define BEVEL_MATVEC_DOTS(name, b_type, dot, y_type, store)                                                       \
  __attribute__((noinline, unused)) static void name(y_type *y, int32_t y_step, const int32_t *row,              \
                                                     const b_type *b, int32_t next, int32_t columns,             \
                                                     int32_t count, int32_t start, const int32_t *scale) {       \
    if (count == 8) {                                                                                             \
      const int32_t held[4] = {row[0], row[1], row[2], row[3]};                                                   \
      for (; columns > 0; columns--, b += next, y += y_step) {                                                    \
        const int32_t result = BEVEL_MATVEC_SCALED(dot(held, b, 8, start), scale);                                \
        *y = (y_type)store(result, scale);                                                                        \
      }                                                                                                           \
      return;                                                                                                     \
    }                                                                                                             \
    for (; columns > 0; columns--, b += next, y += y_step) {                                                      \
      const int32_t result = BEVEL_MATVEC_SCALED(dot(row, b, count, start), scale);                               \
      *y = (y_type)store(result, scale);                                                                          \
    }                                                                                                             \
  }

/* Two rows of four columns as pairs: of each column the upper and the lower element. */
static inline void bevel_matvec_pairs_int8(int32_t *pairs, const int8_t *upper, const int8_t *lower) {
  const int32_t first = bevel_load_word(upper), second = bevel_load_word(lower);
  const int32_t even0 = bevel_sxtb16(first), even1 = bevel_sxtb16(second);
  const int32_t odd0 = bevel_sxtb16_odd(first), odd1 = bevel_sxtb16_odd(second);
  pairs[0] = bevel_pkhbt(even0, even1);
  pairs[1] = bevel_pkhbt(odd0, odd1);
  pairs[2] = bevel_pkhtb(even0, even1);
  pairs[3] = bevel_pkhtb(odd0, odd1);
}

static inline void bevel_matvec_pairs_int16(int32_t *pairs, const int16_t *upper, const int16_t *lower) {
  const int32_t a0 = bevel_load_word(upper), a1 = bevel_load_word(upper + 2);
  const int32_t b0 = bevel_load_word(lower), b1 = bevel_load_word(lower + 2);
  pairs[0] = bevel_pkhbt(a0, b0);
  pairs[1] = bevel_pkhtb(a0, b0);
  pairs[2] = bevel_pkhbt(a1, b1);
  pairs[3] = bevel_pkhtb(a1, b1);
}

static inline void bevel_matvec_pairs_int4(int32_t *pairs, const uint8_t *upper, const uint8_t *lower) {
  const int32_t both = bevel_pkhbt(bevel_load_half(upper), bevel_load_half(lower));
  pairs[0] = BEVEL_NIBBLES(both, 0);
  pairs[1] = BEVEL_NIBBLES(both, 1);
  pairs[2] = BEVEL_NIBBLES(both, 2);
  pairs[3] = BEVEL_NIBBLES(both, 3);
}

/* Rows `down` elements, or bytes of codes of four bits, apart, with columns side by side, of which four take so many; an
 * odd last row counts once. */
#define BEVEL_MATVEC_SUMS(name, b_type, pack, four, element, y_type, store)                                          \
  __attribute__((noinline, unused)) static void name(y_type *y, int32_t y_step, const int32_t *row,                 \
                                                     const b_type *b, int32_t down, int32_t columns, int32_t count, \
                                                     int32_t start, const int32_t *scale) {                         \
    const int32_t pairs = (count + 1) / 2, extra = row[pairs], nothing = bevel_pkhbt(-extra, -extra);                \
    for (; columns >= 4; columns -= 4, b += four) {                                                                  \
      int32_t s0 = start, s1 = start, s2 = start, s3 = start, t0 = 0, t1 = 0, t2 = 0, t3 = 0;                        \
      const b_type *place = b;                                                                                       \
      for (int32_t i = 0; i < pairs; i++, place += 2 * down) {                                                       \
        int32_t two[4];                                                                                              \
        const int32_t pair = row[i];                                                                                 \
        if (pair == nothing) continue;                                                                               \
        pack(two, place, 2 * i + 1 < count ? place + down : place);                                                  \
        s0 = bevel_smlad(two[0], pair, s0);                                                                          \
        s1 = bevel_smlad(two[1], pair, s1);                                                                          \
        s2 = bevel_smlad(two[2], pair, s2);                                                                          \
        s3 = bevel_smlad(two[3], pair, s3);                                                                          \
        if (extra != 0) {                                                                                            \
          t0 = bevel_smlad(two[0], 0x10001, t0);                                                                     \
          t1 = bevel_smlad(two[1], 0x10001, t1);                                                                     \
          t2 = bevel_smlad(two[2], 0x10001, t2);                                                                     \
          t3 = bevel_smlad(two[3], 0x10001, t3);                                                                     \
        }                                                                                                            \
      }                                                                                                              \
      s0 = bevel_mla(extra, t0, s0);                                                                                 \
      s1 = bevel_mla(extra, t1, s1);                                                                                 \
      s2 = bevel_mla(extra, t2, s2);                                                                                 \
      s3 = bevel_mla(extra, t3, s3);                                                                                 \
      const int32_t sums[4] = {s0, s1, s2, s3};                                                                      \
      for (int32_t u = 0; u < 4; u++, y += y_step) {                                                                 \
        const int32_t result = BEVEL_MATVEC_SCALED(sums[u], scale);                                                  \
        *y = (y_type)store(result, scale);                                                                           \
      }                                                                                                              \
    }                                                                                                                \
    for (int32_t u = 0; u < columns; u++, y += y_step) {                                                             \
      int32_t sum = start;                                                                                           \
      for (int32_t i = 0; i < count; i++)                                                                            \
        sum = bevel_mla(element(b + i * down, u), bevel_half(row[i / 2], i % 2) + extra, sum);                       \
      const int32_t result = BEVEL_MATVEC_SCALED(sum, scale);                                                        \
      *y = (y_type)store(result, scale);                                                                             \
    }                                                                                                                \
  }

#define BEVEL_MATVEC_ELEMENT(b, place) (b)[place]
#define BEVEL_MATVEC_OF(b, b_type, four, element, y, store, suffix)                                         \
  BEVEL_MATVEC_DOTS(bevel_matvec_dots_##b##_##y##suffix, b_type, bevel_matvec_dot_##b, y##_t, store)        \
  BEVEL_MATVEC_SUMS(bevel_matvec_sums_##b##_##y##suffix, b_type, bevel_matvec_pairs_##b, four, element, y##_t, store)
#define BEVEL_MATVEC_INTO(y, store, suffix)                                          \
  BEVEL_MATVEC_OF(int4, uint8_t, 2, BEVEL_NIBBLE, y, store, suffix)                  \
  BEVEL_MATVEC_OF(int8, int8_t, 4, BEVEL_MATVEC_ELEMENT, y, store, suffix)           \
  BEVEL_MATVEC_OF(int16, int16_t, 4, BEVEL_MATVEC_ELEMENT, y, store, suffix)

BEVEL_MATVEC_INTO(int8, BEVEL_MATMUL_INT8, )
BEVEL_MATVEC_INTO(int16, BEVEL_MATMUL_INT16, )
BEVEL_MATVEC_INTO(int8, BEVEL_MATMUL_WITHIN, _within)
BEVEL_MATVEC_INTO(int16, BEVEL_MATMUL_WITHIN, _within)

#endif
