/* CUDA C as C++ for this machine: what kernels call, and launches, warp by warp. Stands before the kernels' own text.
 *
 * The threads of a warp are contexts that take turns. A product of matrices hands over what each of them holds, lets all
 * others come as far, and then computes this thread's sums, with rows and columns where the PTX ISA says that they lie
 * ("Matrix Fragments for mma.m16n8k32", "... mma.m16n8k16", .s8):
 *
 *   A, row-major   a0 row g, word q; a1 row g + 8, word q; a2 row g, word q + 4; a3 row g + 8, word q + 4
 *   B, by columns  b0 column g, word q; b1 column g, word q + 4
 *   C              c0, c1 row g, columns 2 q and 2 q + 1; c2, c3 row g + 8
 *
 * for g = lane / 4, q = lane % 4, words of four int8.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <type_traits>
#include <ucontext.h>
#include <utility>

#define __global__
#define __device__
#define __forceinline__ inline
#define __launch_bounds__(threads)

#define WARP 32
#define STACK 65536

static struct {
  unsigned x;
} blockIdx, threadIdx;

template <class A, class B> static typename std::common_type<A, B>::type min(A a, B b) { return b < a ? b : a; }
template <class A, class B> static typename std::common_type<A, B>::type max(A a, B b) { return a < b ? b : a; }

static inline int __mulhi(int a, int b) { return (int)(((int64_t)a * b) >> 32); }

static inline int __dp4a(int a, int b, int c) {
  for (int i = 0; i < 4; i++) c += (int8_t)(a >> (8 * i)) * (int8_t)(b >> (8 * i));
  return c;
}

static inline unsigned __byte_perm(unsigned a, unsigned b, unsigned places) {
  const uint64_t both = (uint64_t)b << 32 | a;
  unsigned result = 0;
  for (int i = 0; i < 4; i++) result |= (unsigned)(both >> (8 * (places >> (4 * i) & 7)) & 255) << (8 * i);
  return result;
}

static ucontext_t lanes[WARP], warp;
static char stacks[WARP][STACK];
static unsigned lane;
static int ended[WARP], turns[WARP], held[2][WARP][6];

/* This thread's sums, when all have handed over; by turns in two places, as some begin the next product before others
 * have ended this one. */
static void multiply(int *c, const int *words, int wide) {
  const int turn = turns[lane]++ & 1;
  memcpy(held[turn][lane], words, (wide ? 6 : 3) * sizeof *words);
  swapcontext(&lanes[lane], &warp);
  for (unsigned i = 0; i < 4; i++) {
    const unsigned row = lane / 4 + (i / 2) * 8, column = lane % 4 * 2 + i % 2;
    for (unsigned word = 0; word < (wide ? 8u : 4u); word++) {
      const int a = held[turn][row % 8 * 4 + word % 4][row / 8 + word / 4 * 2];
      const int b = held[turn][column * 4 + word % 4][(wide ? 4 : 2) + word / 4];
      c[i] = __dp4a(a, b, c[i]);
    }
  }
}

static void bevel_mma32(int *c, int a0, int a1, int a2, int a3, int b0, int b1) {
  const int words[] = {a0, a1, a2, a3, b0, b1};
  multiply(c, words, 1);
}

static void bevel_mma16(int *c, int a0, int a1, int b0) {
  const int words[] = {a0, a1, b0};
  multiply(c, words, 0);
}

static void (*kernel)(void **);
static void **given;

static void thread(void) {
  kernel(given);
  ended[lane] = 1;
}

static void run_warp(unsigned first, unsigned threads) {
  unsigned left = threads;
  for (unsigned i = 0; i < threads; i++) {
    getcontext(&lanes[i]);
    lanes[i].uc_stack.ss_sp = stacks[i];
    lanes[i].uc_stack.ss_size = STACK;
    lanes[i].uc_link = &warp;
    makecontext(&lanes[i], thread, 0);
    ended[i] = turns[i] = 0;
  }
  while (left)
    for (unsigned i = 0; i < threads; i++)
      if (!ended[i]) {
        lane = i;
        threadIdx.x = first + i;
        swapcontext(&warp, &lanes[i]);
        left -= (unsigned)ended[i];
      }
}

template <class... Given, size_t... Place>
static void call(void (*function)(Given...), void **values, std::index_sequence<Place...>) {
  function(*(Given *)values[Place]...);
}

template <class... Given> static void call(void (*function)(Given...), void **values) {
  call(function, values, std::index_sequence_for<Given...>());
}

struct known {
  const char *name;
  void (*call)(void **);
};
extern const struct known kernels[]; /* behind the kernels; the last one has no name */

extern "C" void emulate(const char *name, unsigned groups, unsigned threads, void **arguments) {
  const struct known *one = kernels;
  while (one->name && strcmp(one->name, name)) one++;
  if (!one->name) abort();
  kernel = one->call;
  given = arguments;
  for (blockIdx.x = 0; blockIdx.x < groups; blockIdx.x++)
    for (unsigned first = 0; first < threads; first += WARP)
      run_warp(first, threads - first < WARP ? threads - first : WARP);
}
