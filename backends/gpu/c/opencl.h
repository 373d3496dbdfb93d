/* What MODEL_device.c calls of OpenCL 1.2, and numbers that mean something there (The OpenCL Specification, cl.h). */
#include "MODEL_driver.h"

#define GPU 4u
#define ANY 0xFFFFFFFFu
#define READ_WRITE 1u
#define DEVICE_NAME 0x102B
#define DEVICE_VENDOR 0x102C
#define DRIVER_VERSION 0x102D
#define DEVICE_VERSION 0x102F
#define LITTLE_ENDIAN_DEVICE 0x1026
#define DEVICE_EXTENSIONS 0x1030
#define DEVICE_PLATFORM 0x1031
#define COMMAND_BUFFER_ABILITIES 0x12A9
#define SEVERAL_AT_A_TIME 4u /* of these: a buffer may be in the queue more than once */
#define COMMAND_BUFFER_FLAGS 0x1293
#define QUEUE_CONTEXT 0x1090
#define QUEUE_DEVICE 0x1091
#define QUEUE_PROPERTIES 0x1093
#define OUT_OF_ORDER 1u
#define WITH_TIMES 2u
#define DEVICE_TYPE 0x1000
#define CPU 2u
#define STARTED 0x1282
#define ENDED 0x1283
#define PROGRAM_BINARY_SIZES 0x1165
#define PROGRAM_BINARIES 0x1166
#define PROGRAM_BUILD_LOG 0x1183

/* What is called of OpenCL 1.2; in the order of `names`. */
struct functions {
  int32_t (*get_platforms)(uint32_t, handle *, uint32_t *);
  int32_t (*get_devices)(handle, uint64_t, uint32_t, handle *, uint32_t *);
  int32_t (*device_info)(handle, uint32_t, size_t, void *, size_t *);
  handle (*create_context)(const intptr_t *, uint32_t, const handle *, void (*)(const char *, const void *, size_t, void *),
                           void *, int32_t *);
  handle (*create_queue)(handle, handle, uint64_t, int32_t *);
  int32_t (*queue_info)(handle, uint32_t, size_t, void *, size_t *);
  handle (*create_buffer)(handle, uint64_t, size_t, void *, int32_t *);
  handle (*program_from_source)(handle, uint32_t, const char **, const size_t *, int32_t *);
  handle (*program_from_binary)(handle, uint32_t, const handle *, const size_t *, const unsigned char **, int32_t *,
                                int32_t *);
  int32_t (*build)(handle, uint32_t, const handle *, const char *, void (*)(handle, void *), void *);
  int32_t (*build_info)(handle, handle, uint32_t, size_t, void *, size_t *);
  int32_t (*program_info)(handle, uint32_t, size_t, void *, size_t *);
  handle (*create_kernel)(handle, const char *, int32_t *);
  int32_t (*set_argument)(handle, uint32_t, size_t, const void *);
  int32_t (*launch)(handle, handle, uint32_t, const size_t *, const size_t *, const size_t *, uint32_t, const handle *,
                    handle *);
  int32_t (*write)(handle, handle, uint32_t, size_t, size_t, const void *, uint32_t, const handle *, handle *);
  int32_t (*read)(handle, handle, uint32_t, size_t, size_t, void *, uint32_t, const handle *, handle *);
  int32_t (*finish)(handle);
  int32_t (*retain_queue)(handle);
  int32_t (*release_kernel)(handle);
  int32_t (*release_program)(handle);
  int32_t (*release_buffer)(handle);
  int32_t (*release_queue)(handle);
  int32_t (*release_context)(handle);
#ifdef MODEL_TIMED
  int32_t (*event_info)(handle, uint32_t, size_t, void *, size_t *);
  int32_t (*release_event)(handle);
#endif
};

static const char *const names[] = {
    "clGetPlatformIDs",       "clGetDeviceIDs",       "clGetDeviceInfo",           "clCreateContext",
    "clCreateCommandQueue",   "clGetCommandQueueInfo", "clCreateBuffer",           "clCreateProgramWithSource",
    "clCreateProgramWithBinary", "clBuildProgram",    "clGetProgramBuildInfo",     "clGetProgramInfo",
    "clCreateKernel",         "clSetKernelArg",       "clEnqueueNDRangeKernel",    "clEnqueueWriteBuffer",
    "clEnqueueReadBuffer",    "clFinish",             "clRetainCommandQueue",      "clReleaseKernel",
    "clReleaseProgram",       "clReleaseMemObject",   "clReleaseCommandQueue",     "clReleaseContext",
#ifdef MODEL_TIMED
    "clGetEventProfilingInfo", "clReleaseEvent",
#endif
};

/* What MODEL_record calls, of cl_khr_command_buffer; in the order of `recording_names`. */
struct recording {
  handle (*create)(uint32_t, const handle *, const uint64_t *, int32_t *);
  int32_t (*launch)(handle, handle, const uint64_t *, handle, uint32_t, const size_t *, const size_t *, const size_t *,
                    uint32_t, const uint32_t *, uint32_t *, handle *);
  int32_t (*finalize)(handle);
  int32_t (*enqueue)(uint32_t, handle *, handle, uint32_t, const handle *, handle *);
  int32_t (*release)(handle);
};

static const char *const recording_names[] = {
    "clCreateCommandBufferKHR",  "clCommandNDRangeKernelKHR", "clFinalizeCommandBufferKHR",
    "clEnqueueCommandBufferKHR", "clReleaseCommandBufferKHR",
};

static const struct library OPENCL = {"OpenCL",
                                      "an OpenCL driver",
                                      "OpenCL 1.2",
                                      "BEVEL_OPENCL_LIBRARY",
                                      {"libOpenCL.so.1", "libOpenCL.so", "/system/vendor/lib64/libOpenCL.so",
                                       "/vendor/lib64/libOpenCL.so"}};
