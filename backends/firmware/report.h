/* The measuring protocol, version 1: what the firmware says about the model it carries.
 *
 * Text lines on the board's output, each an event and its keys:
 *
 *   bevel 1 model=tiny vectors=8 calls=3
 *   vector 0 mismatches=0 ticks=1234               one line a vector; mismatches are elements
 *   mismatch vector=0 output=0 element=7 got=0x03 expected=0x04      the first one only
 *   call 0 ticks=400                               one line a kernel call, from one more run of vector 0
 *   end mismatches=0 crc=0x1b2c3d4e ticks=9872 stack=512 reserved=16384
 *
 * or, instead of the rest, after a fault:
 *
 *   fault exception=3 pc=0x00001234 lr=0x00001111
 *
 * `ticks` has the cost of reading the clock taken off (a call of an empty function measures it). `crc` is the CRC-32
 * (IEEE 802.3) of every output byte of every vector. `stack` is the deepest use of the stack in bytes,
 * of those `reserved`; where they are equal it ran over its end, and nothing in the report can be trusted. The same
 * numbers stay in `bevel_report` for a debugger, and the processor ends up in `bevel_done`.
 */
#ifndef BEVEL_REPORT_H
#define BEVEL_REPORT_H

#include <stdint.h>

#include "bevel_model.h"

#define BEVEL_PROTOCOL 1
#define BEVEL_MAGIC 0x4C564542u /* "BEVL" */
#define BEVEL_PART 64 /* the most elements that a conversion of an output gives at once */
#define BEVEL_STACK_PAINT 0xB5B5B5B5u

struct bevel_report {
  uint32_t magic; /* written last: the report is complete when this reads BEVEL_MAGIC */
  uint32_t protocol, vectors, calls, mismatches, crc, stack, reserved;
  uint64_t ticks;
};

/* One graph input or output as the application sees it, and where it lies in the arena, unless it is converted: an input
 * by `set`, an output by `get`, a few elements in each part (<model>_kernels.h). */
struct bevel_tensor {
  uint32_t offset, bytes, element_bytes;
  void (*set)(void *arena, const float *values);
  uint32_t (*get)(const void *arena, uint32_t part, float *values);
};

/* What the generated glue of one model (firmware_model.c) tells the report. */
struct bevel_model {
  const char *name;
#if BEVEL_STATES
  void (*reset)(void *arena);
#endif
  void (*run)(void *arena);
  void (*run_profiled)(void *arena, void (*after)(int call));
  uint8_t *arena;
  const struct bevel_tensor *inputs, *outputs;
  uint32_t input_count, output_count, calls;
  uint64_t *call_ticks; /* room for `calls` */
};

/* The section .vectors: a count, then for each vector its inputs and the outputs expected of it, each filled up to whole
 * words; with BEVEL_STATES first a word that says whether to call it before. */
struct bevel_vectors {
  uint32_t count;
  uint8_t data[];
};

extern const struct bevel_model bevel_model;
extern const struct bevel_vectors bevel_vectors;
extern struct bevel_report bevel_report;

void bevel_main(void);
void bevel_fault(uint32_t exception, uint32_t pc, uint32_t lr);
__attribute__((noreturn)) void bevel_done(void);

#endif
