/* pool.c: runs the chunks of a job on the calling thread and on workers. The only threads that the project makes. A chunk is a number here:
   parallel.c knows what it means.

   The ticket, one atomic number, says how many chunks of the job are left to take and how many workers may still join it. Whoever lowers it
   has won a chunk, and reads only then what the job is. The caller takes chunks too, and returns when all are counted as done. So it waits
   for a worker only if that holds a chunk, never for one that has not begun; and no job takes the place of one that a worker still reads.
   The ticket needs no number of the job: a late worker that lowers it has won a chunk of the job that is there now. */
#define _GNU_SOURCE /* syscall */
#include "softlane.h"
#if !defined(SL_THREADS_OPENMP) && !defined(SL_THREADS_NONE)
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>

enum {
    MOST_WORKERS = 1023,
    STACK_BYTES = 1 << 20, /* kernels take some 50 KB at most; musl's default is 128 KB */
    SPIN_NS = 20000,       /* how long a caller waits without sleeping: a chunk takes some 5 us */
    RETRY_AFTER = 1000     /* calls */
};

static void work(void);

/* ---- the operating system: threads, and sleep until a number changes or, rarely, earlier --------------------------- */

#if defined(_WIN32)
#include <windows.h>
typedef HANDLE thread_id;
static void sleep_while(_Atomic uint32_t *number, uint32_t value) { WaitOnAddress((void *)number, &value, sizeof value, INFINITE); }
static void wake(_Atomic uint32_t *number, int threads) {
    threads == 1 ? WakeByAddressSingle((void *)number) : WakeByAddressAll((void *)number);
}
static DWORD WINAPI begin(void *unused) { return (void)unused, work(), 0; }
static int start_thread(thread_id *id) { return (*id = CreateThread(NULL, STACK_BYTES, begin, NULL, 0, NULL)) != NULL; }
static void watch_process(void) {} /* no fork; and the end of a process ends its other threads before it comes here */

#else
#include <pthread.h>
#include <signal.h>
#include <unistd.h>
typedef pthread_t thread_id;
static void *begin(void *unused) { return work(), unused; }

/* Signals are for the threads of the program: workers are born with all of them blocked. */
static int start_thread(thread_id *id) {
    pthread_attr_t attributes;
    sigset_t all, before;
    if (pthread_attr_init(&attributes)) return 0;
    pthread_attr_setstacksize(&attributes, STACK_BYTES);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    const int failed = pthread_create(id, &attributes, begin, NULL);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attributes);
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
static void watch_process(void);
#endif

/* ---- the pool ------------------------------------------------------------------------------------------------- */

static struct {
    sl_chunk_fn *run;
    const void *job;
    ptrdiff_t chunks;
    int threads;
} current;                               /* written by the caller that holds the pool, read by who has won a chunk */
static _Atomic uint64_t ticket;          /* workers that may join << 32 | chunks to take */
static _Atomic uint32_t unfinished;      /* chunks that are not counted as done; its caller may sleep on it */
static _Atomic uint32_t published;       /* jobs so far; idle workers sleep on it */
static _Atomic int idle, caller_sleeps;  /* workers that sleep; 0 or 1 */
static _Atomic int held, started, stops; /* does a caller have the pool? workers; does the process end? */
static thread_id workers[MOST_WORKERS];

/* Takes a chunk, and a place among the workers where joins is 1. */
static int win_chunk(uint64_t joins, uint64_t *won) {
    *won = atomic_load(&ticket);
    do {
        if ((uint32_t)*won == 0 || *won >> 32 < joins) return 0;
    } while (!atomic_compare_exchange_weak(&ticket, won, *won - (joins << 32) - 1));
    return 1;
}

/* Runs a chunk that is won, and others while there are any. They are counted at the end: until then the job stays. */
static void run_from(uint64_t won, int number) {
    uint32_t done = 0;
    do {
        current.run(current.job, current.chunks - (ptrdiff_t)(uint32_t)won, number);
        done++;
    } while ((number == 0 || !atomic_load(&stops)) && win_chunk(0, &won));
    if (atomic_fetch_sub(&unfinished, done) == done && atomic_load(&caller_sleeps)) wake(&unfinished, 1);
}

static void work(void) {
    while (!atomic_load(&stops)) {
        const uint32_t seen = atomic_load(&published);
        uint64_t won;
        if (win_chunk(1, &won)) {
            run_from(won, current.threads - (int)(won >> 32));
            continue;
        }
        atomic_fetch_add(&idle, 1);
        sleep_while(&published, seen);
        atomic_fetch_sub(&idle, 1);
    }
}

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

static int64_t now(void) {
    struct timespec t;
    timespec_get(&t, TIME_UTC);
    return t.tv_sec * (int64_t)1000000000 + t.tv_nsec;
}
static void wait_for_chunks(void) {
    uint32_t left = atomic_load(&unfinished);
    if (!left) return;
    const int64_t start = now();
    while (left && (uint64_t)(now() - start) < SPIN_NS) left = atomic_load(&unfinished); /* also if the clock is set */
    atomic_store(&caller_sleeps, 1);
    while ((left = atomic_load(&unfinished))) sleep_while(&unfinished, left);
    atomic_store(&caller_sleeps, 0);
}

int sl_pool_run(sl_chunk_fn *run, const void *job, ptrdiff_t chunks, int threads) {
    uint64_t won;
    if (chunks > (ptrdiff_t)INT32_MAX || atomic_exchange(&held, 1)) return 0;
    const int count = have_workers((threads < chunks ? threads : (int)chunks) - 1);
    if (count > 0) {
        current.run = run, current.job = job, current.chunks = chunks, current.threads = count + 1;
        atomic_store(&unfinished, (uint32_t)chunks);
        atomic_store(&ticket, (uint64_t)count << 32 | (uint32_t)chunks);
        atomic_fetch_add(&published, 1);
        if (atomic_load(&idle)) wake(&published, count);
        if (win_chunk(0, &won)) run_from(won, 0);
        wait_for_chunks();
    }
    atomic_store(&held, 0);
    return count > 0;
}

/* ---- the process ---------------------------------------------------------------------------------------------- */

#if !defined(_WIN32)
/* A child of fork() has none of the threads, and may be born while a job runs: it begins with a new pool. */
static void in_child(void) {
    atomic_store(&ticket, 0);
    atomic_store(&idle, 0);
    atomic_store(&caller_sleeps, 0);
    atomic_store(&started, 0);
    atomic_store(&held, 0);
    forget_sleepers();
}
/* Workers end after the chunk that they hold. A thread that computes during exit() goes on without them. */
static void at_exit(void) {
    atomic_store(&stops, 1);
    atomic_fetch_add(&published, 1);
    wake(&published, MOST_WORKERS);
    for (int i = 0; i < atomic_load(&started); i++) pthread_join(workers[i], NULL);
}
static void watch_process(void) {
    pthread_atfork(NULL, NULL, in_child);
    atexit(at_exit);
}
#endif
#endif
