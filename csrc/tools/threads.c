/* threads.c: many callers at once, each with several threads, and children of fork() between them. `make tsan` builds it with
   ThreadSanitizer.

       threads SECONDS

   Every result must have the bits of one thread. A child of fork() does the same, while the callers of its parent go on. */
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

enum { CALLERS = 4, ELEMENTS = 120000, CASES = 7 };

static float x[ELEMENTS], expected[CASES][ELEMENTS];
static time_t end;
static _Atomic int calls, wrong;

/* Rows, short rows, planes, rows whose blocks are shared (also in place, and with one result for each row), elements */
static void compute(int which, float *y, int threads) {
    static const struct {
        sl_op op;
        ptrdiff_t outer, n, inner;
    } cases[] = {{SL_SOFTMAX, 240, 500, 1},    {SL_LOG_SOFTMAX, 12000, 10, 1}, {SL_SOFTMAX, 1, 400, 300},
                 {SL_SOFTMAX, 1, ELEMENTS, 1}, {SL_LOG_SOFTMAX, 2, 60000, 1},  {SL_LOGSUMEXP, 3, 40000, 1}};
    int failed = 0;
    if (which == CASES - 1) {
        const sl_elementwise_job job = {.op = SL_SIGMOID, .x = x, .y = y, .scale = 1, .n = ELEMENTS};
        sl_run_elementwise(&job, threads);
    } else {
        const int in_place = which % 2;
        if (in_place) memcpy(y, x, sizeof x);
        const sl_job job = {.op = cases[which].op,
                            .x = in_place && which != 5 ? y : x,
                            .y = y,
                            .outer = cases[which].outer,
                            .n = cases[which].n,
                            .inner = cases[which].inner};
        failed = sl_run(&job, threads);
    }
    if (failed) atomic_store(&wrong, 1);
}

static void *call(void *number) {
    unsigned seed = (unsigned)(size_t)number;
    float *y = malloc(sizeof x);
    for (int i = 0; time(NULL) < end && !atomic_load(&wrong); i++) {
        const int which = (int)(seed + (unsigned)i) % CASES, threads = 2 + i % 6;
        memset(y, 0, sizeof x);
        compute(which, y, threads);
        if (memcmp(y, expected[which], which == 5 ? 3 * sizeof *y : sizeof x)) atomic_store(&wrong, 1);
        atomic_fetch_add(&calls, 1);
    }
    free(y);
    return NULL;
}

/* Callers until the time is over; the children of the first process are its own copies of all this. */
static int run(int is_child) {
    pthread_t callers[CALLERS];
    for (size_t i = 0; i < CALLERS; i++) pthread_create(&callers[i], NULL, call, (void *)(i + 1));
    while (!is_child && time(NULL) < end && !atomic_load(&wrong)) {
        int status;
        const pid_t child = fork();
        if (child == 0) {
            end = time(NULL) + 2;
            exit(run(1));
        }
        if (child < 0 || waitpid(child, &status, 0) < 0 || status) atomic_store(&wrong, 1);
    }
    for (int i = 0; i < CALLERS; i++) pthread_join(callers[i], NULL);
    return atomic_load(&wrong);
}

int main(int argc, char **argv) {
    if (argc < 2) return fprintf(stderr, "usage: threads SECONDS\n"), 2;
    sl_use_isa(sl_isa_name(0));
    for (int i = 0; i < ELEMENTS; i++) x[i] = (float)(i * 7919 % 10007) / 500;
    for (int i = 0; i < CASES; i++) compute(i, expected[i], 1);
    end = time(NULL) + atoi(argv[1]);
    const int failed = run(0);
    printf("threads: %s, %d calls by %d callers%s\n", sl_thread_engine(), atomic_load(&calls), CALLERS, failed ? ": WRONG" : ", same bits");
    return failed;
}
