/* QEMU's virt board for RISC-V, and other boards with an NS16550A: that UART for output, mcycle for time.
 *
 * A board whose UART needs a baud rate gets it from its boot loader; simulators do not ask for one.
 */
#include "board.h"

#ifndef BEVEL_UART
#error "BEVEL_UART: the base address of the board's first NS16550A"
#endif

#define UART ((volatile uint8_t *)BEVEL_UART)
#define DATA 0
#define LINE_STATUS 5
#define TRANSMIT_EMPTY 0x20u

#define READ_CONTROL_REGISTER(name, value) \
  __asm volatile(".option push\n.option arch, +zicsr\ncsrr %0, " name "\n.option pop\n" : "=r"(value)::"memory")

static uint64_t started;

static uint64_t cycles(void) {
  uint32_t high, low, again;
  do { /* the lower half may wrap between the two reads */
    READ_CONTROL_REGISTER("mcycleh", high);
    READ_CONTROL_REGISTER("mcycle", low);
    READ_CONTROL_REGISTER("mcycleh", again);
  } while (high != again);
  return (uint64_t)high << 32 | low;
}

void board_start(void) { started = cycles(); }

void board_put(char byte) {
  while (!(UART[LINE_STATUS] & TRANSMIT_EMPTY)) {
  }
  UART[DATA] = (uint8_t)byte;
}

uint64_t board_ticks(void) { return cycles() - started; }
