/* Runs a model on a file of vectors, writes what came out, and then, if asked to, times it.
 *
 *   harness VECTORS OUTPUTS            outputs of every vector, in order
 *   harness VECTORS OUTPUTS marked     the same, then runs between marks that an emulator knows (mark_plugin.c)
 *   harness VECTORS TIMES SECONDS      nanoseconds: of whole runs, then of each call in profiled runs
 *
 * TIMES holds uint64 numbers: runs, profiled runs, calls; behind them the nanoseconds of each run, then of each call of
 * each profiled run. Built with -DMODEL_HEADER="\"m.h\"" -DRUN=m_run -DRUN_PROFILED=m_run_profiled
 * -DARENA_BYTES=M_ARENA_BYTES -DCALLS=3.
 */
#define _POSIX_C_SOURCE 200809L
#include "harness.h"

#include MODEL_HEADER

#define ALIGN 64
#define WARM_UP 3

void RUN_PROFILED(void *arena, void (*after)(int call));

static uint64_t call_times[CALLS + 1];
static uint64_t last_call;

static void load_inputs(const struct vectors *v, uint64_t vector, uint8_t *arena) {
  const uint8_t *from = v->data + vector * v->stride + MARK;
#ifdef RESET
  uint64_t begins;
  memcpy(&begins, from - MARK, MARK);
  if (begins) RESET(arena);
#endif
  for (uint64_t i = 0; i < v->inputs; i++) {
    memcpy(arena + v->slots[i].offset, from, v->slots[i].bytes);
    from += v->slots[i].bytes;
  }
}

static void write_outputs(const struct vectors *v, uint8_t *arena, FILE *file) {
  for (uint64_t vector = 0; vector < v->count; vector++) {
    load_inputs(v, vector, arena);
    RUN(arena);
    for (uint64_t i = v->inputs; i < v->inputs + v->outputs; i++) {
      write_or_fail(arena + v->slots[i].offset, v->slots[i].bytes, file);
    }
  }
}

/* A place that an emulator knows by this function's address. */
__attribute__((noinline)) void bevel_mark(int call);
void bevel_mark(int call) { __asm__ volatile("" : : "r"(call)); }

/* Two marks with nothing between them, two around each vector's run, one at the begin of a profiled run and one behind
 * each of its calls. */
static void mark_runs(const struct vectors *v, uint8_t *arena) {
  bevel_mark(0);
  bevel_mark(0);
  for (uint64_t vector = 0; vector < v->count; vector++) {
    load_inputs(v, vector, arena);
    bevel_mark(0);
    RUN(arena);
    bevel_mark(0);
  }
  load_inputs(v, 0, arena);
  bevel_mark(0);
  RUN_PROFILED(arena, bevel_mark);
}

static void after_call(int call) {
  call_times[call] = now() - last_call;
  last_call = now();
}

static uint64_t time_run(const struct vectors *v, uint64_t vector, uint8_t *arena) {
  load_inputs(v, vector, arena);
  const uint64_t before = now();
  RUN(arena);
  return now() - before;
}

static void profile_run(const struct vectors *v, uint64_t vector, uint8_t *arena) {
  load_inputs(v, vector, arena);
  last_call = now();
  RUN_PROFILED(arena, after_call);
}

static void write_times(const struct vectors *v, uint8_t *arena, double seconds, FILE *file) {
  const uint64_t budget = (uint64_t)(seconds * 1e9);
  uint64_t *times = calloc(MOST_RUNS, sizeof *times);
  uint64_t *profiles = calloc((size_t)MOST_RUNS * (CALLS + 1), sizeof *profiles);
  uint64_t head[3] = {0, 0, CALLS};
  if (!times || !profiles) fail("no memory for", "the results");
  for (int i = 0; i < WARM_UP; i++) time_run(v, 0, arena);
  for (uint64_t start = now(); head[0] < MOST_RUNS && (head[0] < FEWEST_RUNS || now() - start < budget); head[0]++) {
    times[head[0]] = time_run(v, head[0] % v->count, arena);
  }
  for (uint64_t start = now(); head[1] < MOST_RUNS && (head[1] < FEWEST_RUNS || now() - start < budget); head[1]++) {
    profile_run(v, head[1] % v->count, arena);
    memcpy(profiles + head[1] * CALLS, call_times, CALLS * sizeof *profiles);
  }
  write_or_fail(head, sizeof head, file);
  write_or_fail(times, head[0] * sizeof *times, file);
  write_or_fail(profiles, head[1] * CALLS * sizeof *profiles, file);
}

int main(int count, char **words) {
  if (count < 3) fail("usage:", "harness VECTORS RESULTS [SECONDS | marked]");
  const struct vectors v = open_vectors(words[1]);
  uint8_t *arena = NULL;
  if (posix_memalign((void **)&arena, ALIGN, ARENA_BYTES)) fail("no memory for", "the arena");
  FILE *file = fopen(words[2], "wb");
  if (!file) fail("cannot write", words[2]);
  if (count == 3 || !strcmp(words[3], "marked")) {
    write_outputs(&v, arena, file);
    if (count > 3) mark_runs(&v, arena);
  } else {
    write_times(&v, arena, atof(words[3]), file);
  }
  if (fclose(file)) fail("cannot write", words[2]);
  return 0;
}
