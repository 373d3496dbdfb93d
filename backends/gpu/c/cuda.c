/* MODEL on a CUDA device: its memory, its kernels, and one stream of commands in order.
 *
 * The kernels are machine code (MODEL_source.c); functions, buffers and arguments are made by MODEL_init, and a run only
 * puts commands into the stream. MODEL_record makes a graph of each stretch of launches, which is one command then.
 */
#include "MODEL_driver.h"

typedef uint64_t address; /* of the device's memory */

/* What is called of the driver; in the order of `names`. */
struct functions {
  int (*init)(unsigned);
  int (*get_device)(int *, int);
  int (*device_name)(char *, int, int);
  int (*retain_context)(handle *, int);
  int (*release_context)(int);
  int (*push_context)(handle);
  int (*pop_context)(handle *);
  int (*context_device)(int *);
  int (*stream_context)(handle, handle *);
  int (*create_stream)(handle *, unsigned);
  int (*destroy_stream)(handle);
  int (*load_module)(handle *, const void *);
  int (*unload_module)(handle);
  int (*get_function)(handle *, handle, const char *);
  int (*allocate)(address *, size_t);
  int (*release)(address);
  int (*write)(address, const void *, size_t, handle);
  int (*read)(void *, address, size_t, handle);
  int (*launch)(handle, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, handle, void **, void **);
  int (*finish)(handle);
  int (*meaning)(int, const char **);
#ifdef MODEL_TIMED
  int (*create_event)(handle *, unsigned);
  int (*record)(handle, handle);
  int (*elapsed)(float *, handle, handle);
  int (*destroy_event)(handle);
#endif
};

static const char *const names[] = {
    "cuInit",
    "cuDeviceGet",
    "cuDeviceGetName",
    "cuDevicePrimaryCtxRetain",
    "cuDevicePrimaryCtxRelease_v2",
    "cuCtxPushCurrent_v2",
    "cuCtxPopCurrent_v2",
    "cuCtxGetDevice",
    "cuStreamGetCtx",
    "cuStreamCreate",
    "cuStreamDestroy_v2",
    "cuModuleLoadData",
    "cuModuleUnload",
    "cuModuleGetFunction",
    "cuMemAlloc_v2",
    "cuMemFree_v2",
    "cuMemcpyHtoDAsync_v2",
    "cuMemcpyDtoHAsync_v2",
    "cuLaunchKernel",
    "cuStreamSynchronize",
    "cuGetErrorString",
#ifdef MODEL_TIMED
    "cuEventCreate",
    "cuEventRecord",
    "cuEventElapsedTime",
    "cuEventDestroy_v2",
#endif
};

/* What MODEL_record calls; CUDA 11.4 and later have it. */
struct graph_functions {
  int (*begin)(handle, int);
  int (*end)(handle, handle *);
  int (*instantiate)(handle *, handle, unsigned long long);
  int (*launch)(handle, handle);
  int (*destroy_graph)(handle);
  int (*destroy)(handle);
};

static const char *const graph_names[] = {
    "cuStreamBeginCapture_v2", "cuStreamEndCapture", "cuGraphInstantiateWithFlags",
    "cuGraphLaunch",           "cuGraphDestroy",     "cuGraphExecDestroy",
};

#define OF_THIS_THREAD 1 /* calls of other threads go on while a stream is captured */

static const struct library CUDA = {"CUDA", "NVIDIA's driver", "a newer driver", "BEVEL_CUDA_LIBRARY",
                                    {"libcuda.so.1", "libcuda.so"}};

/* An argument as the driver reads it: an address, or a number. */
union value {
  address place;
  int32_t number;
};

struct state {
  struct side side;
  struct functions cu;
  struct graph_functions graph;
  handle graphs[MODEL_STRETCHES + 1]; /* that run; NULL where launches are not recorded */
  handle context, module;
  int device, owns_context; /* else stream and context are the caller's */
  address memories[MODEL_MEMORIES];
  handle kernels[MODEL_LAUNCHES + 1];
  union value values[MODEL_ARGUMENTS + 1];
  void *arguments[MODEL_ARGUMENTS + 1];
#ifdef MODEL_TIMED
  handle events[2 * MODEL_LAUNCHES + 1]; /* before and behind each launch */
#endif
};

#ifdef MODEL_TIMED
static int timing; /* whether the device times each launch: for measuring alone */
#endif

/* A mark in the stream. */
static int marked(struct state *s, uint32_t event) {
#ifdef MODEL_TIMED
  if (timing) return s->cu.record(s->events[event], s->side.queue);
#endif
  (void)s;
  (void)event;
  return 0;
}

static const char *make_events(struct state *s) {
#ifdef MODEL_TIMED
  uint32_t i;
  for (i = 0; timing && i != 2 * MODEL_LAUNCHES; i++) TRY("an event", s->cu.create_event(&s->events[i], 0));
#endif
  (void)s;
  return NULL;
}

static void free_events(struct state *s) {
#ifdef MODEL_TIMED
  uint32_t i;
  for (i = 0; i != 2 * MODEL_LAUNCHES; i++)
    if (s->events[i]) s->cu.destroy_event(s->events[i]);
#endif
  (void)s;
}

static const char *meaning(const struct state *s, int32_t status) {
  const char *text = NULL;
  return s->cu.meaning(status, &text) || !text ? "refused" : text;
}

/* That of the caller's stream, or else of the first device. */
static const char *find_context(struct state *s, void *stream) {
  if (stream) {
    s->side.queue = stream;
    TRY("the stream", s->cu.stream_context(stream, &s->context));
    return NULL;
  }
  TRY("the first device", s->cu.get_device(&s->device, 0));
  TRY("a context", s->cu.retain_context(&s->context, s->device));
  s->owns_context = 1;
  return NULL;
}

static const char *open_stream(struct state *s) {
  TRY("the device", s->cu.context_device(&s->device));
  TRY("its name", s->cu.device_name(s->side.device_name, (int)sizeof s->side.device_name - 1, s->device));
  if (s->owns_context) TRY("a stream", s->cu.create_stream(&s->side.queue, 1)); /* that waits for no default one */
  return NULL;
}

static const char *make_memories(struct state *s) {
  uint32_t i;
  int status;
  for (i = 0; i < MODEL_MEMORIES; i++) {
    if ((status = s->cu.allocate(&s->memories[i], MODEL_memory_bytes[i])) != 0)
      return no_memory(s, MODEL_memory_bytes[i], status);
  }
  for (i = 0; i != MODEL_CONSTANTS; i++) {
    const struct MODEL_constant *one = &MODEL_constants[i];
    TRY("the weights", s->cu.write(s->memories[1] + one->offset, one->data, one->bytes, s->side.queue));
  }
  TRY("the weights", s->cu.finish(s->side.queue));
  return NULL;
}

static const char *make_kernels(struct state *s) {
  uint32_t i;
  if (MODEL_LAUNCHES == 0) return NULL; /* all is the host's */
  TRY("the kernels", s->cu.load_module(&s->module, MODEL_image));
  for (i = 0; i != MODEL_LAUNCHES; i++)
    TRY(MODEL_launches[i].kernel, s->cu.get_function(&s->kernels[i], s->module, MODEL_launches[i].kernel));
  for (i = 0; i != MODEL_ARGUMENTS; i++) {
    const struct MODEL_argument *one = &MODEL_arguments[i];
    if (one->memory < MODEL_MEMORIES) s->values[i].place = s->memories[one->memory] + one->value;
    else s->values[i].number = (int32_t)one->value;
    s->arguments[i] = &s->values[i];
  }
  return NULL;
}

static const char *made(struct state *s, void *stream) {
  const char *why;
  handle popped;
  TRY("the driver", s->cu.init(0));
  if ((why = find_context(s, stream)) != NULL) return why;
  TRY("the context", s->cu.push_context(s->context));
  why = open_stream(s);
  if (!why) why = make_memories(s);
  if (!why) why = make_kernels(s);
  if (!why) why = make_events(s);
  s->cu.pop_context(&popped);
  return why;
}

const char *MODEL_init(void *arena, void *stream, const char *cache) {
  struct state *const s = begun(arena, sizeof *s);
  const char *why;
  (void)cache; /* the kernels are built */
  if (!s) return "MODEL: no memory";
  why = load_library(&s->side, &CUDA, names, &s->cu, sizeof s->cu);
  return why ? why : made(s, stream);
}

static void forget_graphs(struct state *s) {
  uint32_t i;
  for (i = 0; i != MODEL_STRETCHES; i++) {
    if (s->graphs[i]) s->graph.destroy(s->graphs[i]);
    s->graphs[i] = NULL;
  }
}

void MODEL_destroy(void *arena) {
  struct state *const s = state_of(arena);
  handle popped;
  uint32_t i;
  if (!s || s->side.arena != arena) return;
  if (s->context && !s->cu.push_context(s->context)) {
    if (s->side.queue) s->cu.finish(s->side.queue);
    free_events(s);
    forget_graphs(s);
    if (s->module) s->cu.unload_module(s->module);
    for (i = 0; i < MODEL_MEMORIES; i++)
      if (s->memories[i]) s->cu.release(s->memories[i]);
    if (s->owns_context && s->side.queue) s->cu.destroy_stream(s->side.queue);
    s->cu.pop_context(&popped);
  }
  if (s->owns_context) s->cu.release_context(s->device);
  ended(arena, s);
}

/* The calling thread's context is the model's while commands are put into the stream. */
static const char *entered(struct state *s) {
  if (!s) return "MODEL: MODEL_init was not called";
  TRY("the context", s->cu.push_context(s->context));
  return NULL;
}

static const char *left(struct state *s, const char *what, int status) {
  handle popped;
  s->cu.pop_context(&popped);
  return status ? failed(s, what, status) : NULL;
}

const char *MODEL_upload(void *arena, size_t offset, size_t bytes) {
  struct state *s = state_of(arena);
  const char *why = entered(s);
  if (why) return why;
  return left(s, "an input", s->cu.write(s->memories[0] + offset, (uint8_t *)arena + offset, bytes, s->side.queue));
}

const char *MODEL_download(void *arena, size_t offset, size_t bytes) {
  struct state *s = state_of(arena);
  const char *why = entered(s);
  if (why) return why;
  return left(s, "an output", s->cu.read((uint8_t *)arena + offset, s->memories[0] + offset, bytes, s->side.queue));
}

/* Puts launches into the stream. `what`: the kernel that the driver refused. */
static int launched(struct state *s, uint32_t first, uint32_t count, const char **what) {
  uint32_t i;
  int status = 0;
  for (i = first; i < first + count && !status; i++) {
    const struct MODEL_launch *one = &MODEL_launches[i];
    void **const arguments = s->arguments + one->first;
    *what = one->kernel;
    status = marked(s, 2 * i);
    if (!status)
      status = s->cu.launch(s->kernels[i], one->groups, 1, 1, one->threads, 1, 1, 0, s->side.queue, arguments, NULL);
    if (!status) status = marked(s, 2 * i + 1);
  }
  return status;
}

const char *MODEL_start(void *arena, uint32_t first, uint32_t count) {
  struct state *s = state_of(arena);
  const char *why = entered(s), *what = "";
  int status;
  if (why) return why;
  status = launched(s, first, count, &what);
  return left(s, what, status);
}

const char *MODEL_stretch(void *arena, uint32_t number) {
  struct state *s = state_of(arena);
  const char *why;
  if (!s || !s->graphs[number]) return MODEL_start(arena, MODEL_stretches[number].first, MODEL_stretches[number].count);
  if ((why = entered(s)) != NULL) return why;
  return left(s, "the launches", s->graph.launch(s->graphs[number], s->side.queue));
}

/* The graph of a stretch. Whatever happens, the stream takes commands again behind it. */
static int recorded(struct state *s, uint32_t number, const char **what) {
  handle graph = NULL;
  int status = s->graph.begin(s->side.queue, OF_THIS_THREAD), ended;
  *what = "recording";
  if (status) return status;
  status = launched(s, MODEL_stretches[number].first, MODEL_stretches[number].count, what);
  ended = s->graph.end(s->side.queue, &graph);
  if (!status) status = ended;
  if (!status) status = s->graph.instantiate(&s->graphs[number], graph, 0);
  if (graph) s->graph.destroy_graph(graph);
  return status;
}

const char *MODEL_record(void *arena) {
  struct state *s = state_of(arena);
  const char *why = entered(s), *what = "";
  uint32_t i;
  int status = 0;
  handle popped;
  if (why) return why;
  why = find_functions(&s->side, &CUDA, graph_names, &s->graph, sizeof s->graph);
  for (i = 0; !why && i != MODEL_STRETCHES && !status; i++)
    if (!s->graphs[i] && MODEL_stretches[i].count) status = recorded(s, i, &what);
  if (!why) return left(s, what, status);
  s->cu.pop_context(&popped);
  return why;
}

const char *MODEL_wait(void *arena) {
  struct state *s = state_of(arena);
  const char *why = entered(s);
  if (why) return why;
  return left(s, "waiting", s->cu.finish(s->side.queue));
}

/* Launches copy their arguments. */
const char *MODEL_bind(void *arena, uint32_t input, void *buffer, size_t offset) {
  struct state *s = state_of(arena);
  const char *why = MODEL_wait(arena);
  uint32_t i;
  if (why) return why;
  if (offset % ALIGNED) return said(&s->side, "an input begins at a multiple of %d bytes", ALIGNED);
  if ((why = entered(s)) != NULL) return why;
  forget_graphs(s);
  for (i = MODEL_inputs[input].first; i != MODEL_inputs[input].first + MODEL_inputs[input].uses; i++) {
    const uint32_t place = MODEL_launches[MODEL_uses[i].launch].first + MODEL_uses[i].argument;
    const struct MODEL_argument *own = &MODEL_arguments[place];
    const address bound = (address)(uintptr_t)buffer + offset + MODEL_uses[i].first;
    s->values[place].place = buffer ? bound : s->memories[own->memory] + own->value;
  }
  s->side.bound[input] = buffer != NULL;
  return left(s, "", 0);
}

#ifdef MODEL_TIMED
int MODEL_on_cpu(const void *arena) {
  (void)arena;
  return 0;
}

void MODEL_time_launches(void) { timing = 1; }

const char *MODEL_launch_times(void *arena, uint64_t *nanoseconds) {
  struct state *s = state_of(arena);
  const char *why = entered(s);
  float milliseconds;
  uint32_t i;
  int status = 0;
  if (why) return why;
  for (i = 0; i != MODEL_LAUNCHES && !status; i++) {
    status = s->cu.elapsed(&milliseconds, s->events[2 * i], s->events[2 * i + 1]);
    nanoseconds[i] = (uint64_t)(1e6 * milliseconds);
  }
  return left(s, "its time", status);
}
#endif
