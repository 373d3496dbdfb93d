/* What harnesses share: a file of vectors, results that are written or nothing, a clock.
 *
 * VECTORS holds uint64 numbers: vectors, inputs, outputs, then (offset, bytes) of each input and output; behind them
 * the inputs of every vector, those of a model with RESET behind a uint64 that says whether to call it.
 */
#ifndef BEVEL_HARNESS_H
#define BEVEL_HARNESS_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define MOST_RUNS 20000
#define FEWEST_RUNS 5

struct slot {
  uint64_t offset, bytes;
};

struct vectors {
  uint64_t count, inputs, outputs;
  const struct slot *slots; /* inputs, then outputs */
  const uint8_t *data;
  uint64_t stride; /* bytes of one vector's inputs */
};

static uint64_t now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

static void fail(const char *what, const char *name) {
  fprintf(stderr, "%s %s\n", what, name);
  exit(3);
}

static uint8_t *read_file(const char *name) {
  FILE *file = fopen(name, "rb");
  if (!file || fseek(file, 0, SEEK_END)) fail("cannot read", name);
  const long size = ftell(file);
  uint8_t *bytes = malloc((size_t)size + 1);
  rewind(file);
  if (!bytes || fread(bytes, 1, (size_t)size, file) != (size_t)size) fail("cannot read", name);
  fclose(file);
  return bytes;
}

static void write_or_fail(const void *bytes, size_t size, FILE *file) {
  if (fwrite(bytes, 1, size, file) != size) fail("cannot write", "the results");
}

#ifdef RESET
#define MARK sizeof(uint64_t)
#else
#define MARK 0
#endif

static struct vectors open_vectors(const char *name) {
  const uint8_t *bytes = read_file(name);
  const uint64_t *head = (const uint64_t *)bytes;
  struct vectors v = {head[0], head[1], head[2], (const struct slot *)(head + 3), NULL, MARK};
  v.data = (const uint8_t *)(v.slots + v.inputs + v.outputs);
  for (uint64_t i = 0; i < v.inputs; i++) v.stride += v.slots[i].bytes;
  return v;
}

#endif
