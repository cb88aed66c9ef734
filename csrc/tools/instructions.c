/* instructions.c: run one job of the AVX2 path so many times. count_instructions.py runs this under valgrind and counts instructions.

       instructions              prints the compiler of this program, then the names of the jobs
       instructions NAME TIMES   sets the job up, runs it once and then TIMES more

   The difference between two runs contains neither the start of the program nor what only a first call does. valgrind does not know
   AVX-512, hence AVX2; without it, the program ends with 2. Inputs come from an integer generator and exact scalings, so they are the
   same on every machine. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../softlane.h"

#ifdef __clang__
#define COMPILER "clang " __clang_version__
#else
#define COMPILER "gcc " __VERSION__
#endif

static const struct {
    const char *name;
    sl_op op;
    sl_dtype dtype;
    ptrdiff_t outer, n, inner;
} jobs[] = {
    {"softmax-256x1000", SL_SOFTMAX, SL_FLOAT32, 256, 1000, 1},
    {"softmax-64x80", SL_SOFTMAX, SL_FLOAT32, 64, 80, 1},
    {"softmax-1000x2", SL_SOFTMAX, SL_FLOAT32, 1000, 2, 1},
    {"softmax-1000x10", SL_SOFTMAX, SL_FLOAT32, 1000, 10, 1},
    {"softmax-64x1000-float64", SL_SOFTMAX, SL_FLOAT64, 64, 1000, 1},
    {"softmax-64x1000-float16", SL_SOFTMAX, SL_FLOAT16, 64, 1000, 1},
    {"softmax-1x21x1024-axis-1", SL_SOFTMAX, SL_FLOAT32, 1, 21, 32 * 32},
    {"log_softmax-256x1000", SL_LOG_SOFTMAX, SL_FLOAT32, 256, 1000, 1},
    {"logsumexp-256x1000", SL_LOGSUMEXP, SL_FLOAT32, 256, 1000, 1},
    {"cross_entropy_grad-64x1000", SL_CROSS_ENTROPY_GRAD, SL_FLOAT32, 64, 1000, 1},
    {"topk-10-of-8x32000", SL_TOPK_PROBS, SL_FLOAT32, 8, 32000, 1},
};
enum { JOBS = sizeof jobs / sizeof *jobs, TOP = 10 };

static uint64_t state = 1;
static uint64_t next(void) { /* splitmix64 */
    uint64_t z = (state += 0x9E3779B97F4A7C15u);
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}

/* Logits within +-8 */
static void fill(void *x, sl_dtype dtype, ptrdiff_t count) {
    for (ptrdiff_t i = 0; i < count; i++) {
        const double v = ldexp((double)(int64_t)next(), -60);
        if (dtype == SL_FLOAT64) ((double *)x)[i] = v;
        else if (dtype == SL_FLOAT32) ((float *)x)[i] = (float)v;
        else ((uint16_t *)x)[i] = (uint16_t)((next() & 0x8000u) + 0x3000u + next() % 0x1800u); /* 1/8 to 8, either sign */
    }
}

static void *allocate(ptrdiff_t count) { /* of at most 8 bytes each, always at the same place in a cache line */
    void *data = aligned_alloc(64, ((size_t)count * 8 + 63) / 64 * 64);
    if (!data) exit(1);
    return data;
}

static void run(int which, long times) {
    const ptrdiff_t outer = jobs[which].outer, n = jobs[which].n, inner = jobs[which].inner, count = outer * n * inner;
    void *x = allocate(count), *y = allocate(count);
    int64_t *target = allocate(outer), *index = allocate(outer * TOP);
    double *loss = allocate(outer);
    fill(x, jobs[which].dtype, count);
    for (ptrdiff_t i = 0; i < outer; i++) target[i] = (int64_t)(next() % (uint64_t)n);
    const sl_loss_args losses = {.target = target, .ignore_index = -100, .scale = 1.0 / (double)outer, .loss = loss};
    const sl_select_args selection = {.k = TOP, .index = {index, 8}, .sorted = 1};
    sl_job job = {.op = jobs[which].op, .x_dtype = jobs[which].dtype, .y_dtype = jobs[which].dtype, .x = x, .y = y};
    job.outer = outer;
    job.n = n;
    job.inner = inner;
    if (job.op == SL_CROSS_ENTROPY_GRAD) job.args = &losses;
    if (job.op == SL_TOPK_PROBS) job.args = &selection;
    for (long i = 0; i <= times; i++)
        if (sl_run(&job, 1)) exit(1);
}

int main(int argc, char **argv) {
    if (argc == 1) {
        puts(COMPILER);
        for (int i = 0; i < JOBS; i++) puts(jobs[i].name);
        return 0;
    }
    if (sl_use_isa("avx2")) return 2;
    for (int i = 0; i < JOBS && argc == 3; i++)
        if (!strcmp(argv[1], jobs[i].name)) {
            run(i, strtol(argv[2], NULL, 10));
            return 0;
        }
    return 1;
}
