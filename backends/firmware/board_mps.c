/* Arm MPS2 and MPS3 boards, real or simulated: CMSDK UART for output, SysTick for time.
 *
 * SysTick is there on every Cortex-M, v6-M included, and runs at the processor clock. It counts down through 24 bits;
 * its interrupt counts the wraps. The handler is written out so that its length is known: a simulator that counts
 * instructions takes SYSTICK_HANDLER_INSTRUCTIONS (devices/qemu.py) off for each wrap.
 */
#include "board.h"

#ifndef BEVEL_UART
#error "BEVEL_UART: the base address of the board's first CMSDK UART"
#endif

struct cmsdk_uart {
  volatile uint32_t data, state, control, interrupt, divider;
};
struct systick {
  volatile uint32_t control, reload, current;
};

#define UART ((struct cmsdk_uart *)BEVEL_UART)
#define SYSTICK ((struct systick *)0xE000E010u)
#define UART_TRANSMIT_FULL 1u
#define UART_TRANSMIT_ENABLE 1u
#define SYSTICK_ON 7u /* processor clock, interrupt, enable */
#define SYSTICK_TOP 0xFFFFFFu

volatile uint32_t board_wraps;

__attribute__((naked)) void SysTick_Handler(void) {
  __asm volatile(
      ".syntax unified\n"
      "ldr r0, 1f\n"
      "ldr r1, [r0]\n"
      "adds r1, r1, #1\n"
      "str r1, [r0]\n"
      "bx lr\n"
      ".balign 4\n"
      "1: .word board_wraps\n");
}

void board_start(void) {
  UART->divider = 217; /* 115200 baud at 25 MHz; simulators only want it to be 16 or more */
  UART->control = UART_TRANSMIT_ENABLE;
  SYSTICK->reload = SYSTICK_TOP;
  SYSTICK->current = 0;
  SYSTICK->control = SYSTICK_ON;
}

void board_put(char byte) {
  while (UART->state & UART_TRANSMIT_FULL) {
  }
  UART->data = (uint8_t)byte;
}

uint64_t board_ticks(void) {
  uint32_t wraps, current;
  do { /* a wrap between the two reads is seen by reading the first again */
    wraps = board_wraps;
    current = SYSTICK->current;
    __asm volatile("isb" ::: "memory"); /* a wrap that is pending is taken here */
  } while (wraps != board_wraps);
  return ((uint64_t)wraps << 24) + (SYSTICK_TOP - current);
}
