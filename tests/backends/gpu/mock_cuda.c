/* CUDA's driver as a model calls it: memory is the host's, and each command is a line of the file MOCK_CUDA_LOG. Kernels
 * run only where MOCK_CUDA_KERNELS names a library of them (emulated_cuda.h). */
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MOST 64

static struct {
  char *start;
  size_t bytes;
} memories[MOST];
static int count;
static char functions[4096][128];
static int known, launched;

/* A graph is what was launched while the stream was captured. */
static struct graph {
  struct {
    const char *kernel;
    unsigned groups, threads;
    void **arguments;
  } launches[4096];
  int count;
} *capturing;

static FILE *log_file(void) {
  static FILE *file;
  if (!file) file = fopen(getenv("MOCK_CUDA_LOG"), "w");
  return file;
}

/* A place as the number of the memory and bytes from its start. */
static void place(uint64_t address) {
  for (int i = 0; i < count; i++) {
    const uint64_t start = (uint64_t)(uintptr_t)memories[i].start;
    if (address >= start && address < start + memories[i].bytes) {
      fprintf(log_file(), " %d+%lu", i, (unsigned long)(address - start));
      return;
    }
  }
  fprintf(log_file(), " ?");
}

int cuInit(unsigned flags) { return (int)flags; }
int cuDeviceGet(int *device, int ordinal) { return *device = ordinal; }
int cuDeviceGetName(char *name, int room, int device) { return snprintf(name, (size_t)room, "mock %d", device) < 0; }
/* 9.2 */
int cuDeviceGetAttribute(int *value, int attribute, int device) { return *value = attribute == 75 ? 9 : 2, device; }
int cuDevicePrimaryCtxRetain(void **context, int device) { return *context = &memories, device; }
int cuDevicePrimaryCtxRelease_v2(int device) { return fprintf(log_file(), "release %d\n", device) < 0; }
int cuCtxPushCurrent_v2(void *context) { return context != &memories; }
int cuCtxPopCurrent_v2(void **context) { return *context = &memories, 0; }
int cuCtxGetDevice(int *device) { return *device = 0; }
int cuStreamGetCtx(void *stream, void **context) { return *context = &memories, stream == NULL; }
int cuStreamCreate(void **stream, unsigned flags) { return *stream = &count, flags != 1; }
int cuStreamDestroy_v2(void *stream) { return stream != &count; }
int cuModuleLoadData(void **module, const void *image) {
  const unsigned char *bytes = image;
  *module = &known;
  return fprintf(log_file(), "module %d%d%d%d\n", bytes[0], bytes[1], bytes[2], bytes[3]) < 0;
}
int cuModuleUnload(void *module) { return module != &known; }
int cuModuleGetFunction(void **function, void *module, const char *name) {
  snprintf(functions[known], sizeof functions[0], "%s", name);
  *function = functions[known++];
  return module != &known;
}
int cuMemAlloc_v2(uint64_t *address, size_t bytes) {
  if (getenv("MOCK_CUDA_FULL")) return 2;
  memories[count].start = calloc(bytes, 1);
  memories[count].bytes = bytes;
  *address = (uint64_t)(uintptr_t)memories[count].start;
  return fprintf(log_file(), "memory %d %lu\n", count++, (unsigned long)bytes) < 0;
}
int cuMemFree_v2(uint64_t address) {
  fprintf(log_file(), "free");
  place(address);
  return fprintf(log_file(), "\n") < 0;
}
int cuMemcpyHtoDAsync_v2(uint64_t to, const void *from, size_t bytes, void *stream) {
  memcpy((void *)(uintptr_t)to, from, bytes);
  fprintf(log_file(), "write");
  place(to);
  fprintf(log_file(), " %lu\n", (unsigned long)bytes);
  return stream != &count;
}
int cuMemcpyDtoHAsync_v2(void *to, uint64_t from, size_t bytes, void *stream) {
  memcpy(to, (void *)(uintptr_t)from, bytes);
  fprintf(log_file(), "read");
  place(from);
  fprintf(log_file(), " %lu\n", (unsigned long)bytes);
  return stream != &count;
}
static void compute(const char *kernel, unsigned groups, unsigned threads, void **arguments) {
  static void (*emulate)(const char *, unsigned, unsigned, void **);
  void *library = NULL;
  if (getenv("MOCK_CUDA_KERNELS") && !emulate) {
    if (!(library = dlopen(getenv("MOCK_CUDA_KERNELS"), RTLD_NOW))) fprintf(stderr, "%s\n", dlerror());
    *(void **)&emulate = dlsym(library, "emulate");
  }
  if (emulate) emulate(kernel, groups, threads, arguments);
}

/* The first `MOCK_CUDA_POINTERS` arguments of every function are looked at. */
int cuLaunchKernel(void *function, unsigned x, unsigned y, unsigned z, unsigned tx, unsigned ty, unsigned tz,
                   unsigned shared, void *stream, void **arguments, void **extra) {
  const int looked = atoi(getenv("MOCK_CUDA_POINTERS"));
  fprintf(log_file(), "%s %s %u %u", capturing ? "record" : "launch", (char *)function, x, tx);
  if (capturing) {
    struct graph *const g = capturing;
    g->launches[g->count].kernel = function, g->launches[g->count].arguments = arguments;
    g->launches[g->count].groups = x, g->launches[g->count++].threads = tx;
  } else {
    launched++;
    compute((const char *)function, x, tx, arguments);
  }
  for (int i = 0; i < looked; i++) place(*(uint64_t *)arguments[i]);
  fprintf(log_file(), "\n");
  return y != 1 || z != 1 || ty != 1 || tz != 1 || shared || extra || stream != &count;
}
#ifndef MOCK_CUDA_OLD
int cuStreamBeginCapture_v2(void *stream, int mode) {
  if (getenv("MOCK_CUDA_FULL_BEHIND")) return 2;
  capturing = calloc(1, sizeof *capturing);
  return stream != &count || mode != 1;
}
int cuStreamEndCapture(void *stream, void **graph) {
  *graph = capturing;
  capturing = NULL;
  return stream != &count;
}
/* What is instantiated is a copy, which stays when the graph goes. */
int cuGraphInstantiateWithFlags(void **running, void *graph, unsigned long long flags) {
  *running = malloc(sizeof(struct graph));
  memcpy(*running, graph, sizeof(struct graph));
  return flags != 0;
}
int cuGraphLaunch(void *running, void *stream) {
  const struct graph *const g = running;
  fprintf(log_file(), "graph %d\n", g->count);
  for (int i = 0; i < g->count; i++)
    compute(g->launches[i].kernel, g->launches[i].groups, g->launches[i].threads, g->launches[i].arguments);
  return stream != &count;
}
int cuGraphDestroy(void *graph) { return memset(graph, 0, sizeof(struct graph)), free(graph), 0; }
int cuGraphExecDestroy(void *running) { return free(running), fprintf(log_file(), "forget\n") < 0; }
#endif
/* An event is how many launches there were before it; each takes 5 us. */
int cuEventCreate(void **event, unsigned flags) { return *event = calloc(1, sizeof(int)), flags != 0; }
int cuEventRecord(void *event, void *stream) { return *(int *)event = launched, stream != &count; }
int cuEventElapsedTime(float *milliseconds, void *from, void *to) {
  return *milliseconds = 5e-3f * (float)(*(int *)to - *(int *)from), 0;
}
int cuEventDestroy_v2(void *event) { return free(event), 0; }
int cuStreamSynchronize(void *stream) { return fprintf(log_file(), "wait\n") < 0 || stream != &count; }
int cuGetErrorString(int status, const char **text) { return *text = status == 2 ? "out of memory" : "an error", 0; }
