/* What has to be done to memory between reset and main, on any core; called from Reset_Handler's C part only. */
#ifndef BEVEL_MEMORY_IMAGE_H
#define BEVEL_MEMORY_IMAGE_H

#include <stdint.h>

#include "report.h"

#define PAINT_MARGIN 16 /* words below the caller's frame that its own calls may use */

extern uint32_t _stack_bottom[], _stack_top[], _data_source[], _data_begin[], _data_end[], _bss_begin[], _bss_end[];

/* So that bevel_main can say how deep the stack went. */
static inline void paint_stack(void) {
  uint32_t *end = (uint32_t *)__builtin_frame_address(0) - PAINT_MARGIN;
  for (uint32_t *word = _stack_bottom; word < end; word++) *word = BEVEL_STACK_PAINT;
}

static inline void load_variables(void) {
  const uint32_t *source = _data_source;
  for (uint32_t *word = _data_begin; word < _data_end; word++) *word = *source++;
  for (uint32_t *word = _bss_begin; word < _bss_end; word++) *word = 0;
}

#endif
