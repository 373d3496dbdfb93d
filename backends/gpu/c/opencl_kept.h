/* What the driver built of MODEL's kernels, in a folder of the caller's: for one device, driver and source. For
 * MODEL_device.c alone, which says what a `struct state` is. */
#include <unistd.h>

#define HEAD 2 /* numbers before a kept binary: its bytes and their sum */

static uint64_t summed(uint64_t sum, const void *data, size_t bytes) {
  const unsigned char *p = (const unsigned char *)data;
  size_t i;
  for (i = 0; i < bytes; i++) sum = (sum ^ p[i]) * 1099511628211u; /* FNV-1a */
  return sum;
}

/* Where the binary for this device, driver and source is kept; whether that fits into `path`. */
static int binary_path(struct state *s, const char *cache, char *path, size_t room) {
  static const uint32_t asked[] = {DEVICE_NAME, DEVICE_VENDOR, DRIVER_VERSION, DEVICE_VERSION};
  uint64_t key = summed(14695981039346656037u, s->options, strlen(s->options));
  size_t i;
  for (i = 0; i < sizeof asked / sizeof asked[0]; i++) {
    char *const text = told(s, asked[i]);
    if (text) key = summed(key, text, strlen(text) + 1);
    free(text);
  }
  for (i = 0; i != MODEL_SOURCES; i++) key = summed(key, MODEL_source[i], strlen(MODEL_source[i]));
  return snprintf(path, room, "%s/MODEL-%08x%08x.clbin", cache, (unsigned)(key >> 32), (unsigned)key) < (int)room;
}

/* Whether the program was built from a kept binary; a damaged one is none. */
static int from_binary(struct state *s, const char *path) {
  uint64_t head[HEAD];
  FILE *file = fopen(path, "rb");
  unsigned char *data = NULL;
  const unsigned char *one;
  int32_t status = 1, of_binary = 1;
  size_t bytes;
  if (!file) return 0;
  if (fread(head, sizeof head, 1, file) == 1 && head[0] && head[0] < ((uint64_t)1 << 31)) {
    bytes = (size_t)head[0];
    data = (unsigned char *)malloc(bytes);
    if (data && fread(data, 1, bytes, file) == bytes && summed(0, data, bytes) == head[1]) {
      one = data;
      s->program = s->cl.program_from_binary(s->context, 1, &s->device, &bytes, &one, &of_binary, &status);
      if (!status) status = of_binary;
      if (!status) status = s->cl.build(s->program, 1, &s->device, s->options, NULL, NULL);
      if (status && s->program) {
        s->cl.release_program(s->program);
        s->program = NULL;
      }
    }
  }
  free(data);
  fclose(file);
  return !status;
}

/* In one step, so that nobody finds half of it. What cannot be kept is made again the next time. */
static void keep_binary(struct state *s, const char *path) {
  char partial[1100];
  uint64_t head[HEAD];
  size_t bytes = 0;
  unsigned char *data;
  FILE *file;
  int whole;
  if (s->cl.program_info(s->program, PROGRAM_BINARY_SIZES, sizeof bytes, &bytes, NULL) || !bytes) return;
  data = (unsigned char *)malloc(bytes);
  if (!data) return;
  snprintf(partial, sizeof partial, "%s.%ld", path, (long)getpid());
  file = s->cl.program_info(s->program, PROGRAM_BINARIES, sizeof data, &data, NULL) ? NULL : fopen(partial, "wb");
  if (file) {
    head[0] = bytes;
    head[1] = summed(0, data, bytes);
    whole = fwrite(head, sizeof head, 1, file) == 1 && fwrite(data, 1, bytes, file) == bytes;
    whole = !fclose(file) && whole;
    if (!whole || rename(partial, path)) remove(partial);
  }
  free(data);
}
