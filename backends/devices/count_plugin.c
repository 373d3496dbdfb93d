/* A plugin for QEMU that counts how often each translated block runs within an inference (count_hook.c for unicorn).
 *
 * An inference starts where `run` is entered and ends when the function that times it goes on. What is counted goes to
 * the file `out` when QEMU ends: lines of address, size, executions, and how often the block that follows in memory
 * came next.
 *
 * Arguments: out=FILE run=ADDRESS back=ADDRESS size=BYTES, the last two being the function that calls `run`.
 */
/* A block that is translated again gets another entry; whoever reads the file adds them up. */
struct block {
  struct block *next;
  uint64_t address, size, executed, fell_through;
};

static struct block *all, *last;
static uint64_t run, back, back_size;
static int running;

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

EXPORT int qemu_plugin_install(plugin_id id, const void *info, int given, char **arguments) {
  const struct number numbers[] = {{"run", &run}, {"back", &back}, {"size", &back_size}};
  (void)info;
  if (read_arguments(given, arguments, numbers, sizeof numbers / sizeof *numbers)) return -1;
  qemu_plugin_register_vcpu_tb_trans_cb(id, on_translation);
  qemu_plugin_register_atexit_cb(id, on_exit_of_qemu, NULL);
  return 0;
}
