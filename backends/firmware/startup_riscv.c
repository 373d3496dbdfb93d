/* From reset to main on a RISC-V core in machine mode: stack pointer, trap vector, memory image, and what happens on a
 * trap. (The RISC-V Instruction Set Manual, volume II, 3.1: mtvec, mcause, mepc.) */
#include "memory_image.h"
#include "report.h"

/* Compilers count the control registers to an extension that rv32imc does not name. */
#define WITH_CONTROL_REGISTERS ".option push\n.option arch, +zicsr\n"

void Reset_Handler(void);
void start(void);
void trap(void);

/* The core starts at the first instruction of flash, which the linker script makes this one. */
__attribute__((naked, used, section(".reset"))) void Reset_Handler(void) {
  __asm volatile(WITH_CONTROL_REGISTERS
                 "la sp, _stack_top\n"
                 "la t0, trap\n"
                 "csrw mtvec, t0\n"
                 "tail start\n"
                 ".option pop\n");
}

/* The stack may have run over its end, and nothing returns from here: start it anew. */
__attribute__((naked, used, aligned(4))) void trap(void) {
  __asm volatile(WITH_CONTROL_REGISTERS
                 "csrr a0, mcause\n"
                 "csrr a1, mepc\n"
                 "mv a2, ra\n"
                 "la sp, _stack_top\n"
                 "tail bevel_fault\n"
                 ".option pop\n");
}

__attribute__((noreturn, used)) void start(void) {
  paint_stack();
  load_variables();
  bevel_main();
  bevel_done();
}
