/* A plugin for QEMU that counts the instructions of Linux programs between marks.
 *
 * A program marks a place by calling a function `bevel_mark`. What was executed since the last mark, or since the
 * program began, without that function itself, is one number; all of them go to the file `out` as uint64 when the
 * program ends.
 *
 * Arguments: out=FILE mark=ADDRESS size=BYTES, the last two being the function.
 */
static uint64_t mark, mark_size, executed;
static FILE *file;

static void on_mark(unsigned core, void *data) {
  (void)core;
  (void)data;
  if (fwrite(&executed, sizeof executed, 1, file) != 1) abort();
  executed = 0;
}

static void on_block(unsigned core, void *data) {
  (void)core;
  executed += (uint64_t)(uintptr_t)data;
}

static void on_translation(plugin_id id, struct qemu_plugin_tb *tb) {
  const uint64_t address = qemu_plugin_tb_vaddr(tb);
  (void)id;
  if (address == mark) {
    qemu_plugin_register_vcpu_tb_exec_cb(tb, on_mark, 0, NULL);
  } else if (address - mark >= mark_size) {
    qemu_plugin_register_vcpu_tb_exec_cb(tb, on_block, 0, (void *)(uintptr_t)qemu_plugin_tb_n_insns(tb));
  }
}

static void on_exit_of_qemu(plugin_id id, void *data) {
  (void)id;
  (void)data;
  fclose(file);
}

EXPORT int qemu_plugin_install(plugin_id id, const void *info, int given, char **arguments) {
  const struct number numbers[] = {{"mark", &mark}, {"size", &mark_size}};
  (void)info;
  if (read_arguments(given, arguments, numbers, sizeof numbers / sizeof *numbers)) return -1;
  if (!(file = fopen(out, "wb"))) return -1;
  qemu_plugin_register_vcpu_tb_trans_cb(id, on_translation);
  qemu_plugin_register_atexit_cb(id, on_exit_of_qemu, NULL);
  return 0;
}
