/* QEMU's interface for plugins, as far as ours use it, and how they read their arguments: comes before each of them.
 *
 * The interface is QEMU's include/qemu/qemu-plugin.h, version 1 (QEMU 6.0 to 8.2), declared here because distributions
 * do not ship the header.
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

static char *out; /* the file that counts go to, from the argument out=FILE */

/* An argument NAME=NUMBER. */
struct number {
  const char *name;
  uint64_t *value;
};

static int read_argument(const char *argument, const struct number *numbers, size_t count) {
  const char *value = strchr(argument, '=');
  if (!value) return -1;
  const size_t length = (size_t)(value++ - argument);
  if (length == 3 && !strncmp(argument, "out", 3)) return (out = strdup(value)) ? 0 : -1;
  for (size_t i = 0; i < count; i++) {
    if (strlen(numbers[i].name) != length || strncmp(argument, numbers[i].name, length)) continue;
    *numbers[i].value = strtoull(value, NULL, 0);
    return 0;
  }
  return -1;
}

/* 0 where each argument is one that is known, and there is a file. */
static int read_arguments(int given, char **arguments, const struct number *numbers, size_t count) {
  for (int i = 0; i < given; i++) {
    if (read_argument(arguments[i], numbers, count)) return -1;
  }
  return out ? 0 : -1;
}

