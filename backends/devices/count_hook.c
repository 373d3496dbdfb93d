/* Counts the instructions that unicorn executes, and notes the count whenever one inference or one kernel call starts.
 *
 * unicorn calls `on_block` before each translated block. A block is straight-line code of 16-bit and 32-bit
 * instructions, so they are counted by their lengths, which the first halfword tells (InstructionSet in
 * count_hook.py). Instructions that an IT block skips count as executed, as they do in QEMU and in a core's instruction
 * counter. The code does not change while it runs, so a block's length is remembered by address and size, together with
 * how often an inference executed it, and went on from there into what follows it in memory.
 */
#include <stdint.h>

#define PLACES 65536u
#define NOT_RUNNING 1u /* odd: no block starts there */

enum mark { NONE, RUN, KERNEL };

/* Shared with count_hook.py. A place with size 0 is free. */
struct block {
  uint32_t address, size, instructions, mark;
  uint64_t executed, fell_through; /* within inferences */
};

/* The fields up to `failures` are shared with count_hook.py. */
struct counter {
  int (*read_memory)(void *engine, uint64_t address, void *bytes, uint64_t size);
  int (*read_register)(void *engine, int name, void *value);
  const uint32_t *kernels; /* entry address of each kernel, sorted, without repeats */
  const uint32_t *calls;   /* entry address of the kernel of each call, in the order of execution */
  uint64_t *marks;         /* [run_capacity][call_count + 2]: count at the entry of run, of each call, and at the end */
  uint64_t instructions;
  int32_t link_register;
  uint32_t length_mask, wide_from; /* 32 bits long: where a first halfword, masked, is wide_from or more */
  uint32_t run_entry, kernel_count, call_count, run_capacity;
  uint32_t runs;     /* inferences completed */
  uint32_t failures; /* inferences whose sequence of calls was not the expected one, and blocks that did not read */
  uint32_t run_return, next_call, call_return, unexpected;
  uint32_t block_count;
  struct block *last; /* the block before this one, within an inference */
  struct block blocks[PLACES];
};

uint64_t counter_bytes(void) { return sizeof(struct counter); }

const struct block *counter_blocks(const struct counter *c) { return c->blocks; }

uint32_t counter_places(void) { return PLACES; }

void counter_start(struct counter *c) { c->run_return = NOT_RUNNING; }

static uint32_t count_instructions(struct counter *c, void *engine, uint32_t address, uint32_t size) {
  uint8_t code[512];
  uint32_t instructions = 0;
  for (uint32_t at = 0; at < size;) { /* `at` may start in the second half of a piece's last instruction */
    uint32_t piece = size - at < sizeof code ? size - at : (uint32_t)sizeof code, in_piece = 0;
    if (c->read_memory(engine, address + at, code, piece)) {
      c->failures++;
      return instructions;
    }
    for (; in_piece + 1 < piece; instructions++) {
      const uint32_t halfword = code[in_piece] | (uint32_t)code[in_piece + 1] << 8;
      in_piece += (halfword & c->length_mask) >= c->wide_from ? 4 : 2;
    }
    at += in_piece ? in_piece : piece;
  }
  return instructions;
}

static int is_kernel(const struct counter *c, uint32_t address) {
  uint32_t low = 0, high = c->kernel_count;
  while (low < high) {
    const uint32_t middle = (low + high) / 2;
    if (c->kernels[middle] < address) low = middle + 1;
    else high = middle;
  }
  return low < c->kernel_count && c->kernels[low] == address;
}

/* The block's place, or the next free one. Never the last free one, so that a search ends: firmware of so many blocks
 * would not fit a microcontroller. */
static struct block *find_block(struct counter *c, void *engine, uint32_t address, uint32_t size) {
  struct block *block = &c->blocks[(address >> 1) % PLACES];
  while (block->size && (block->address != address || block->size != size)) {
    if (++block == c->blocks + PLACES) block = c->blocks;
  }
  if (!block->size && c->block_count < PLACES - 1) {
    c->block_count++;
    block->address = address;
    block->size = size;
    block->instructions = count_instructions(c, engine, address, size);
    block->mark = address == c->run_entry ? RUN : is_kernel(c, address) ? KERNEL : NONE;
  } else if (!block->size) {
    c->failures++;
  }
  return block;
}

static uint32_t return_address(struct counter *c, void *engine) {
  uint32_t value = 0;
  if (c->read_register(engine, c->link_register, &value)) c->failures++;
  return value & ~1u;
}

static void note(struct counter *c, uint32_t column) {
  if (c->runs < c->run_capacity) c->marks[(uint64_t)c->runs * (c->call_count + 2) + column] = c->instructions;
}

static void start_run(struct counter *c, void *engine) {
  c->run_return = return_address(c, engine);
  c->next_call = c->unexpected = 0;
  c->call_return = NOT_RUNNING;
  note(c, 0);
}

static void end_run(struct counter *c) {
  c->run_return = NOT_RUNNING;
  note(c, c->call_count + 1);
  if (c->unexpected || c->next_call != c->call_count) c->failures++;
  c->runs++;
}

/* A branch back to a kernel's first instruction is a loop, not a call: the return address is still the same. */
static void start_call(struct counter *c, void *engine, uint32_t address) {
  const uint32_t to = return_address(c, engine);
  if (c->next_call && to == c->call_return && c->calls[c->next_call - 1] == address) return;
  c->call_return = to;
  if (c->next_call >= c->call_count || c->calls[c->next_call] != address) {
    c->unexpected++;
    return;
  }
  c->next_call++;
  note(c, c->next_call);
}

static void note_block(struct counter *c, struct block *block) {
  if (c->last && c->last->address + c->last->size == block->address) c->last->fell_through++;
  c->last = c->run_return != NOT_RUNNING ? block : 0;
  block->executed += c->last != 0;
}

void on_block(void *engine, uint64_t address, uint32_t size, void *data) {
  struct counter *c = data;
  struct block *block = find_block(c, engine, (uint32_t)address, size);
  if ((uint32_t)address == c->run_return) end_run(c);
  if (block->mark == RUN && c->run_return == NOT_RUNNING) start_run(c, engine);
  if (block->mark == KERNEL && c->run_return != NOT_RUNNING) start_call(c, engine, (uint32_t)address);
  note_block(c, block);
  c->instructions += block->instructions;
}
