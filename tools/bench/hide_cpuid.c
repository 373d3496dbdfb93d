/* Preloaded into a process: what CPUID tells it, less the bits in BEVEL_HIDDEN, so that it computes as on an older
   processor. BEVEL_HIDDEN: "leaf subleaf eax ebx ecx edx;...", hexadecimal, registers as the bits that are cleared; a
   subleaf of ffffffff is any.

   Linux lets CPUID fault (arch_prctl(2), ARCH_SET_CPUID); whoever executes it is answered by the handler of the fault.
   Threads inherit that; a new program begins without, and preloads this again. Nobody else may handle the signal. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#define ARCH_SET_CPUID 0x1012
#define ANY 0xFFFFFFFFu
#define MOST 16

struct hidden {
  uint32_t leaf, subleaf, bits[4];
};

static struct hidden rows[MOST];
static int count;

static void answer(int number, siginfo_t *information, void *context) {
  greg_t *registers = ((ucontext_t *)context)->uc_mcontext.gregs;
  const uint8_t *code = (const uint8_t *)registers[REG_RIP];
  (void)information;
  if (code[0] != 0x0F || code[1] != 0xA2) { /* a fault of another kind: it happens again, and ends the process */
    struct sigaction plain;
    memset(&plain, 0, sizeof plain);
    plain.sa_handler = SIG_DFL;
    int (*next)(int, const struct sigaction *, struct sigaction *) = dlsym(RTLD_NEXT, "sigaction");
    next(number, &plain, NULL);
    return;
  }
  const uint32_t leaf = (uint32_t)registers[REG_RAX], subleaf = (uint32_t)registers[REG_RCX];
  uint32_t told[4];
  syscall(SYS_arch_prctl, ARCH_SET_CPUID, 1);
  __asm__ volatile("cpuid" : "=a"(told[0]), "=b"(told[1]), "=c"(told[2]), "=d"(told[3]) : "a"(leaf), "c"(subleaf));
  syscall(SYS_arch_prctl, ARCH_SET_CPUID, 0);
  for (int i = 0; i < count; ++i)
    if (rows[i].leaf == leaf && (rows[i].subleaf == subleaf || rows[i].subleaf == ANY))
      for (int at = 0; at < 4; ++at) told[at] &= ~rows[i].bits[at];
  registers[REG_RAX] = told[0];
  registers[REG_RBX] = told[1];
  registers[REG_RCX] = told[2];
  registers[REG_RDX] = told[3];
  registers[REG_RIP] += 2;
}

__attribute__((constructor)) static void begin(void) {
  const char *text = getenv("BEVEL_HIDDEN");
  for (int taken; text != NULL && *text != 0 && count < MOST; text += taken) {
    struct hidden *row = &rows[count];
    taken = 0;
    sscanf(text, "%x %x %x %x %x %x;%n", &row->leaf, &row->subleaf, &row->bits[0], &row->bits[1], &row->bits[2],
           &row->bits[3], &taken);
    if (taken == 0) break;
    ++count;
  }
  if (count == 0) return;
  struct sigaction handled;
  memset(&handled, 0, sizeof handled);
  handled.sa_sigaction = answer;
  handled.sa_flags = SA_SIGINFO | SA_NODEFER;
  int (*next)(int, const struct sigaction *, struct sigaction *) = dlsym(RTLD_NEXT, "sigaction");
  next(SIGSEGV, &handled, NULL);
  syscall(SYS_arch_prctl, ARCH_SET_CPUID, 0);
}

int sigaction(int number, const struct sigaction *wanted, struct sigaction *old) {
  int (*next)(int, const struct sigaction *, struct sigaction *) = dlsym(RTLD_NEXT, "sigaction");
  return next(number, number == SIGSEGV && count != 0 ? NULL : wanted, old);
}

sighandler_t signal(int number, sighandler_t wanted) {
  sighandler_t (*next)(int, sighandler_t) = dlsym(RTLD_NEXT, "signal");
  return number == SIGSEGV && count != 0 ? SIG_DFL : next(number, wanted);
}
