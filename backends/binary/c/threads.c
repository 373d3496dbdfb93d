/* A pool of threads that run the parts of one job at a time.
 *
 * A job is published in one word, its ticket: which job it is, how many parts it has, and how many of them are taken.
 * Who takes a part adds one to the ticket, if it still is the ticket that was read; the job's other fields are then those
 * of that job, as the next one begins only when all parts are done. A thread that comes late finds no part left, and
 * nobody waits for it. */
#define _POSIX_C_SOURCE 200809L
#include "MODEL.h"
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>

#define TURNS 2000 /* of waiting busily, some 50 microseconds */
#define PART 16    /* bits of the ticket that count parts, and those taken */
#define PARTS(ticket) (((ticket) >> PART) & 0xFFFF)
#define TAKEN(ticket) ((ticket) & 0xFFFF)

struct MODEL_threads {
  _Atomic uint64_t ticket;
  atomic_int left;     /* parts that are not done */
  atomic_int sleeping; /* threads */
  atomic_int stopping;
  void (*body)(void *context, int index);
  void *context;
  pthread_mutex_t lock;
  pthread_cond_t begun;
  int others; /* threads beside the caller's */
  pthread_t thread[];
};

static void breathe(void) {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ volatile("yield");
#endif
}

/* Takes parts as long as there are any. */
static void work(struct MODEL_threads *pool) {
  uint64_t ticket = atomic_load(&pool->ticket);
  while (TAKEN(ticket) < PARTS(ticket)) {
    if (!atomic_compare_exchange_weak(&pool->ticket, &ticket, ticket + 1)) continue;
    pool->body(pool->context, (int)TAKEN(ticket));
    atomic_fetch_sub(&pool->left, 1);
    ticket = atomic_load(&pool->ticket);
  }
}

static int idle(struct MODEL_threads *pool) {
  const uint64_t ticket = atomic_load(&pool->ticket);
  return TAKEN(ticket) >= PARTS(ticket) && !atomic_load(&pool->stopping);
}

static void *serve(void *argument) {
  struct MODEL_threads *const pool = argument;
  while (!atomic_load(&pool->stopping)) {
    for (int turn = 0; turn < TURNS && idle(pool); turn++) breathe();
    if (idle(pool)) {
      pthread_mutex_lock(&pool->lock);
      atomic_fetch_add(&pool->sleeping, 1);
      while (idle(pool)) pthread_cond_wait(&pool->begun, &pool->lock);
      atomic_fetch_sub(&pool->sleeping, 1);
      pthread_mutex_unlock(&pool->lock);
    }
    work(pool);
  }
  return 0;
}

static void wake(struct MODEL_threads *pool) {
  if (atomic_load(&pool->sleeping) == 0) return;
  pthread_mutex_lock(&pool->lock);
  pthread_cond_broadcast(&pool->begun);
  pthread_mutex_unlock(&pool->lock);
}

struct MODEL_threads *MODEL_threads_start(int count) {
  const int others = count > 1 ? count - 1 : 0;
  struct MODEL_threads *const pool = calloc(1, sizeof *pool + (size_t)others * sizeof pool->thread[0]);
  if (!pool) return 0;
  pthread_mutex_init(&pool->lock, 0);
  pthread_cond_init(&pool->begun, 0);
  while (pool->others < others && pthread_create(&pool->thread[pool->others], 0, serve, pool) == 0) pool->others++;
  return pool;
}

void MODEL_threads_run(void *threads, int count, void (*body)(void *context, int index), void *context) {
  struct MODEL_threads *const pool = threads;
  pool->body = body;
  pool->context = context;
  atomic_store(&pool->left, count);
  const uint64_t job = (atomic_load(&pool->ticket) >> (2 * PART)) + 1;
  atomic_store(&pool->ticket, job << (2 * PART) | (uint64_t)count << PART);
  wake(pool);
  work(pool);
  for (int turn = 0; atomic_load(&pool->left) > 0; turn++) {
    if (turn < TURNS) breathe();
    else sched_yield();
  }
}

void MODEL_threads_stop(struct MODEL_threads *pool) {
  if (!pool) return;
  pthread_mutex_lock(&pool->lock);
  atomic_store(&pool->stopping, 1);
  pthread_cond_broadcast(&pool->begun);
  pthread_mutex_unlock(&pool->lock);
  for (int index = 0; index < pool->others; index++) pthread_join(pool->thread[index], 0);
  pthread_cond_destroy(&pool->begun);
  pthread_mutex_destroy(&pool->lock);
  free(pool);
}
