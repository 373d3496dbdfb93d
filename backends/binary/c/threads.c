/* A pool of threads that run the parts of one job at a time.
 *
 * Part p belongs to thread p modulo the number of threads, the caller's being thread 0: neighbouring jobs then read
 * what their own core wrote. A job is published in one word, its number and how many parts it has; its other fields
 * are those of that job for who holds one of its parts, as the next job begins only when all parts are done. A thread
 * takes a part by writing the job's number into the part's seat. The caller takes those that nobody has begun a moment
 * after its own are done, so that nobody waits for a thread that sleeps.
 *
 * What one thread writes while another one waits for it lies in cache lines of its own.
 *
 * Linux may put a thread that it wakes behind the caller, on the same core, where it stays for milliseconds while the
 * others have nothing to do. A sleeper is therefore kept from the core that the caller wakes it from. */
#if defined(__linux__)
#define _GNU_SOURCE /* sched_getcpu, CPU_CLR */
#else
#define _POSIX_C_SOURCE 200809L
#endif
#include "MODEL.h"
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define PARTS LIMIT_THREADS
#define TURNS 2000  /* of waiting busily, some 50 microseconds */
#define PATIENCE 20 /* of the caller's turns before it takes what others have not begun */
#define LINE 64     /* bytes, of a cache */
#define COUNT 16    /* bits of a job that count its parts; the others are its number */
#define PARTS_OF(job) ((int)((job) & ((1 << COUNT) - 1)))

struct seat {
  _Alignas(LINE) _Atomic uint64_t job; /* the last one whose part is taken, or done */
};

struct worker {
  struct MODEL_threads *pool;
  pthread_t thread;
  int number;
#if defined(__linux__)
  cpu_set_t cores, given; /* that it may use, and without the caller's */
  int left;               /* the caller's, or -1 */
#endif
};

struct MODEL_threads {
  _Alignas(LINE) _Atomic uint64_t job;
  _Atomic(void *) context;
  void (*_Atomic body)(void *context, int index);
  _Alignas(LINE) atomic_int sleeping; /* threads */
  atomic_int stopping;
  _Alignas(LINE) pthread_mutex_t lock;
  pthread_cond_t begun;
  int others; /* threads beside the caller's */
  struct seat taken[PARTS], done[PARTS];
  struct worker worker[];
};

static void breathe(void) {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ volatile("yield");
#endif
}

static uint64_t job_of(_Atomic uint64_t *word) {
  return atomic_load_explicit(word, memory_order_acquire);
}

/* Runs a part of a job, unless another thread has taken it. */
static void run_part(struct MODEL_threads *pool, uint64_t job, int part) {
  uint64_t before = job_of(&pool->taken[part].job);
  if (before >= job || !atomic_compare_exchange_strong(&pool->taken[part].job, &before, job)) return;
  void (*const body)(void *, int) = atomic_load_explicit(&pool->body, memory_order_relaxed);
  body(atomic_load_explicit(&pool->context, memory_order_relaxed), part);
  atomic_store_explicit(&pool->done[part].job, job, memory_order_release);
}

static int idle(struct MODEL_threads *pool, uint64_t seen) {
  return job_of(&pool->job) == seen && !atomic_load(&pool->stopping);
}

#if defined(__linux__)
/* Reads anew what it may use where someone else has changed it. */
static void fall_asleep(struct worker *own) {
  cpu_set_t now;
  if (pthread_getaffinity_np(own->thread, sizeof now, &now) != 0 || CPU_EQUAL(&now, &own->given)) return;
  own->cores = own->given = now;
  own->left = -1;
}

static void keep_from(struct worker *one, int core) {
  if (core < 0 || core >= CPU_SETSIZE || core == one->left) return;
  cpu_set_t others = one->cores;
  CPU_CLR(core, &others);
  if (CPU_COUNT(&others) == 0 || pthread_setaffinity_np(one->thread, sizeof others, &others) != 0) return;
  one->given = others;
  one->left = core;
}
#endif

static void *serve(void *argument) {
  struct worker *const own = argument;
  struct MODEL_threads *const pool = own->pool;
  uint64_t seen = 0;
  while (!atomic_load(&pool->stopping)) {
    for (int turn = 0; turn < TURNS && idle(pool, seen); turn++) breathe();
    if (idle(pool, seen)) {
      pthread_mutex_lock(&pool->lock);
      atomic_fetch_add(&pool->sleeping, 1);
#if defined(__linux__)
      fall_asleep(own);
#endif
      while (idle(pool, seen)) pthread_cond_wait(&pool->begun, &pool->lock);
      atomic_fetch_sub(&pool->sleeping, 1);
      pthread_mutex_unlock(&pool->lock);
    }
    seen = job_of(&pool->job);
    for (int part = own->number; part < PARTS_OF(seen); part += pool->others + 1) run_part(pool, seen, part);
  }
  return 0;
}

/* A thread that falls asleep at this moment may be missed: the caller does its part, and the next job wakes it. */
static void wake(struct MODEL_threads *pool) {
  if (atomic_load_explicit(&pool->sleeping, memory_order_relaxed) == 0) return;
  pthread_mutex_lock(&pool->lock);
#if defined(__linux__)
  const int core = sched_getcpu();
  for (int index = 0; index < pool->others; index++) keep_from(&pool->worker[index], core);
#endif
  pthread_cond_broadcast(&pool->begun);
  pthread_mutex_unlock(&pool->lock);
}

struct MODEL_threads *MODEL_threads_start(int count) {
  const size_t wanted = count > 1 ? (size_t)count - 1 : 0;
  const size_t size = sizeof(struct MODEL_threads) + wanted * sizeof(struct worker);
  struct MODEL_threads *const pool = aligned_alloc(LINE, (size + LINE - 1) / LINE * LINE);
  if (!pool) return 0;
  memset(pool, 0, size);
  pthread_mutex_init(&pool->lock, 0);
  pthread_cond_init(&pool->begun, 0);
  pthread_mutex_lock(&pool->lock);
  size_t others = 0;
  while (others < wanted) {
    struct worker *const one = &pool->worker[others];
    one->pool = pool;
    one->number = (int)others + 1;
#if defined(__linux__)
    one->left = -1;
#endif
    if (pthread_create(&one->thread, 0, serve, one) != 0) break;
    others++;
  }
  pool->others = (int)others;
  pthread_mutex_unlock(&pool->lock);
  return pool;
}

void MODEL_threads_run(void *threads, int count, void (*body)(void *context, int index), void *context) {
  struct MODEL_threads *const pool = threads;
  const int shared = count < PARTS ? count : PARTS;
  const uint64_t job = ((job_of(&pool->job) >> COUNT) + 1) << COUNT | (uint64_t)shared;
  atomic_store_explicit(&pool->body, body, memory_order_relaxed);
  atomic_store_explicit(&pool->context, context, memory_order_relaxed);
  atomic_store_explicit(&pool->job, job, memory_order_release);
  wake(pool);
  for (int part = shared; part < count; part++) body(context, part);
  for (int part = 0; part < shared; part += pool->others + 1) run_part(pool, job, part);
  for (int part = 1, turn = 0; part < shared; turn++) {
    if (job_of(&pool->done[part].job) == job) part++;
    else if (turn >= PATIENCE && job_of(&pool->taken[part].job) < job) run_part(pool, job, part);
    else if (turn < TURNS) breathe();
    else sched_yield();
  }
}

void MODEL_threads_stop(struct MODEL_threads *pool) {
  if (!pool) return;
  pthread_mutex_lock(&pool->lock);
  atomic_store(&pool->stopping, 1);
  pthread_cond_broadcast(&pool->begun);
  pthread_mutex_unlock(&pool->lock);
  for (int index = 0; index < pool->others; index++) pthread_join(pool->worker[index].thread, 0);
  pthread_cond_destroy(&pool->begun);
  pthread_mutex_destroy(&pool->lock);
  free(pool);
}
