/* OpenCL's library as a model calls it: everything goes on to the library COUNT_OPENCL_OF, and is counted.
 *
 * With COUNT_OPENCL_DOTS in the environment devices say that they multiply four int8 at a time, and programs begin with
 * a function that does; with COUNT_OPENCL_GPU they say that they are GPUs, with COUNT_OPENCL_OLD
 * that they record nothing. Arguments are integers and pointers alone, which all go on as words of 64 bits.
 */
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EXTENSIONS 0x1030
#define TYPE 0x1000
#define GPU 4
#define DOTS " cl_khr_integer_dot_product"

typedef uintptr_t word;
typedef word (*function)(word, word, word, word, word, word, word, word, word);

struct {
  int64_t held, buffers, bytes, launches, finishes, blocking, between, recorded;
} count; /* held: all objects; between: waits that a launch of the same run follows */
static int64_t computing; /* whether something was launched since the last wait */
static struct { word buffer, bytes; } sizes[64];

static function find(const char *name) {
  static void *library;
  if (!library) library = dlopen(getenv("COUNT_OPENCL_OF"), RTLD_NOW | RTLD_LOCAL);
  return (function)(word)dlsym(library, name);
}

static void kept(word buffer, word bytes) {
  for (int i = 0; i < 64; i++)
    if (!sizes[i].buffer) {
      sizes[i].buffer = buffer, sizes[i].bytes = bytes;
      count.buffers++, count.bytes += (int64_t)bytes;
      return;
    }
}

static void freed(word buffer) {
  for (int i = 0; i < 64; i++)
    if (sizes[i].buffer == buffer) {
      count.buffers--, count.bytes -= (int64_t)sizes[i].bytes;
      sizes[i].buffer = 0;
      return;
    }
}

/* Waiting: a second time, in the middle of what is computed, if a launch follows. */
static void waits(void) {
  count.finishes++;
  if (computing) computing = 2;
}

static void starts(int64_t *kind) {
  ++*kind;
  if (computing == 2) count.between++;
  computing = 1;
}

/* In the file COUNT_OPENCL_LOG: whether a program was built for a device that multiplies four int8 at a time. */
static void says(const char *options) {
  FILE *const file = getenv("COUNT_OPENCL_LOG") ? fopen(getenv("COUNT_OPENCL_LOG"), "a") : NULL;
  if (!file) return;
  fputs(strstr(options, "BEVEL_DOTS") ? "dots\n" : "plain\n", file);
  fclose(file);
}

#define PASSED(name, ...)                                                            \
  word name(word a, word b, word c, word d, word e, word f, word g, word h, word i) { \
    static function real;                                                            \
    word answer;                                                                     \
    if (!real) real = find(#name);                                                   \
    answer = real(a, b, c, d, e, f, g, h, i);                                        \
    __VA_ARGS__;                                                                     \
    return answer;                                                                   \
  }

PASSED(clGetPlatformIDs, )
PASSED(clGetDeviceIDs, )
PASSED(clBuildProgram, says(d ? (const char *)d : ""))
PASSED(clGetCommandQueueInfo, )
PASSED(clGetProgramBuildInfo, )
PASSED(clGetProgramInfo, )
PASSED(clSetKernelArg, )
PASSED(clCreateContext, count.held++)
PASSED(clCreateCommandQueue, count.held++)
PASSED(clRetainCommandQueue, count.held++)
PASSED(clCreateProgramWithBinary, count.held++)
PASSED(clCreateKernel, count.held++)
PASSED(clCreateBuffer, (count.held++, kept(answer, c)))
PASSED(clReleaseKernel, count.held--)
PASSED(clReleaseProgram, count.held--)
PASSED(clReleaseMemObject, (count.held--, freed(a)))
PASSED(clReleaseCommandQueue, count.held--)
PASSED(clReleaseContext, count.held--)
PASSED(clEnqueueNDRangeKernel, (count.held += i != 0, starts(&count.launches)))
PASSED(clEnqueueWriteBuffer, (void)((uint32_t)c && (count.blocking++, waits(), 1)))
PASSED(clEnqueueReadBuffer, (void)((uint32_t)c && (count.blocking++, waits(), 1)))
PASSED(clFinish, waits())
PASSED(clGetEventProfilingInfo, )
PASSED(clReleaseEvent, count.held--)

/* Of DEVICE_EXTENSIONS first the size is asked for, then the text. */
word clGetDeviceInfo(word device, word what, word room, word value, word size) {
  const int dots = (uint32_t)what == EXTENSIONS && getenv("COUNT_OPENCL_DOTS");
  const word answer = find("clGetDeviceInfo")(device, what, room, value, size, 0, 0, 0, 0);
  if (dots && size) *(size_t *)size += strlen(DOTS);
  if (dots && value) strcat((char *)value, DOTS);
  if ((uint32_t)what == EXTENSIONS && value && getenv("COUNT_OPENCL_OLD")) *(char *)value = '\0';
  if ((uint32_t)what == TYPE && value && getenv("COUNT_OPENCL_GPU")) *(uint64_t *)value = GPU;
  return answer;
}

word clCreateProgramWithSource(word context, word parts, word texts, word lengths, word status) {
  static const char model[] = "int dot_4x8packed_ss_int(uint a, uint b);\n"
                              "int dot_4x8packed_ss_int(uint a, uint b) {\n"
                              "  const int4 p = convert_int4(as_char4(a)) * convert_int4(as_char4(b));\n"
                              "  return p.x + p.y + p.z + p.w;\n}\n";
  const char *all[4096] = {model};
  const int more = getenv("COUNT_OPENCL_DOTS") != NULL;
  memcpy(all + more, (const void *)texts, (uint32_t)parts * sizeof *all);
  count.held++;
  return find("clCreateProgramWithSource")(context, (uint32_t)parts + more, (word)all, lengths, status, 0, 0, 0, 0);
}

#define EXTENDED(name, ...)                                                          \
  static function real_##name;                                                       \
  static word name(word a, word b, word c, word d, word e, word f) {                 \
    const word answer = real_##name(a, b, c, d, e, f, 0, 0, 0);                      \
    __VA_ARGS__;                                                                     \
    return answer;                                                                   \
  }

EXTENDED(clCreateCommandBufferKHR, count.held++)
EXTENDED(clReleaseCommandBufferKHR, count.held--)
EXTENDED(clEnqueueCommandBufferKHR, starts(&count.recorded))

word clGetExtensionFunctionAddressForPlatform(word platform, word name) {
  const function real = (function)find("clGetExtensionFunctionAddressForPlatform")(platform, name, 0, 0, 0, 0, 0, 0, 0);
#define COUNTED(one) \
  if (!strcmp((const char *)name, #one)) return real_##one = real, (word)one;
  COUNTED(clCreateCommandBufferKHR)
  COUNTED(clReleaseCommandBufferKHR)
  COUNTED(clEnqueueCommandBufferKHR)
  return (word)real;
}

/* What was finished is over: a run that follows is another one. */
void count_run(void) { computing = 0; }
