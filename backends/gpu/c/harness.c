/* Runs a model on a file of vectors, and writes what came out, of the model and of each of its calls.
 *
 *   harness VECTORS OUTPUTS CACHE                 outputs of every vector, in order
 *   harness VECTORS OUTPUTS CACHE CALLS COUNT     then all that each call of the first COUNT vectors writes
 *   harness VECTORS TIMES CACHE SECONDS           nanoseconds: of runs, as many as fit
 *   harness VECTORS TIMES CACHE launches SECONDS  of each launch of such runs, by the device's own clock
 *
 * With `recorded` as the last word of any of these, launches are recorded before (MODEL_record).
 * The first line on standard output names the device, the second says whether it is a CPU.
 */
#define _POSIX_C_SOURCE 200809L
#include "harness.h"

#include "MODEL_profile.h"

static _Alignas(64) uint8_t arena[ARENA_BYTES];

static void must(const char *why) {
  if (why) {
    fprintf(stderr, "%s\n", why);
    exit(4);
  }
}

static void fill(const struct vectors *v, uint64_t vector) {
  const uint8_t *from = v->data + vector * v->stride + MARK;
#ifdef RESET
  uint64_t begins;
  memcpy(&begins, from - MARK, MARK);
  if (begins) must(RESET(arena));
#endif
  for (uint64_t i = 0; i < v->inputs; i++) {
    const uint64_t bytes = v->slots[i].bytes;
    void *const one = malloc(bytes); /* aligned for any type */
    if (!one) fail("no memory for", "an input");
    memcpy(one, from, bytes);
    MODEL_fill(arena, (int)i, one);
    free(one);
    from += bytes;
  }
}

static void write_outputs(const struct vectors *v, FILE *file) {
  for (uint64_t vector = 0; vector < v->count; vector++) {
    fill(v, vector);
    must(RUN(arena));
    for (uint64_t i = 0; i < v->outputs; i++) {
      const uint64_t bytes = v->slots[v->inputs + i].bytes;
      void *const one = malloc(bytes);
      if (!one) fail("no memory for", "an output");
      MODEL_fetch(arena, (int)i, one);
      write_or_fail(one, bytes, file);
      free(one);
    }
  }
}

static void write_call(void *file, int call) {
  for (uint32_t i = 0; i < MODEL_written_count; i++) {
    const uint32_t *one = MODEL_written[i];
    if (one[0] == (uint32_t)call) write_or_fail(arena + one[1], one[2], (FILE *)file);
  }
}

static void write_calls(const struct vectors *v, uint64_t count, FILE *file) {
  for (uint64_t vector = 0; vector < count && vector < v->count; vector++) {
    fill(v, vector);
    must(MODEL_run_profiled(arena, write_call, file));
  }
}

static void write_times(const struct vectors *v, double seconds, FILE *file) {
  const uint64_t start = now();
  for (uint64_t i = 0; i < MOST_RUNS && (i < FEWEST_RUNS || now() - start < (uint64_t)(seconds * 1e9)); i++) {
    uint64_t begin, taken;
    fill(v, i % v->count);
    begin = now();
    must(RUN(arena));
    taken = now() - begin;
    write_or_fail(&taken, sizeof taken, file);
  }
}

static void write_launch_times(const struct vectors *v, double seconds, FILE *file) {
  static uint64_t taken[MODEL_LAUNCHES + 1];
  const uint64_t start = now();
  for (uint64_t i = 0; i < MOST_RUNS && (i < FEWEST_RUNS || now() - start < (uint64_t)(seconds * 1e9)); i++) {
    fill(v, i % v->count);
    must(RUN(arena));
    must(MODEL_launch_times(arena, taken));
    write_or_fail(taken, MODEL_LAUNCHES * sizeof *taken, file);
  }
}

static FILE *open_results(const char *name) {
  FILE *file = fopen(name, "wb");
  if (!file) fail("cannot write", name);
  return file;
}

int main(int count, char **words) {
  const int recorded = count > 4 && !strcmp(words[count - 1], "recorded");
  count -= recorded;
  if (count < 4) fail("usage:", "harness VECTORS RESULTS CACHE [SECONDS | launches SECONDS | CALLS COUNT]");
  const int launches = count > 5 && !strcmp(words[4], "launches");
  const struct vectors v = open_vectors(words[1]);
  FILE *file = open_results(words[2]);
  if (launches) MODEL_time_launches();
  must(MODEL_init(arena, NULL, words[3][0] ? words[3] : NULL));
  if (recorded) must(MODEL_record(arena));
  puts(MODEL_device_name(arena));
  puts(MODEL_on_cpu(arena) ? "cpu" : "no cpu");
  if (launches) {
    write_launch_times(&v, atof(words[5]), file);
  } else if (count == 5) {
    write_times(&v, atof(words[4]), file);
  } else {
    write_outputs(&v, file);
  }
  if (count > 5 && !launches) {
    FILE *calls = open_results(words[4]);
    write_calls(&v, strtoull(words[5], NULL, 10), calls);
    if (fclose(calls)) fail("cannot write", words[4]);
  }
  MODEL_destroy(arena);
  if (fclose(file)) fail("cannot write", words[2]);
  return 0;
}
