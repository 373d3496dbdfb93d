/* MODEL on an OpenCL device: its memory, its kernels, and one queue of commands in order.
 *
 * Kernels are built from source once for a device and its driver: with a folder for it, the driver's binary is kept
 * there and taken the next time. Buffers, kernels and their arguments are made by MODEL_init; a run only puts commands
 * into the queue. MODEL_record keeps each stretch of launches in a command buffer, which is one command then
 * (cl_khr_command_buffer).
 */
#include "MODEL_opencl.h"

#define MOST_PLATFORMS 16

struct state {
  struct side side;
  struct functions cl;
  handle context, device, program, memories[MODEL_MEMORIES];
  int owns_context; /* else queue and context are the caller's */
  handle kernels[MODEL_LAUNCHES + 1];
  struct recording recording;
  handle recorded[MODEL_STRETCHES + 1]; /* command buffers; NULL where launches are not recorded */
  const char *options; /* of the kernels' compiler */
#ifdef MODEL_TIMED
  handle events[MODEL_LAUNCHES + 1];
#endif
};

static int timing; /* whether the device times each launch: for measuring alone */

/* Four products at a time, in a language that knows them, or as OpenCL C 1.2 says it. */
static const char DOTS[] = "-cl-std=CL3.0 -DBEVEL_DOTS", PLAIN[] = "-cl-std=CL1.2";

static const char *meaning(const struct state *s, int32_t status) {
  (void)s;
  switch (status) {
  case -1: return "no such device";
  case -3: return "the compiler is not available";
  case -4: return "no memory for a buffer";
  case -5: return "out of resources";
  case -6: return "no memory";
  case -11: return "building failed";
  case -36: return "no such queue";
  case -54: return "the device allows no work-group of that size";
  case -61: return "the device allows no buffer of that size";
  default: return "refused";
  }
}

/* The first GPU of any platform, or else the first device. */
static const char *find_device(struct state *s) {
  handle platforms[MOST_PLATFORMS];
  uint32_t count = 0, i;
  int pass;
  if (s->cl.get_platforms(MOST_PLATFORMS, platforms, &count) || !count)
    return said(&s->side, "OpenCL has no platform here: no driver is installed");
  if (count > MOST_PLATFORMS) count = MOST_PLATFORMS;
  for (pass = 0; pass < 2; pass++)
    for (i = 0; i < count; i++)
      if (!s->cl.get_devices(platforms[i], pass ? ANY : GPU, 1, &s->device, NULL)) return NULL;
  return said(&s->side, "OpenCL has no device here");
}

static const char *open_queue(struct state *s, void *queue) {
  int32_t status = 0;
  uint64_t properties = 0;
  const char *why;
  if (queue) {
    TRY("the queue", s->cl.retain_queue(queue));
    s->side.queue = queue;
    TRY("the queue", s->cl.queue_info(queue, QUEUE_CONTEXT, sizeof s->context, &s->context, NULL));
    TRY("the queue", s->cl.queue_info(queue, QUEUE_DEVICE, sizeof s->device, &s->device, NULL));
    TRY("the queue", s->cl.queue_info(queue, QUEUE_PROPERTIES, sizeof properties, &properties, NULL));
    if (properties & OUT_OF_ORDER) return said(&s->side, "the queue must keep its commands in order");
    return NULL;
  }
  if ((why = find_device(s)) != NULL) return why;
  s->context = s->cl.create_context(NULL, 1, &s->device, NULL, NULL, &status);
  TRY("a context", status);
  s->owns_context = 1;
  s->side.queue = s->cl.create_queue(s->context, s->device, timing ? WITH_TIMES : 0, &status);
  TRY("a queue", status);
  return NULL;
}

/* What the device says of itself, however long that is, for the caller to free; NULL where it says nothing. */
static char *told(struct state *s, uint32_t what) {
  size_t bytes = 0;
  char *text;
  if (s->cl.device_info(s->device, what, 0, NULL, &bytes) || !bytes) return NULL;
  text = (char *)calloc(bytes + 1, 1);
  if (text) s->cl.device_info(s->device, what, bytes, text, NULL);
  return text;
}

#include "MODEL_kept.h"

/* Whether the device has an extension, by its list. */
static int has(struct state *s, const char *extension) {
  char *const list = told(s, DEVICE_EXTENSIONS);
  const int found = list && strstr(list, extension) != NULL;
  free(list);
  return found;
}

/* Whether it multiplies four int8 at a time. */
static int has_dots(struct state *s) {
  char *const version = told(s, DEVICE_VERSION);
  const int known = version && !strncmp(version, "OpenCL 3.", 9);
  free(version);
  return known && has(s, "cl_khr_integer_dot_product");
}

/* Behind the line that is said, the begin of what the kernels' compiler said. */
static void add_log(struct state *s) {
  char *const error = s->side.error, *log;
  const size_t begin = strlen(error);
  size_t bytes = 0;
  if (s->cl.build_info(s->program, s->device, PROGRAM_BUILD_LOG, 0, NULL, &bytes) || !bytes) return;
  log = (char *)calloc(bytes + 1, 1);
  if (log && !s->cl.build_info(s->program, s->device, PROGRAM_BUILD_LOG, bytes, log, NULL))
    snprintf(error + begin, sizeof s->side.error - begin, "%s", log);
  free(log);
}

static const char *build_program(struct state *s, const char *cache) {
  const char **parts = (const char **)(uintptr_t)MODEL_source;
  char path[1024];
  int32_t status = 0;
  if (MODEL_SOURCES == 0) return NULL; /* all is the host's */
  if (cache && !binary_path(s, cache, path, sizeof path)) cache = NULL; /* another file's name otherwise */
  if (cache && from_binary(s, path)) return NULL;
  s->program = s->cl.program_from_source(s->context, MODEL_SOURCES, parts, NULL, &status);
  TRY("the kernels' source", status);
  status = s->cl.build(s->program, 1, &s->device, s->options, NULL, NULL);
  if (status) {
    said(&s->side, "the kernels: %s (%d) on %s\n", meaning(s, status), (int)status, s->side.device_name);
    add_log(s);
    return s->side.error;
  }
  if (cache) keep_binary(s, path);
  return NULL;
}

static const char *make_buffers(struct state *s) {
  int32_t status = 0;
  uint32_t i;
  for (i = 0; i < MODEL_MEMORIES; i++) {
    s->memories[i] = s->cl.create_buffer(s->context, READ_WRITE, MODEL_memory_bytes[i], NULL, &status);
    if (status) return no_memory(s, MODEL_memory_bytes[i], status);
  }
  for (i = 0; i != MODEL_CONSTANTS; i++) {
    const struct MODEL_constant *one = &MODEL_constants[i];
    TRY("the weights", s->cl.write(s->side.queue, s->memories[1], 1, one->offset, one->bytes, one->data, 0, NULL, NULL));
  }
  return NULL;
}

static const char *make_kernels(struct state *s) {
  int32_t status = 0;
  uint32_t i, j;
  for (i = 0; i != MODEL_LAUNCHES; i++) {
    const struct MODEL_launch *one = &MODEL_launches[i];
    uint32_t place = 0;
    s->kernels[i] = s->cl.create_kernel(s->program, one->kernel, &status);
    TRY(one->kernel, status);
    for (j = 0; j < one->arguments; j++) {
      const struct MODEL_argument *argument = &MODEL_arguments[one->first + j];
      if (argument->memory < MODEL_MEMORIES)
        TRY(one->kernel, s->cl.set_argument(s->kernels[i], place++, sizeof(handle), &s->memories[argument->memory]));
      TRY(one->kernel, s->cl.set_argument(s->kernels[i], place++, sizeof argument->value, &argument->value));
    }
  }
  return NULL;
}

const char *MODEL_init(void *arena, void *queue, const char *cache) {
  struct state *const s = begun(arena, sizeof *s);
  const char *why;
  char *name;
  uint32_t little = 1;
  if (!s) return "MODEL: no memory";
  if ((why = load_library(&s->side, &OPENCL, names, &s->cl, sizeof s->cl)) != NULL) return why;
  if ((why = open_queue(s, queue)) != NULL) return why;
  if ((name = told(s, DEVICE_NAME)) != NULL) snprintf(s->side.device_name, sizeof s->side.device_name, "%s", name);
  free(name);
  s->cl.device_info(s->device, LITTLE_ENDIAN_DEVICE, sizeof little, &little, NULL);
  if (!little) return said(&s->side, "the device keeps its numbers in another order");
  s->options = has_dots(s) ? DOTS : PLAIN;
  if ((why = build_program(s, cache)) != NULL || (why = make_buffers(s)) != NULL) return why;
  return make_kernels(s);
}

static void forget_recorded(struct state *s) {
  uint32_t i;
  for (i = 0; i != MODEL_STRETCHES; i++) {
    if (s->recorded[i]) s->recording.release(s->recorded[i]);
    s->recorded[i] = NULL;
  }
}

void MODEL_destroy(void *arena) {
  struct state *const s = state_of(arena);
  uint32_t i;
  if (!s || s->side.arena != arena) return;
  if (s->side.queue) s->cl.finish(s->side.queue);
  forget_recorded(s);
  for (i = 0; i != MODEL_LAUNCHES; i++)
    if (s->kernels[i]) s->cl.release_kernel(s->kernels[i]);
  if (s->program) s->cl.release_program(s->program);
  for (i = 0; i < MODEL_MEMORIES; i++)
    if (s->memories[i]) s->cl.release_buffer(s->memories[i]);
  if (s->side.queue) s->cl.release_queue(s->side.queue);
  if (s->owns_context) s->cl.release_context(s->context);
  ended(arena, s);
}

const char *MODEL_upload(void *arena, size_t offset, size_t bytes) {
  struct state *s = state_of(arena);
  if (!s) return "MODEL: MODEL_init was not called";
  TRY("an input", s->cl.write(s->side.queue, s->memories[0], 0, offset, bytes, (uint8_t *)arena + offset, 0, NULL, NULL));
  return NULL;
}

const char *MODEL_download(void *arena, size_t offset, size_t bytes) {
  struct state *s = state_of(arena);
  if (!s) return "MODEL: MODEL_init was not called";
  TRY("an output", s->cl.read(s->side.queue, s->memories[0], 0, offset, bytes, (uint8_t *)arena + offset, 0, NULL, NULL));
  return NULL;
}

const char *MODEL_start(void *arena, uint32_t first, uint32_t count) {
  struct state *s = state_of(arena);
  uint32_t i;
  if (!s) return "MODEL: MODEL_init was not called";
  for (i = first; i < first + count; i++) {
    const struct MODEL_launch *one = &MODEL_launches[i];
    const size_t local = one->threads, global = (size_t)one->groups * one->threads;
    handle *event = NULL;
#ifdef MODEL_TIMED
    if (timing) event = &s->events[i];
#endif
    TRY(one->kernel, s->cl.launch(s->side.queue, s->kernels[i], 1, NULL, &global, &local, 0, NULL, event));
  }
  return NULL;
}

const char *MODEL_stretch(void *arena, uint32_t number) {
  struct state *s = state_of(arena);
  if (!s || !s->recorded[number])
    return MODEL_start(arena, MODEL_stretches[number].first, MODEL_stretches[number].count);
  TRY("the launches", s->recording.enqueue(1, &s->side.queue, s->recorded[number], 0, NULL, NULL));
  return NULL;
}

/* The functions of the extension, which are the platform's. */
static const char *find_recording(struct state *s) {
  handle (*address)(handle, const char *) = NULL;
  handle platform = NULL, found = dlsym(s->side.library, "clGetExtensionFunctionAddressForPlatform");
  uint64_t abilities = 0;
  size_t i;
  memcpy(&address, &found, sizeof found);
  if (!address || !has(s, "cl_khr_command_buffer"))
    return said(&s->side, "%s records no launches: it has no cl_khr_command_buffer", s->side.device_name);
  TRY("command buffers", s->cl.device_info(s->device, COMMAND_BUFFER_ABILITIES, sizeof abilities, &abilities, NULL));
  if (!(abilities & SEVERAL_AT_A_TIME))
    return said(&s->side, "%s takes what is recorded once at a time only", s->side.device_name);
  TRY("the platform", s->cl.device_info(s->device, DEVICE_PLATFORM, sizeof platform, &platform, NULL));
  for (i = 0; i < sizeof s->recording / sizeof found; i++) {
    if ((found = address(platform, recording_names[i])) == NULL)
      return said(&s->side, "%s records no launches: it has no %s", s->side.device_name, recording_names[i]);
    memcpy((uint8_t *)&s->recording + i * sizeof found, &found, sizeof found);
  }
  return NULL;
}

/* Commands of a queue that keeps their order are recorded in it. What began and failed is none. */
static const char *record_stretch(struct state *s, uint32_t number) {
  static const uint64_t flags[] = {COMMAND_BUFFER_FLAGS, 1, 0};
  const uint32_t first = MODEL_stretches[number].first, end = first + MODEL_stretches[number].count;
  int32_t status = 0;
  uint32_t i;
  const handle buffer = s->recording.create(1, &s->side.queue, flags, &status);
  TRY("a command buffer", status);
  for (i = first; i < end && !status; i++) {
    const size_t local = MODEL_launches[i].threads, global = (size_t)MODEL_launches[i].groups * local;
    status = s->recording.launch(buffer, NULL, NULL, s->kernels[i], 1, NULL, &global, &local, 0, NULL, NULL, NULL);
  }
  if (!status) status = s->recording.finalize(buffer);
  if (status) s->recording.release(buffer);
  TRY("recording", status);
  s->recorded[number] = buffer;
  return NULL;
}

const char *MODEL_record(void *arena) {
  struct state *s = state_of(arena);
  const char *why;
  uint32_t i;
  if (!s) return "MODEL: MODEL_init was not called";
  why = find_recording(s);
  for (i = 0; !why && i != MODEL_STRETCHES; i++)
    if (!s->recorded[i] && MODEL_stretches[i].count) why = record_stretch(s, i);
  return why;
}

const char *MODEL_wait(void *arena) {
  struct state *s = state_of(arena);
  if (!s) return "MODEL: MODEL_init was not called";
  TRY("waiting", s->cl.finish(s->side.queue));
  return NULL;
}

/* Which argument of a kernel one of a launch is: a place is a memory there, and bytes in it. */
static uint32_t kernel_argument(const struct MODEL_launch *launch, uint32_t argument) {
  uint32_t place = argument, i;
  for (i = 0; i < argument; i++) place += MODEL_arguments[launch->first + i].memory < MODEL_MEMORIES;
  return place;
}

const char *MODEL_bind(void *arena, uint32_t input, void *buffer, size_t offset) {
  struct state *s = state_of(arena);
  const char *const why = MODEL_wait(arena);
  uint32_t i;
  if (why) return why;
  if (offset % ALIGNED) return said(&s->side, "an input begins at a multiple of %d bytes", ALIGNED);
  forget_recorded(s);
  for (i = MODEL_inputs[input].first; i != MODEL_inputs[input].first + MODEL_inputs[input].uses; i++) {
    const struct MODEL_launch *launch = &MODEL_launches[MODEL_uses[i].launch];
    const struct MODEL_argument *own = &MODEL_arguments[launch->first + MODEL_uses[i].argument];
    const uint32_t place = kernel_argument(launch, MODEL_uses[i].argument);
    const uint32_t at = buffer ? (uint32_t)offset + MODEL_uses[i].first : own->value;
    const handle kernel = s->kernels[MODEL_uses[i].launch];
    TRY("an input", s->cl.set_argument(kernel, place, sizeof buffer, buffer ? &buffer : &s->memories[own->memory]));
    TRY("an input", s->cl.set_argument(kernel, place + 1, sizeof at, &at));
  }
  s->side.bound[input] = buffer != NULL;
  return NULL;
}

#ifdef MODEL_TIMED
int MODEL_on_cpu(const void *arena) {
  struct state *s = state_of(arena);
  uint64_t type = 0;
  return s && !s->cl.device_info(s->device, DEVICE_TYPE, sizeof type, &type, NULL) && (type & CPU);
}

void MODEL_time_launches(void) { timing = 1; }

const char *MODEL_launch_times(void *arena, uint64_t *nanoseconds) {
  struct state *s = state_of(arena);
  uint32_t i;
  for (i = 0; i != MODEL_LAUNCHES; i++) {
    uint64_t from = 0, to = 0;
    TRY("its time", s->cl.event_info(s->events[i], STARTED, sizeof from, &from, NULL));
    TRY("its time", s->cl.event_info(s->events[i], ENDED, sizeof to, &to, NULL));
    TRY("its event", s->cl.release_event(s->events[i]));
    nanoseconds[i] = to - from;
  }
  return NULL;
}
#endif
