/* From reset to main: the vector table, the memory image, the units a core may have, and what happens on a fault. */
#include <stdint.h>

#include "report.h"

extern uint32_t _stack_bottom[], _stack_top[], _data_source[], _data_begin[], _data_end[], _bss_begin[], _bss_end[];

void Reset_Handler(void);
void SysTick_Handler(void);

#define CCR (*(volatile uint32_t *)0xE000ED14u)
#define CCR_LOW_OVERHEAD_LOOPS (1u << 19)
#define CPACR (*(volatile uint32_t *)0xE000ED88u)
#define CPACR_FLOAT_AND_VECTOR (0xFu << 20)
#define PAINT_MARGIN 16 /* words below the frame of Reset_Handler that its own calls may use */

/* The frame that the processor pushed is on the stack; nothing here uses the process stack. */
__attribute__((naked)) static void fault(void) {
  __asm volatile(
      ".syntax unified\n"
      "mov r0, sp\n"
      "mrs r1, ipsr\n"
      "ldr r2, 1f\n"
      "bx r2\n"
      ".balign 4\n"
      "1: .word bevel_fault\n");
}

typedef void (*handler)(void);

__attribute__((section(".vector_table"), used)) static const handler vector_table[16] = {
    (handler)_stack_top,
    Reset_Handler,
    fault, /* NMI */
    fault, /* HardFault */
    fault, /* MemManage */
    fault, /* BusFault */
    fault, /* UsageFault */
    fault, /* SecureFault */
    0,
    0,
    0,
    fault, /* SVCall */
    fault, /* DebugMonitor */
    0,
    fault, /* PendSV */
    SysTick_Handler,
};

static void enable_units(void) {
#if defined(__ARM_FP) || defined(__ARM_FEATURE_MVE)
  CPACR |= CPACR_FLOAT_AND_VECTOR;
#endif
#if defined(__ARM_ARCH_8_1M_MAIN__)
  CCR |= CCR_LOW_OVERHEAD_LOOPS;
#endif
  __asm volatile("dsb\n\tisb" ::: "memory");
}

/* So that bevel_main can say how deep the stack went. */
static void paint_stack(void) {
  uint32_t *end = (uint32_t *)__builtin_frame_address(0) - PAINT_MARGIN;
  for (uint32_t *word = _stack_bottom; word < end; word++) *word = BEVEL_STACK_PAINT;
}

__attribute__((noreturn)) void Reset_Handler(void) {
  enable_units();
  paint_stack();
  const uint32_t *source = _data_source;
  for (uint32_t *word = _data_begin; word < _data_end; word++) *word = *source++;
  for (uint32_t *word = _bss_begin; word < _bss_end; word++) *word = 0;
  bevel_main();
  bevel_done();
}
