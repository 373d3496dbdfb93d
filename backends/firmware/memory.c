/* The two library functions that compilers emit calls to on their own. Built with -ffreestanding and without the loop
 * recognition that would turn these loops into calls of themselves. */
#include <stddef.h>
#include <stdint.h>

typedef uint32_t word __attribute__((may_alias));

static int is_aligned(uintptr_t address) { return (address & (sizeof(word) - 1)) == 0; }

void *memcpy(void *restrict to, const void *restrict from, size_t bytes) {
  uint8_t *out = to;
  const uint8_t *in = from;
  if (is_aligned((uintptr_t)out | (uintptr_t)in)) {
    for (; bytes >= sizeof(word); bytes -= sizeof(word), out += sizeof(word), in += sizeof(word)) {
      *(word *)out = *(const word *)in;
    }
  }
  while (bytes--) *out++ = *in++;
  return to;
}

void *memset(void *to, int value, size_t bytes) {
  uint8_t *out = to;
  const uint8_t byte = (uint8_t)value;
  const word four = byte * 0x01010101u;
  if (is_aligned((uintptr_t)out)) {
    for (; bytes >= sizeof(word); bytes -= sizeof(word), out += sizeof(word)) *(word *)out = four;
  }
  while (bytes--) *out++ = byte;
  return to;
}
