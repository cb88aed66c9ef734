/* pool.c: runs the chunks of a job on the calling thread and on workers. The only threads that the project makes. A chunk is a number here:
   parallel.c knows what it means.

   The ticket, one atomic number, says which chunks of the job are left to take, and how many workers may still join it. Whoever changes it
   has won a chunk, and reads only then what the job is. The caller takes chunks too, and returns when all are counted as done. So it waits
   for a worker only if that holds a chunk, never for one that has not begun; and no job takes the place of one that a worker still reads.
   The ticket needs no number of the job: a late worker that changes it has won a chunk of the job that is there now. */
#define _GNU_SOURCE /* syscall */
#include "softlane.h"
#if !defined(SL_THREADS_OPENMP) && !defined(SL_THREADS_NONE)
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>

/* CALLER_SPIN_NS: ns that the caller waits for the last chunks before it sleeps. A chunk takes some 5 us. WORKER_SPIN_NS: ns that a worker
   waits for the next step of a row. To wake a worker takes the caller 5 us, and 5 more until it begins. RETRY_AFTER: calls. */
enum { MOST_WORKERS = 1023, RETRY_AFTER = 1000, CALLER_SPIN_NS = 20000, WORKER_SPIN_NS = 8000 };
static void work(void);

/* ---- the operating system: threads, and sleep until a number changes or, rarely, earlier --------------------------- */

#if defined(_WIN32)
#include <windows.h>
typedef HANDLE thread_id;
static void sleep_while(_Atomic uint32_t *number, uint32_t value) { WaitOnAddress((void *)number, &value, sizeof value, INFINITE); }
static void wake(_Atomic uint32_t *number, int threads) { (void)threads, WakeByAddressAll((void *)number); }
static DWORD WINAPI begin(void *unused) { return (void)unused, work(), 0; }
static int start_thread(thread_id *id) { return (*id = CreateThread(NULL, 0, begin, NULL, 0, NULL)) != NULL; }
static void watch_process(void) {} /* no fork; and the end of a process ends its other threads before it comes here */
#else
#include <pthread.h>
#include <signal.h>
#include <unistd.h>
typedef pthread_t thread_id;
static void *begin(void *unused) { return work(), unused; }

/* Signals are for the threads of the program: workers are born with all of them blocked. */
static int start_thread(thread_id *id) {
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    const int failed = pthread_create(id, NULL, begin, NULL);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return !failed;
}

#if defined(__linux__) && !defined(SL_CONDITION_VARIABLE)
#include <linux/futex.h>
#include <sys/syscall.h>
static void sleep_while(_Atomic uint32_t *number, uint32_t value) { syscall(SYS_futex, number, FUTEX_WAIT_PRIVATE, value, NULL, NULL, 0); }
static void wake(_Atomic uint32_t *number, int threads) { syscall(SYS_futex, number, FUTEX_WAKE_PRIVATE, threads, NULL, NULL, 0); }
static void forget_sleepers(void) {}
#else
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static void sleep_while(_Atomic uint32_t *number, uint32_t value) {
    pthread_mutex_lock(&lock);
    while (atomic_load(number) == value) pthread_cond_wait(&changed, &lock);
    pthread_mutex_unlock(&lock);
}
static void wake(_Atomic uint32_t *number, int threads) {
    (void)number, (void)threads;
    pthread_mutex_lock(&lock); /* who is between the test and the wait has the lock */
    pthread_mutex_unlock(&lock);
    pthread_cond_broadcast(&changed);
}
static void forget_sleepers(void) {
    lock = (pthread_mutex_t)PTHREAD_MUTEX_INITIALIZER;
    changed = (pthread_cond_t)PTHREAD_COND_INITIALIZER;
}
#endif
#endif

/* ---- the pool ------------------------------------------------------------------------------------------------- */

/* How many workers may join, the first chunk that is left to take, and the end of those: bits from 48 on, from 24 on, and the lowest */
enum { PLACES = 48, FRONT = 24, MOST_CHUNKS = (1 << FRONT) - 1 };
static _Atomic uint64_t ticket;
static struct {
    sl_chunk_fn *run;
    const void *job;
    int threads;
} current;                               /* written by the caller that holds the pool, read by who has won a chunk */
static _Atomic uint32_t unfinished;      /* chunks that are not counted as done; the caller may sleep on it */
static _Atomic uint32_t published;       /* jobs so far; idle workers sleep on it */
static _Atomic int idle, caller_sleeps;  /* workers that sleep; 0 or 1 */
static _Atomic int held, started, stops; /* does a caller have the pool? workers; does the process end? */
static thread_id workers[MOST_WORKERS];
static uint64_t now_ns(void) {
    struct timespec t;
    timespec_get(&t, TIME_UTC); /* if the clock is set meanwhile, a wait is too short or too long once */
    return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}
/* Did the number change within this time? */
static int spin_while(_Atomic uint32_t *number, uint32_t value, uint64_t ns) {
    for (const uint64_t start = now_ns(); now_ns() - start < ns;)
        if (atomic_load(number) != value) return 1;
    return 0;
}

/* Takes a chunk; a worker that joins takes a place too. -1: none is left. Workers take from the end: so a chunk meets the same caches, from
   one step of a row to the next and from call to call, as far as threads keep pace. */
static int win_chunk(int is_worker, uint64_t places, uint64_t *won) {
    *won = atomic_load(&ticket);
    for (;;) {
        const uint64_t front = *won >> FRONT & MOST_CHUNKS, end = *won & MOST_CHUNKS;
        if (front >= end || *won >> PLACES < places) return -1;
        const uint64_t left = is_worker ? *won - 1 : *won + ((uint64_t)1 << FRONT);
        if (atomic_compare_exchange_weak(&ticket, won, left - (places << PLACES))) return (int)(is_worker ? end - 1 : front);
    }
}

/* Runs a chunk that is won, and others while there are any. They are counted at the end: until then the job stays. */
static void run_from(int chunk, int number) {
    uint32_t done = 0;
    uint64_t won;
    do {
        current.run(current.job, chunk, number);
        done++;
        chunk = number && atomic_load(&stops) ? -1 : win_chunk(number > 0, 0, &won);
    } while (chunk >= 0);
    if (atomic_fetch_sub(&unfinished, done) == done && atomic_load(&caller_sleeps)) wake(&unfinished, 1);
}

static void work(void) {
    for (;;) {
        const uint32_t seen = atomic_load(&published); /* before stops, which at_exit sets first: so it is seen, or the number changes */
        uint64_t won;
        if (atomic_load(&stops)) return;
        const int chunk = win_chunk(1, 1, &won);
        if (chunk >= 0) run_from(chunk, current.threads - (int)(won >> PLACES));
        else if (!spin_while(&published, seen, WORKER_SPIN_NS)) {
            atomic_fetch_add(&idle, 1);
            sleep_while(&published, seen);
            atomic_fetch_sub(&idle, 1);
        }
    }
}

#if !defined(_WIN32)
/* A child of fork() has none of the threads, and may be born while a job runs: it begins with a new pool. */
static void in_child(void) {
    ticket = 0;
    idle = caller_sleeps = started = held = 0;
    forget_sleepers();
}
/* Workers end after the chunk that they hold. A thread that computes during exit() goes on without them. */
static void at_exit(void) {
    stops = 1;
    published++;
    wake(&published, MOST_WORKERS);
    for (int i = 0; i < started; i++) pthread_join(workers[i], NULL);
}
static void watch_process(void) {
    pthread_atfork(NULL, NULL, in_child);
    atexit(at_exit);
}
#endif

/* How many workers there are, if so many are wanted. A thread that cannot be started is done without, and tried again later. */
static int have_workers(int wanted) {
    static int watched, wait;
    int count = atomic_load(&started);
    if (wanted > MOST_WORKERS) wanted = MOST_WORKERS;
    if (count >= wanted) return wanted;
    if (atomic_load(&stops) || (wait > 0 && wait--)) return count;
    if (!watched++) watch_process();
    for (; count < wanted && start_thread(&workers[count]); count++) atomic_store(&started, count + 1);
    if (count < wanted) wait = RETRY_AFTER;
    return count;
}

static void wait_for_chunks(void) {
    uint32_t left;
    while ((left = atomic_load(&unfinished))) {
        if (spin_while(&unfinished, left, CALLER_SPIN_NS)) continue;
        atomic_store(&caller_sleeps, 1);
        sleep_while(&unfinished, left);
        atomic_store(&caller_sleeps, 0);
    }
}

int sl_pool_run(sl_chunk_fn *run, const void *job, ptrdiff_t chunks, int threads) {
    uint64_t won;
    if (chunks > MOST_CHUNKS || atomic_exchange(&held, 1)) return 0;
    const int count = have_workers((threads < chunks ? threads : (int)chunks) - 1);
    if (count > 0) {
        current.run = run, current.job = job, current.threads = count + 1;
        atomic_store(&unfinished, (uint32_t)chunks);
        atomic_store(&ticket, (uint64_t)count << PLACES | (uint64_t)chunks);
        atomic_fetch_add(&published, 1);
        if (atomic_load(&idle)) wake(&published, count);
        const int chunk = win_chunk(0, 0, &won);
        if (chunk >= 0) run_from(chunk, 0);
        wait_for_chunks();
    }
    atomic_store(&held, 0);
    return count > 0;
}
#endif
