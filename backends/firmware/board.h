/* What a board gives to the report: a way out for one byte, and a clock that never runs backwards.
 *
 * One file implements it for a family of boards (board_mps.c); a new board is a new file with these three functions.
 */
#ifndef BEVEL_BOARD_H
#define BEVEL_BOARD_H

#include <stdint.h>

void board_start(void);       /* clock and output ready; called once, before the other two */
void board_put(char byte);    /* returns when the byte is accepted */
uint64_t board_ticks(void);   /* processor clock ticks since board_start */

#endif
