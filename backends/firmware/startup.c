/* From reset to main on a Cortex-M: the vector table, the memory image, the units a core may have, and what happens on a
 * fault. */
#include <stdint.h>

#include "memory_image.h"
#include "report.h"

void Reset_Handler(void);
void SysTick_Handler(void);

#define CCR (*(volatile uint32_t *)0xE000ED14u)
#define CCR_LOW_OVERHEAD_LOOPS (1u << 19)
#define CPACR (*(volatile uint32_t *)0xE000ED88u)
#define CPACR_FLOAT_AND_VECTOR (0xFu << 20)

/* The processor pushed r0 r1 r2 r3 r12 lr pc xpsr; nothing here uses the process stack. */
__attribute__((naked)) static void fault(void) {
  __asm volatile(
      ".syntax unified\n"
      "mov r3, sp\n"
      "mrs r0, ipsr\n"
      "ldr r1, [r3, #24]\n"
      "ldr r2, [r3, #20]\n"
      "ldr r3, 1f\n"
      "bx r3\n"
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

__attribute__((noreturn)) void Reset_Handler(void) {
  enable_units();
  paint_stack();
  load_variables();
  bevel_main();
  bevel_done();
}
