/* A shell for boards that TVM's RPC server serves: loaded there as a module, which has one function.
 *
 *   bevel_shell(SECONDS) -> exit status, or the negative number of a signal, or -LATE
 *
 * In the folder where this library lies it runs the file `command` by sh, which reads `given` and writes `taken` and
 * `said`. What does not end in time is killed, with all that it started. The function's name and arguments are those
 * of TVM's C ABI (tvm/ffi/c_api.h): it needs nothing of TVM's.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define INTEGER 1
#define LATE 1000
#define NOT_STARTED 126
#define STEP_NS 1000000

struct value {
  int32_t type;
  uint32_t padding;
  int64_t number;
};

__attribute__((visibility("default"))) int __tvm_ffi_bevel_shell(void *self, const struct value *given, int32_t count,
                                                                 struct value *answer);

static void run(const char *folder) {
  setpgid(0, 0);
  if (!chdir(folder)) execlp("sh", "sh", "-c", "exec sh ./command <given >taken 2>said", (char *)NULL);
  _exit(NOT_STARTED);
}

static int64_t ended(pid_t child, int64_t seconds) {
  const struct timespec step = {0, STEP_NS};
  struct timespec start, now;
  int status;
  clock_gettime(CLOCK_MONOTONIC, &start);
  while (!waitpid(child, &status, WNOHANG)) {
    clock_gettime(CLOCK_MONOTONIC, &now);
    if (now.tv_sec - start.tv_sec > seconds) {
      kill(-child, SIGKILL);
      waitpid(child, &status, 0);
      return -LATE;
    }
    nanosleep(&step, NULL);
  }
  return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

int __tvm_ffi_bevel_shell(void *self, const struct value *given, int32_t count, struct value *answer) {
  char folder[4096];
  Dl_info here;
  pid_t child;
  (void)self;
  memset(answer, 0, sizeof *answer);
  answer->type = INTEGER;
  answer->number = NOT_STARTED;
  if (count != 1 || given->type != INTEGER || !dladdr((const void *)(uintptr_t)&__tvm_ffi_bevel_shell, &here)) return 0;
  snprintf(folder, sizeof folder, "%s", here.dli_fname);
  if (strrchr(folder, '/')) *strrchr(folder, '/') = 0;
  if ((child = fork()) == 0) run(folder);
  if (child > 0) answer->number = ended(child, given->number);
  return 0;
}
