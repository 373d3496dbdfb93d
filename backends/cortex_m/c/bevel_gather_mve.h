/* Elements that lie apart, brought side by side on Helium: in every block, or every fourth one, of 16 bytes, as bytes
 * or as halfwords, with zeros behind them to the end of the last block. */
#ifndef BEVEL_GATHER_MVE_H
#define BEVEL_GATHER_MVE_H

#include "bevel_mve.h"

BEVEL_INLINE int32_t bevel_mve_times(int32_t total, int by) { return (int32_t)((uint32_t)total * (uint32_t)by); }

#if defined(__ARM_FEATURE_MVE) && (__ARM_FEATURE_MVE & 1)

/* Elements that lie side by side; their sum. LESS is what is done to each vector first. */
#define BEVEL_BLOCKS(lanes, load, next, less, kind, store, apart)                                                   \
  BEVEL_LANES(lanes, load " %q[f], [%[from]], #" next "\n\t" less "vaddva." kind " %[total], %q[f]\n\t" store       \
              " %q[f], [%[to]], #" apart "\n\t",                                                                    \
              : [from] "+&l"(from), [to] "+&r"(to), [total] "+&Te"(total), [f] "=&w"(found)                            \
              : [n] "r"(count), [origin] "r"(origin))
/* The same of elements that lie `step` apart, eight at a time. */
#define BEVEL_GATHERED(load, offset, less, apart)                                                                   \
  BEVEL_LANES("16", load " %q[f], [%[from], %q[o]" offset "]\n\tadd %[from], %[from], %[eight]\n\t" less            \
              "vaddva.s16 %[total], %q[f]\n\tvstrh.16 %q[f], [%[to]], #" apart "\n\t",                              \
              : [from] "+&r"(from), [to] "+&r"(to), [total] "+&Te"(total), [f] "=&w"(found)                            \
              : [n] "r"(count), [origin] "r"(origin), [o] "w"(offsets), [eight] "r"(eight))
#define BEVEL_SPACED(KIND, ...)  \
  if (spacing == 1) {            \
    KIND(__VA_ARGS__, "16");     \
  } else {                       \
    KIND(__VA_ARGS__, "64");     \
  }
#define BEVEL_LESS "vsub.i16 %q[f], %q[f], %[origin]\n\t"

BEVEL_INLINE uint16x8_t bevel_mve_offsets(int step) { return vmulq_n_u16(vidupq_n_u16(0, 1), (uint16_t)step); }

/* Bytes that lie `step` apart, in every `spacing`th block, 1 or 4; their sum. */
BEVEL_INLINE int32_t bevel_mve_gather_bytes(int8_t *to, int spacing, const int8_t *b, int step, int count, int blocks) {
  const uint16x8_t offsets = bevel_mve_offsets(step);
  int32_t total = 0;
  BEVEL_ROLLED
  for (; count >= 16; count -= 16, --blocks, b += 16 * step, to += 16 * spacing) {
    const int16x8_t first = vldrbq_gather_offset_s16(b, offsets);
    const int16x8_t second = vldrbq_gather_offset_s16(b + 8 * step, offsets);
    total = vaddvaq_s16(vaddvaq_s16(total, first), second);
    vstrbq_s16(to, first);
    vstrbq_s16(to + 8, second);
  }
  if (blocks == 0) return total;
  for (int half = 0; half < 2; ++half, count -= 8, b += 8 * step) {
    const mve_pred16_t some = vctp16q((uint32_t)(count > 0 ? count : 0));
    const int16x8_t found = vldrbq_gather_offset_z_s16(b, offsets, some);
    total = vaddvaq_s16(total, found);
    vstrbq_s16(to + 8 * half, found);
  }
  return total;
}

/* The elements b[0], b[step], ... as halfwords less `origin`, or as bytes; their sum. */
BEVEL_INLINE int32_t bevel_mve_gather_int8(int8_t *to, int spacing, const int8_t *b, int step, int count, int blocks,
                                           bool wide, int origin) {
  int32_t total = 0;
  if (step == 1 && blocks == 1 && wide) {
    const mve_pred16_t some = vctp16q((uint32_t)count);
    const int16x8_t read = vldrbq_z_s16(b, some), less = vsubq_m_n_s16(read, read, (int16_t)origin, some);
    vstrhq_s16((int16_t *)(void *)to, less);
    return vaddvq_s16(less);
  }
  if (step == 1 && blocks == 1) {
    const int8x16_t read = vldrbq_z_s8(b, vctp8q((uint32_t)count));
    vstrbq_s8(to, read);
    return vaddvq_s8(read);
  }
  if (step != 1 && !wide) return bevel_mve_gather_bytes(to, spacing, b, step, count, blocks);
  const int8_t *from = b;
  int8x16_t found = vdupq_n_s8(0);
  if (count % (wide ? 8 : 16) != 0) vstrbq_s8(to + 16 * spacing * (blocks - 1), found);
  if (step != 1) {
    const uint16x8_t offsets = bevel_mve_offsets(step);
    const int eight = 8 * step;
    BEVEL_SPACED(BEVEL_GATHERED, "vldrb.s16", "", BEVEL_LESS);
  } else if (wide) {
    BEVEL_SPACED(BEVEL_BLOCKS, "16", "vldrb.s16", "8", BEVEL_LESS, "s16", "vstrh.16");
  } else {
    BEVEL_SPACED(BEVEL_BLOCKS, "8", "vldrb.8", "16", "", "s8", "vstrb.8");
  }
  return total;
}

BEVEL_INLINE int32_t bevel_mve_gather_int16(int8_t *to, int spacing, const int16_t *a, int step, int count,
                                            int blocks) {
  int32_t total = 0;
  const int origin = 0;
  const int16_t *from = a;
  int8x16_t found = vdupq_n_s8(0);
  if (count % 8 != 0) vstrbq_s8(to + 16 * spacing * (blocks - 1), found);
  if (step == 1) {
    BEVEL_SPACED(BEVEL_BLOCKS, "16", "vldrh.16", "16", "", "s16", "vstrh.16");
  } else {
    const uint16x8_t offsets = bevel_mve_offsets(step);
    const int eight = 16 * step;
    BEVEL_SPACED(BEVEL_GATHERED, "vldrh.u16", ", uxtw #1", "");
  }
  return total;
}

/* The sum of elements that lie side by side, times `by`, which wraps around. Of no more bytes than a vector has, 16 are
 * read. */
BEVEL_INLINE int32_t bevel_mve_times_sum(const void *a, int count, bool wide, int by) {
  if (!wide && count <= 16) {
    const int8x16_t factors = vpselq_s8(vdupq_n_s8((int8_t)by), vdupq_n_s8(0), vctp8q((uint32_t)count));
    return vmladavq_s8(vldrbq_s8((const int8_t *)a), factors);
  }
  int32_t total = 0;
  int16x8_t found;
#define BEVEL_SUM(lanes, load, kind)                                                                      \
  BEVEL_LANES(lanes, load " %q[f], [%[a]], #16\n\tvaddva." kind " %[total], %q[f]\n\t",                   \
              : [a] "+&l"(a), [total] "+&Te"(total), [f] "=&w"(found)                                       \
              : [n] "r"(count))
  if (wide) {
    BEVEL_SUM("16", "vldrh.16", "s16");
  } else {
    BEVEL_SUM("8", "vldrb.8", "s8");
  }
  return bevel_mve_times(total, by);
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
                                           bool wide, int origin) {
  int32_t total = 0;
  for (int i = 0; i < blocks * (wide ? 8 : 16); ++i) {
    const int32_t found = i < count ? b[i * step] - (wide ? origin : 0) : 0;
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

BEVEL_INLINE int32_t bevel_mve_times_sum(const void *a, int count, bool wide, int by) {
  int32_t total = 0;
  for (int i = 0; i < count; ++i) total += wide ? ((const int16_t *)a)[i] : ((const int8_t *)a)[i];
  return bevel_mve_times(total, by);
}

#endif

#endif
