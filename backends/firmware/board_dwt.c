/* Boards with a cycle counter (Armv7-M and later): DWT CYCCNT for time, any UART with a data register for output.
 *
 * The registers of the UART come from the target's file. Clocks, pins and the baud rate are whatever `board_setup`
 * makes them, which the owner of a board writes; without one they are as the reset or a boot loader leaves them.
 *
 * The counter has 32 bits. board_ticks sees that it wrapped when it is read: one kernel call may take up to 2^32
 * cycles, 8.9 s at 480 MHz.
 */
#include "board.h"

#if !defined(BEVEL_UART_DATA) || !defined(BEVEL_UART_STATE) || !defined(BEVEL_UART_READY)
#error "BEVEL_UART_DATA, BEVEL_UART_STATE, BEVEL_UART_READY: the UART's registers and its ready bit"
#endif

#define REGISTER(address) (*(volatile uint32_t *)(address))
#define DEMCR REGISTER(0xE000EDFCu)
#define DEMCR_TRACE (1u << 24)
#define DWT_CONTROL REGISTER(0xE0001000u)
#define DWT_CYCLES REGISTER(0xE0001004u)
#define DWT_UNLOCK REGISTER(0xE0001FB0u) /* a software lock on some parts */
#define UNLOCK_KEY 0xC5ACCE55u

static uint32_t wraps, last;

void board_setup(void);
__attribute__((weak)) void board_setup(void) {}

void SysTick_Handler(void);
void SysTick_Handler(void) {}

void board_start(void) {
  board_setup();
  DEMCR |= DEMCR_TRACE;
  DWT_UNLOCK = UNLOCK_KEY;
  DWT_CYCLES = 0;
  DWT_CONTROL |= 1;
  wraps = last = 0;
}

void board_put(char byte) {
  while (!(REGISTER(BEVEL_UART_STATE) & BEVEL_UART_READY)) {
  }
  REGISTER(BEVEL_UART_DATA) = (uint8_t)byte;
}

uint64_t board_ticks(void) {
  const uint32_t now = DWT_CYCLES;
  wraps += now < last;
  last = now;
  return ((uint64_t)wraps << 32) + now;
}
