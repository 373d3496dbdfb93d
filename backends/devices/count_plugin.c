/* A plugin for QEMU that counts how often each translated block runs within an inference (count_hook.c for unicorn).
 *
 * An inference starts where `run` is entered and ends when the function that times it goes on. What is counted goes to
 * the file `out` when QEMU ends: lines of address, size, executions, and how often the block that follows in memory
 * came next.
 *
 * Arguments: out=FILE run=ADDRESS back=ADDRESS size=BYTES, the last two being the function that calls `run`. The
 * interface is QEMU's include/qemu/qemu-plugin.h, version 1 (QEMU 6.0 to 8.2), declared here because distributions do
 * not ship the header.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EXPORT __attribute__((visibility("default")))

typedef uint64_t plugin_id;
struct qemu_plugin_tb;
struct qemu_plugin_insn;
void qemu_plugin_register_vcpu_tb_trans_cb(plugin_id id, void (*callback)(plugin_id, struct qemu_plugin_tb *));
void qemu_plugin_register_vcpu_tb_exec_cb(struct qemu_plugin_tb *tb, void (*callback)(unsigned, void *), int flags,
                                          void *data);
void qemu_plugin_register_atexit_cb(plugin_id id, void (*callback)(plugin_id, void *), void *data);
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *tb);
uint64_t qemu_plugin_tb_vaddr(const struct qemu_plugin_tb *tb);
struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *tb, size_t index);
const void *qemu_plugin_insn_data(const struct qemu_plugin_insn *insn);

EXPORT int qemu_plugin_version = 1;

/* A block that is translated again gets another entry; whoever reads the file adds them up. */
struct block {
  struct block *next;
  uint64_t address, size, executed, fell_through;
};

static struct block *all, *last;
static uint64_t run, back, back_size;
static int running;
static char *out;

static void on_block(unsigned core, void *data) {
  struct block *block = data;
  (void)core;
  if (last && last->address + last->size == block->address) last->fell_through++;
  if (block->address == run) running = 1;
  if (block->address - back < back_size) running = 0;
  last = running ? block : NULL;
  block->executed += (uint64_t)running;
}

/* By its first halfword (Armv7-M Architecture Reference Manual, A5.1). qemu_plugin_insn_size counts what QEMU looked at
 * of the instruction behind it, too, where that one crosses a page. */
static uint64_t thumb_size(const struct qemu_plugin_insn *insn) {
  const uint8_t *bytes = qemu_plugin_insn_data(insn);
  return (bytes[0] | bytes[1] << 8) >= 0xE800 ? 4 : 2;
}

static void on_translation(plugin_id id, struct qemu_plugin_tb *tb) {
  struct block *block = calloc(1, sizeof *block);
  const size_t instructions = qemu_plugin_tb_n_insns(tb);
  (void)id;
  if (!block) abort();
  block->address = qemu_plugin_tb_vaddr(tb);
  for (size_t i = 0; i < instructions; i++) block->size += thumb_size(qemu_plugin_tb_get_insn(tb, i));
  block->next = all;
  all = block;
  qemu_plugin_register_vcpu_tb_exec_cb(tb, on_block, 0, block);
}

static void on_exit_of_qemu(plugin_id id, void *data) {
  FILE *file = fopen(out, "w");
  (void)id;
  (void)data;
  if (!file) return;
  for (const struct block *block = all; block; block = block->next) {
    if (!block->executed) continue;
    fprintf(file, "%llu %llu %llu %llu\n", (unsigned long long)block->address, (unsigned long long)block->size,
            (unsigned long long)block->executed, (unsigned long long)block->fell_through);
  }
  fclose(file);
}

static int read_argument(const char *argument) {
  const char *value = strchr(argument, '=');
  if (!value) return -1;
  value++;
  if (!strncmp(argument, "out=", 4)) return (out = strdup(value)) ? 0 : -1;
  if (!strncmp(argument, "run=", 4)) return run = strtoull(value, NULL, 0), 0;
  if (!strncmp(argument, "back=", 5)) return back = strtoull(value, NULL, 0), 0;
  if (!strncmp(argument, "size=", 5)) return back_size = strtoull(value, NULL, 0), 0;
  return -1;
}

EXPORT int qemu_plugin_install(plugin_id id, const void *info, int count, char **arguments) {
  (void)info;
  for (int i = 0; i < count; i++) {
    if (read_argument(arguments[i])) return -1;
  }
  if (!out) return -1;
  qemu_plugin_register_vcpu_tb_trans_cb(id, on_translation);
  qemu_plugin_register_atexit_cb(id, on_exit_of_qemu, NULL);
  return 0;
}
