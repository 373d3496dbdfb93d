/* What the device's side of MODEL is with any driver: its library, loaded by name, and what went wrong, in a line.
 *
 * For MODEL_device.c alone. The driver's library is loaded when MODEL_init is called, so that the model links and loads
 * where there is none, and needs no headers of it. It stays loaded: few of them can be unloaded.
 */
#include "MODEL_device.h"

#include <dlfcn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef void *handle;

#define ALIGNED 64 /* bytes: where inputs that are bound may begin */

/* How a `struct state` of MODEL_device.c begins. */
struct side {
  const void *arena; /* that this is the side of */
  handle library, queue;
  unsigned char bound[MODEL_BINDABLE + 1]; /* whether an input is in a buffer of the caller's */
  char device_name[128], error[2048];
};

/* A driver's library: under which names it is looked for, but where the environment's `variable` names another one. */
struct library {
  const char *language, *driver, *version, *variable, *files[4];
};

struct state;

static struct state *state_of(const void *arena) {
  struct state *found;
  memcpy(&found, (const uint8_t *)arena + MODEL_HANDLE_OFFSET, sizeof found);
  return found;
}

/* A new state of so many bytes, all zero; NULL where there is no memory. */
static struct state *begun(void *arena, size_t bytes) {
  struct state *const s = (struct state *)calloc(1, bytes);
  memcpy((uint8_t *)arena + MODEL_HANDLE_OFFSET, &s, sizeof s);
  if (s) ((struct side *)s)->arena = arena;
  return s;
}

static void ended(void *arena, struct state *s) {
  struct state *const none = NULL;
  memcpy((uint8_t *)arena + MODEL_HANDLE_OFFSET, &none, sizeof none);
  free(s);
}

/* The line is kept by the side. */
__attribute__((format(printf, 2, 3))) static const char *said(struct side *side, const char *format, ...) {
  const int begin = snprintf(side->error, sizeof side->error, "MODEL: ");
  va_list words;
  va_start(words, format);
  vsnprintf(side->error + begin, sizeof side->error - (size_t)begin, format, words);
  va_end(words);
  return side->error;
}

/* What a driver's status says. */
static const char *meaning(const struct state *s, int32_t status);

static const char *failed(struct state *s, const char *what, int32_t status) {
  return said((struct side *)s, "%s: %s (%d)", what, meaning(s, status), (int)status);
}

#define TRY(what, call)                       \
  do {                                        \
    const int32_t tried = (call);             \
    if (tried) return failed(s, what, tried); \
  } while (0)

static const char *no_memory(struct state *s, uint32_t bytes, int32_t status) {
  struct side *const side = (struct side *)s;
  return said(side, "%lu bytes of memory on %s: %s (%d)", (unsigned long)bytes, side->device_name, meaning(s, status),
              (int)status);
}

/* The functions `names` of the library that is loaded, `bytes` of pointers, into `functions`. */
static const char *find_functions(struct side *side, const struct library *wanted, const char *const *names,
                                  void *functions, size_t bytes) {
  void *found;
  size_t i;
  for (i = 0; i < bytes / sizeof found; i++) {
    if ((found = dlsym(side->library, names[i])) == NULL)
      return said(side, "the %s library has no %s; %s is needed", wanted->language, names[i], wanted->version);
    memcpy((uint8_t *)functions + i * sizeof found, &found, sizeof found);
  }
  return NULL;
}

/* The same of a library that is looked for. */
static const char *load_library(struct side *side, const struct library *wanted, const char *const *names,
                                void *functions, size_t bytes) {
  const char *const chosen = getenv(wanted->variable);
  size_t i;
  if (chosen) side->library = dlopen(chosen, RTLD_NOW | RTLD_LOCAL);
  for (i = 0; !chosen && !side->library && i < sizeof wanted->files / sizeof wanted->files[0]; i++)
    if (wanted->files[i]) side->library = dlopen(wanted->files[i], RTLD_NOW | RTLD_LOCAL);
  if (!side->library)
    return said(side, "no %s here: %s was not found; install %s", wanted->language, chosen ? chosen : wanted->files[0],
                wanted->driver);
  return find_functions(side, wanted, names, functions, bytes);
}

const char *MODEL_device_name(const void *arena) {
  const struct side *side = (const struct side *)state_of(arena);
  return side ? side->device_name : "";
}

const char *MODEL_upload_input(void *arena, uint32_t input, size_t offset, size_t bytes) {
  const struct side *side = (const struct side *)state_of(arena);
  return side && side->bound[input] ? NULL : MODEL_upload(arena, offset, bytes);
}

void *MODEL_queue(const void *arena) {
  const struct side *side = (const struct side *)state_of(arena);
  return side ? side->queue : NULL;
}
