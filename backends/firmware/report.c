/* Runs the model on its test vectors, compares every element, reads the clock, and says so (report.h). */
#include "report.h"

#include "board.h"

extern uint32_t _stack_bottom[], _stack_top[];

struct bevel_report bevel_report;

static uint64_t clock_cost, last_call;

static void put_text(const char *text) {
  while (*text) board_put(*text++);
}

static void put_number(uint64_t value) {
  char digits[21];
  char *first = digits + sizeof digits - 1;
  *first = 0;
  do {
    *--first = (char)('0' + value % 10);
    value /= 10;
  } while (value);
  put_text(first);
}

static void put_hex(uint64_t value, uint32_t bytes) {
  put_text("0x");
  for (int shift = (int)bytes * 8 - 4; shift >= 0; shift -= 4) board_put("0123456789abcdef"[(value >> shift) & 15]);
}

static void put_key(const char *key, uint64_t value) {
  board_put(' ');
  put_text(key);
  board_put('=');
  put_number(value);
}

static void put_hex_key(const char *key, uint64_t value, uint32_t bytes) {
  board_put(' ');
  put_text(key);
  board_put('=');
  put_hex(value, bytes);
}

/* CRC-32 four bits at a time: sixteen table entries instead of 256. */
static uint32_t crc32(uint32_t crc, const uint8_t *bytes, uint32_t count) {
  static const uint32_t table[16] = {
      0x00000000, 0x1DB71064, 0x3B6E20C8, 0x26D930AC, 0x76DC4190, 0x6B6B51F4, 0x4DB26158, 0x5005713C,
      0xEDB88320, 0xF00F9344, 0xD6D6A3E8, 0xCB61B38C, 0x9B64C2B0, 0x86D3D2D4, 0xA00AE278, 0xBDBDF21C,
  };
  crc = ~crc;
  while (count--) {
    crc ^= *bytes++;
    crc = (crc >> 4) ^ table[crc & 15];
    crc = (crc >> 4) ^ table[crc & 15];
  }
  return ~crc;
}

static uint64_t element_bits(const uint8_t *element, uint32_t bytes) {
  uint64_t bits = 0;
  for (uint32_t i = 0; i < bytes && i < 8; i++) bits |= (uint64_t)element[i] << (8 * i);
  return bits;
}

static uint32_t differing_bytes(const uint8_t *got, const uint8_t *expected, uint32_t bytes) {
  uint32_t count = 0;
  for (uint32_t i = 0; i < bytes; i++) count += got[i] != expected[i];
  return count;
}

struct place {
  uint32_t vector, output, element;
};

static void put_mismatch(struct place at, const uint8_t *got, const uint8_t *expected) {
  const uint32_t bytes = bevel_model.outputs[at.output].element_bytes;
  put_text("mismatch");
  put_key("vector", at.vector);
  put_key("output", at.output);
  put_key("element", at.element);
  put_hex_key("got", element_bits(got, bytes), bytes);
  put_hex_key("expected", element_bits(expected, bytes), bytes);
  board_put('\n');
}

/* `count` elements, the first of which is at `at`. */
static void check_elements(struct place at, uint32_t count, const uint8_t *got, const uint8_t *expected) {
  const uint32_t bytes = bevel_model.outputs[at.output].element_bytes;
  bevel_report.crc = crc32(bevel_report.crc, got, count * bytes);
  for (; count; count--, at.element++, got += bytes, expected += bytes) {
    if (!differing_bytes(got, expected, bytes)) continue;
    if (bevel_report.mismatches == 0) put_mismatch(at, got, expected);
    bevel_report.mismatches++;
  }
}

static void check_output(struct place at, const uint8_t *expected) {
  const struct bevel_tensor *tensor = &bevel_model.outputs[at.output];
  const uint32_t elements = tensor->bytes / tensor->element_bytes;
  if (!tensor->get) {
    check_elements(at, elements, bevel_model.arena + tensor->offset, expected);
    return;
  }
  float values[BEVEL_PART];
  for (uint32_t part = 0; at.element < elements; part++) {
    const uint32_t count = tensor->get(bevel_model.arena, part, values);
    if (!count) return; /* the CRC then tells that elements are missing */
    check_elements(at, count, (const uint8_t *)values, expected + at.element * tensor->element_bytes);
    at.element += count;
  }
}

/* Not inlined: the clock is read around an indirect call in exactly one way. */
__attribute__((noinline)) static uint64_t timed(void (*function)(void *), void *argument) {
  const uint64_t before = board_ticks();
  function(argument);
  return board_ticks() - before;
}

#if defined(__riscv)
#define RETURN "ret"
#else
#define RETURN "bx lr"
#endif

/* One instruction with every compiler (EMPTY_FUNCTION_INSTRUCTIONS in devices/qemu.py). */
__attribute__((naked)) static void nothing(void *argument __attribute__((unused))) { __asm volatile(RETURN); }

/* Volatile, so that no compiler makes a copy of `timed` for it. */
static void (*const volatile empty_function)(void *) = nothing;

static const uint8_t *behind(const uint8_t *data, const struct bevel_tensor *tensor) {
  return data + ((tensor->bytes + 3) & ~(uint32_t)3);
}

static const uint8_t *load_inputs(const uint8_t *data) {
#if BEVEL_STATES
  if (*(const uint32_t *)(const void *)data) bevel_model.reset(bevel_model.arena);
  data += sizeof(uint32_t);
#endif
  for (uint32_t i = 0; i < bevel_model.input_count; i++) {
    const struct bevel_tensor *tensor = &bevel_model.inputs[i];
    if (tensor->set) tensor->set(bevel_model.arena, (const float *)(const void *)data);
    else __builtin_memcpy(bevel_model.arena + tensor->offset, data, tensor->bytes);
    data = behind(data, tensor);
  }
  return data;
}

static const uint8_t *check_outputs(uint32_t vector, const uint8_t *expected) {
  for (uint32_t i = 0; i < bevel_model.output_count; i++) {
    check_output((struct place){vector, i, 0}, expected);
    expected = behind(expected, &bevel_model.outputs[i]);
  }
  return expected;
}

static const uint8_t *run_vector(uint32_t vector, const uint8_t *data) {
  const uint32_t mismatches = bevel_report.mismatches;
  data = load_inputs(data);
  const uint64_t ticks = timed(bevel_model.run, bevel_model.arena) - clock_cost;
  data = check_outputs(vector, data);
  bevel_report.ticks += ticks;
  put_text("vector ");
  put_number(vector);
  put_key("mismatches", bevel_report.mismatches - mismatches);
  put_key("ticks", ticks);
  board_put('\n');
  return data;
}

static void after_call(int call) {
  const uint64_t now = board_ticks();
  bevel_model.call_ticks[call] = now - last_call;
  last_call = board_ticks();
}

static void (*const volatile after_each_call)(int call) = after_call;

static uint64_t empty_call_ticks(void) {
  void (*const after)(int call) = after_each_call;
  after(0);
  after(0);
  return bevel_model.call_ticks[0];
}

static void profile(const uint8_t *data) {
  load_inputs(data);
  const uint64_t empty = empty_call_ticks();
  last_call = board_ticks();
  bevel_model.run_profiled(bevel_model.arena, after_each_call);
  for (uint32_t i = 0; i < bevel_model.calls; i++) {
    const uint64_t ticks = bevel_model.call_ticks[i];
    put_text("call ");
    put_number(i);
    put_key("ticks", ticks > empty ? ticks - empty : 0);
    board_put('\n');
  }
}

static uint32_t stack_used(void) {
  const uint32_t *word = _stack_bottom;
  while (word < _stack_top && *word == BEVEL_STACK_PAINT) word++;
  return (uint32_t)((uintptr_t)_stack_top - (uintptr_t)word);
}

static void put_start(void) {
  put_text("bevel ");
  put_number(BEVEL_PROTOCOL);
  put_text(" model=");
  put_text(bevel_model.name);
  put_key("vectors", bevel_vectors.count);
  put_key("calls", bevel_model.calls);
  board_put('\n');
}

static void put_end(void) {
  put_text("end");
  put_key("mismatches", bevel_report.mismatches);
  put_hex_key("crc", bevel_report.crc, 4);
  put_key("ticks", bevel_report.ticks);
  put_key("stack", bevel_report.stack);
  put_key("reserved", bevel_report.reserved);
  board_put('\n');
}

void bevel_main(void) {
  board_start();
  bevel_report.protocol = BEVEL_PROTOCOL;
  bevel_report.vectors = bevel_vectors.count;
  bevel_report.calls = bevel_model.calls;
  put_start();
  timed(empty_function, bevel_model.arena); /* the first pass warms what caches there are */
  clock_cost = timed(empty_function, bevel_model.arena);
  const uint8_t *data = bevel_vectors.data;
  for (uint32_t i = 0; i < bevel_vectors.count; i++) data = run_vector(i, data);
  if (bevel_vectors.count && bevel_model.calls) profile(bevel_vectors.data);
  bevel_report.stack = stack_used();
  bevel_report.reserved = (uint32_t)((uintptr_t)_stack_top - (uintptr_t)_stack_bottom);
  put_end();
  bevel_report.magic = BEVEL_MAGIC;
}

/* For the start-up code: the core's number of what happened, where, and where its caller would go on. */
void bevel_fault(uint32_t exception, uint32_t pc, uint32_t lr) {
  board_start(); /* it may not have been called yet */
  put_text("\nfault");
  put_key("exception", exception);
  put_hex_key("pc", pc, 4);
  put_hex_key("lr", lr, 4);
  board_put('\n');
  bevel_done();
}

/* Simulators and debuggers stop here by its name. */
__attribute__((noinline, noreturn)) void bevel_done(void) {
  for (;;) __asm volatile("wfi");
}
