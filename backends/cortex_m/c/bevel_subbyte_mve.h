/* Weights of one to seven bits, decoded into vectors of sixteen int8 weights for Helium.
 *
 * Eight vectors are stored in `bits` vectors, each byte's codes cut into planes as backends/encodings/subbyte.py cuts those of
 * words. A plane's part of a code is shifted to the top of its byte, and what lies below is overwritten with the next
 * plane's: so no mask is needed until the whole code is shifted down.
 */
#ifndef BEVEL_SUBBYTE_MVE_H
#define BEVEL_SUBBYTE_MVE_H

#include "bevel_mve.h"
#include "bevel_mve_depthwise.h"

/* What follows has the codes of vector j of eight: in which vector of a plane its part of `plane` bits is, and how far
 * that is from the top of a byte. */
#define BEVEL_PLACE(plane, j) ((j) / (8 / (plane)))
#define BEVEL_BELOW_TOP(plane, j) (8 - (plane) * ((j) % (8 / (plane)) + 1))

#if defined(__ARM_FEATURE_MVE) && (__ARM_FEATURE_MVE & 1)

#define BEVEL_LEFT(v, by) ((by) ? vshlq_n_u8(v, by) : (v))
#define BEVEL_TOP(first, plane, j) \
  BEVEL_LEFT(vldrbq_u8(stored + 16 * ((first) + BEVEL_PLACE(plane, j))), BEVEL_BELOW_TOP(plane, j))

#define BEVEL_TOP_1(j) BEVEL_TOP(0, 1, j)
#define BEVEL_TOP_2(j) BEVEL_TOP(0, 2, j)
#define BEVEL_TOP_3(j) vsriq_n_u8(BEVEL_TOP(2, 1, j), BEVEL_TOP(0, 2, j), 1)
#define BEVEL_TOP_4(j) BEVEL_TOP(0, 4, j)
#define BEVEL_TOP_5(j) vsriq_n_u8(BEVEL_TOP(4, 1, j), BEVEL_TOP(0, 4, j), 1)
#define BEVEL_TOP_6(j) vsriq_n_u8(BEVEL_TOP(4, 2, j), BEVEL_TOP(0, 4, j), 2)
#define BEVEL_TOP_7(j) vsriq_n_u8(BEVEL_TOP(6, 1, j), BEVEL_TOP_6(j), 1)
#define BEVEL_MVE_CODES(bits, j) vshrq_n_u8(BEVEL_TOP_##bits(j), 8 - (bits))

#define BEVEL_WEIGHTS(bits, j) \
  vstrbq_u8((uint8_t *)w + 16 * (j), vmlasq_n_u8(BEVEL_MVE_CODES(bits, j), vdupq_n_u8((uint8_t)stride), (uint8_t)least));
#define BEVEL_LOOKED_UP(bits, j) vstrbq_s8(w + 16 * (j), vldrbq_gather_offset_s8(table, BEVEL_MVE_CODES(bits, j)));

#else

#define BEVEL_PART(first, plane, j)                                                                    \
  (stored[16 * ((first) + BEVEL_PLACE(plane, j)) + lane] >> (8 - (plane) - BEVEL_BELOW_TOP(plane, j)) & \
   ((1 << (plane)) - 1))

#define BEVEL_MVE_CODES(bits, j)                              \
  (((bits) & 4 ? BEVEL_PART(0, 4, j) : 0) |               \
   ((bits) & 2 ? BEVEL_PART((bits) & 4, 2, j) << ((bits) & 4) : 0) | \
   ((bits) & 1 ? BEVEL_PART((bits) & 6, 1, j) << ((bits) & 6) : 0))

#define BEVEL_WEIGHTS(bits, j) \
  for (int lane = 0; lane < 16; lane++) w[16 * (j) + lane] = (int8_t)(BEVEL_MVE_CODES(bits, j) * stride + least);
#define BEVEL_LOOKED_UP(bits, j) \
  for (int lane = 0; lane < 16; lane++) w[16 * (j) + lane] = table[BEVEL_MVE_CODES(bits, j)];

#endif

#define BEVEL_EIGHT(DECODE, bits)                                           \
  for (; vectors > 0; vectors -= 8, w += 128, stored += 16 * (bits)) {      \
    DECODE(bits, 0) DECODE(bits, 1) DECODE(bits, 2) DECODE(bits, 3)         \
    DECODE(bits, 4) DECODE(bits, 5) DECODE(bits, 6) DECODE(bits, 7)         \
  }

/* One function for all layers, which gcc would copy for each of their sizes. */
#if defined(__clang__)
#define BEVEL_MVE_ONCE __attribute__((noinline, unused)) static void
#else
#define BEVEL_MVE_ONCE __attribute__((noinline, noclone, unused)) static void
#endif

/* `vectors` of them, a multiple of eight: codes times `stride` and `least`, or what a table has for them. */
#define BEVEL_SUBBYTE_MVE(bits)                                                                              \
  BEVEL_MVE_ONCE bevel_mve_weights_##bits(                                                                    \
      const uint8_t *restrict stored, int8_t *restrict w, int32_t vectors, int32_t stride, int32_t least) { \
    BEVEL_EIGHT(BEVEL_WEIGHTS, bits)                                                                        \
  }                                                                                                         \
  BEVEL_MVE_ONCE bevel_mve_looked_up_##bits(                                                                  \
      const uint8_t *restrict stored, int8_t *restrict w, int32_t vectors, const int8_t *restrict table) {  \
    BEVEL_EIGHT(BEVEL_LOOKED_UP, bits)                                                                      \
  }

BEVEL_SUBBYTE_MVE(1)
BEVEL_SUBBYTE_MVE(2)
BEVEL_SUBBYTE_MVE(3)
BEVEL_SUBBYTE_MVE(4)
BEVEL_SUBBYTE_MVE(5)
BEVEL_SUBBYTE_MVE(6)
BEVEL_SUBBYTE_MVE(7)

#endif
