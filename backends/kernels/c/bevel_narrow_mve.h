/* Weights of one to seven bits, decoded into vectors of sixteen int8 weights for Helium.
 *
 * Eight vectors are stored in `bits` vectors, each byte's codes cut into planes as backends/narrow.py cuts those of
 * words.
 */
#ifndef BEVEL_NARROW_MVE_H
#define BEVEL_NARROW_MVE_H

#include "bevel_mve.h"
#include "bevel_mve_depthwise.h"

#if defined(__ARM_FEATURE_MVE) && (__ARM_FEATURE_MVE & 1)

#define BEVEL_MVE_RIGHT(v, by) ((by) ? vshrq_n_u8(v, (by) ? (by) : 1) : (v))
#define BEVEL_MVE_PLANE(vector, by, mask) \
  vandq_u8(BEVEL_MVE_RIGHT(vldrbq_u8(stored + 16 * (vector)), by), vdupq_n_u8(mask))
#define BEVEL_MVE_CODES(bits, j)                                                                                   \
  vorrq_u8(vorrq_u8((bits) & 4 ? BEVEL_MVE_PLANE((j) / 2, 4 * ((j) % 2), 0x0F) : vdupq_n_u8(0),                    \
                    (bits) & 2 ? vshlq_n_u8(BEVEL_MVE_PLANE(((bits) & 4) + (j) / 4, 2 * ((j) % 4), 0x03), (bits) & 4) \
                               : vdupq_n_u8(0)),                                                                   \
           (bits) & 1 ? vshlq_n_u8(BEVEL_MVE_PLANE((bits) - 1, j, 0x01), (bits) & 6) : vdupq_n_u8(0))

/* Codes become the weights that a table has for them. */
__attribute__((noinline, unused)) static void bevel_mve_look_up(int8_t *w, int32_t vectors, const int8_t *table) {
  for (; vectors > 0; vectors--, w += 16) vstrbq_s8(w, vldrbq_gather_offset_s8(table, vldrbq_u8((uint8_t *)w)));
}

#define BEVEL_MVE_DECODE(bits, j)                                                                           \
  vstrbq_s8(w + 16 * (j), vreinterpretq_s8_u8(vaddq_n_u8(vmulq_n_u8(BEVEL_MVE_CODES(bits, j), (uint8_t)stride), \
                                                         (uint8_t)least)));

#else

#define BEVEL_MVE_BYTE(vector, by, mask) (stored[16 * (vector) + lane] >> (by) & (mask))
#define BEVEL_MVE_CODES(bits, j)                                                                              \
  (((bits) & 4 ? BEVEL_MVE_BYTE((j) / 2, 4 * ((j) % 2), 0x0F) : 0) |                                          \
   ((bits) & 2 ? BEVEL_MVE_BYTE(((bits) & 4) + (j) / 4, 2 * ((j) % 4), 0x03) << ((bits) & 4) : 0) |           \
   ((bits) & 1 ? BEVEL_MVE_BYTE((bits) - 1, j, 0x01) << ((bits) & 6) : 0))

__attribute__((noinline, unused)) static void bevel_mve_look_up(int8_t *w, int32_t vectors, const int8_t *table) {
  for (int32_t i = 0; i < 16 * vectors; i++) w[i] = table[(uint8_t)w[i]];
}

#define BEVEL_MVE_DECODE(bits, j) \
  for (int lane = 0; lane < 16; lane++) w[16 * (j) + lane] = (int8_t)(BEVEL_MVE_CODES(bits, j) * stride + least);

#endif

/* `vectors` of them, a multiple of eight. */
#define BEVEL_NARROW_MVE(bits)                                                                              \
  __attribute__((noinline, unused)) static void bevel_mve_weights_##bits(                                   \
      const uint8_t *restrict stored, int8_t *restrict w, int32_t vectors, int32_t stride, int32_t least) { \
    for (; vectors > 0; vectors -= 8, w += 128, stored += 16 * (bits)) {                                    \
      BEVEL_MVE_DECODE(bits, 0) BEVEL_MVE_DECODE(bits, 1)                                                   \
      BEVEL_MVE_DECODE(bits, 2) BEVEL_MVE_DECODE(bits, 3)                                                   \
      BEVEL_MVE_DECODE(bits, 4) BEVEL_MVE_DECODE(bits, 5)                                                   \
      BEVEL_MVE_DECODE(bits, 6) BEVEL_MVE_DECODE(bits, 7)                                                   \
    }                                                                                                       \
  }

BEVEL_NARROW_MVE(1)
BEVEL_NARROW_MVE(2)
BEVEL_NARROW_MVE(3)
BEVEL_NARROW_MVE(4)
BEVEL_NARROW_MVE(5)
BEVEL_NARROW_MVE(6)
BEVEL_NARROW_MVE(7)

#endif
