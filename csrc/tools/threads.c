/* threads.c: many callers at once, each with several threads, in turn in this process and in a child of fork(). `make tsan` builds it
   with ThreadSanitizer, for the pool and for OpenMP.

       threads SECONDS

   Every result must have the bits of one thread. No caller is at work when a child is born: in the child of a process whose threads
   allocate memory, ThreadSanitizer's own allocator may wait for ever. tests/test_threads.py has such children.

   With OpenMP there are no children: they compute with one thread, and Archer, by which ThreadSanitizer understands OpenMP, crashes when
   they end. */
#define _DEFAULT_SOURCE
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "../softlane.h"

enum { CALLERS = 4, ELEMENTS = 120000 };

static const struct {
    sl_op op;
    ptrdiff_t outer, n, inner;
    int in_place;
    ptrdiff_t results;
} cases[] = {
    {SL_SOFTMAX, 240, 500, 1, 0, ELEMENTS},      /* rows */
    {SL_LOG_SOFTMAX, 12000, 10, 1, 1, ELEMENTS}, /* short rows */
    {SL_SOFTMAX, 1, 400, 300, 0, ELEMENTS},      /* planes */
    {SL_SOFTMAX, 1, ELEMENTS, 1, 1, ELEMENTS},   /* a row whose blocks are shared, and whose maximum comes first */
    {SL_LOG_SOFTMAX, 3, 40000, 1, 0, ELEMENTS},  /* shared, as all that follow but the last */
    {SL_LOGSUMEXP, 1, ELEMENTS, 1, 0, 1},        {SL_EXPECTATION, 3, 40000, 1, 0, 3},
    {SL_SIGMOID, 1, ELEMENTS, 1, 0, ELEMENTS}, /* elements */
};
enum { CASES = sizeof cases / sizeof *cases };

static float x[ELEMENTS], expected[CASES][ELEMENTS];
static time_t end;
static _Atomic int calls, wrong;

static void compute(int which, float *y, int threads) {
    const sl_expectation_args values = {x};
    sl_job job = {.op = cases[which].op, .x = x, .y = y, .args = &values};
    job.outer = cases[which].outer;
    job.n = cases[which].n;
    job.inner = cases[which].inner;
    if (cases[which].in_place) job.x = memcpy(y, x, sizeof x);
    if (job.op == SL_SIGMOID) {
        const sl_elementwise_job elements = {.op = job.op, .x = x, .y = y, .scale = 1, .n = job.n};
        sl_run_elementwise(&elements, threads);
    } else if (sl_run(&job, threads)) atomic_store(&wrong, 1);
}

static void *call(void *number) {
    const int seed = (int)(size_t)number;
    float *y = malloc(sizeof x);
    for (int i = 0; time(NULL) < end && !atomic_load(&wrong); i++) {
        const int which = (seed + i) % CASES, threads = 2 + i % 6;
        memset(y, 0, sizeof x);
        compute(which, y, threads);
        if (memcmp(y, expected[which], (size_t)cases[which].results * sizeof *y)) atomic_store(&wrong, 1);
        atomic_fetch_add(&calls, 1);
    }
    free(y);
    return NULL;
}

static int run_callers(int seconds) {
    pthread_t callers[CALLERS];
    end = time(NULL) + seconds;
    for (size_t i = 0; i < CALLERS; i++) pthread_create(&callers[i], NULL, call, (void *)(i + 1));
    for (int i = 0; i < CALLERS; i++) pthread_join(callers[i], NULL);
    return atomic_load(&wrong);
}

static int run_in_child(int seconds) {
    int status;
    const pid_t child = fork();
    if (child == 0) exit(run_callers(seconds));
    return child < 0 || waitpid(child, &status, 0) < 0 || status;
}

int main(int argc, char **argv) {
    if (argc < 2) return fprintf(stderr, "usage: threads SECONDS\n"), 2;
    sl_use_isa(sl_isa_name(0));
    for (int i = 0; i < ELEMENTS; i++) x[i] = (float)(i * 7919 % 10007) / 500;
    for (int i = 0; i < CASES; i++) compute(i, expected[i], 1);
    const time_t stop = time(NULL) + atoi(argv[1]);
    const int has_children = strcmp(sl_thread_engine(), "openmp") != 0;
    int failed = 0;
    while (!failed && time(NULL) < stop) failed = run_callers(2) || (has_children && run_in_child(2));
    printf("threads: %s, %d calls by %d callers%s\n", sl_thread_engine(), atomic_load(&calls), CALLERS, failed ? ": WRONG" : ", same bits");
    return failed;
}
