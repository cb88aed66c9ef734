/* parallel.c: cuts a job into work items and runs them, on several threads where that pays. The only OpenMP of the project. It knows no
   operation and no layout: the plan of a kernel table says how a job can be cut. How many items a thread gets never shows in the result. */
#include <stdlib.h>
#include <string.h>
#ifdef _OPENMP
#include <omp.h>
#define OMP(directive) _Pragma(#directive)
#else
#define OMP(directive)
#endif
#if !defined(_WIN32)
#include <pthread.h>
#endif

#include "sanitize.h"
#include "softlane.h"

enum {
    PARALLEL_FROM = 98304, /* elements: some 15 us of work, several times what waking the team costs */
    CHUNK = 32768,         /* elements that a thread takes at a time */
    STACK = 16384,         /* bytes of scratch that a serial call takes from the stack */
    ALIGN = 64             /* bytes of a vector */
};

/* libgomp's threads do not survive fork(): a parallel region in the child would wait for them for ever. */
static int forked;
#if !defined(_WIN32)
static void in_child(void) { forked = 1; }
void sl_init(void) { pthread_atfork(NULL, NULL, in_child); }
#else
void sl_init(void) {}
#endif
int sl_forked(void) { return forked; }

int sl_has_openmp(void) {
#ifdef _OPENMP
    return 1;
#else
    return 0;
#endif
}

static int allowed(int threads) { return forked || threads < 1 || !sl_has_openmp() ? 1 : threads; }

static int thread_number(void) {
#ifdef _OPENMP
    return omp_get_thread_num();
#else
    return 0;
#endif
}

static int team_size(void) {
#ifdef _OPENMP
    return omp_get_num_threads();
#else
    return 1;
#endif
}

static ptrdiff_t smaller(ptrdiff_t a, ptrdiff_t b) { return a < b ? a : b; }
static size_t round_up(size_t bytes) { return (bytes + ALIGN - 1) / ALIGN * ALIGN; }
static void *aligned(void *p) { return (void *)(((uintptr_t)p + ALIGN - 1) / ALIGN * ALIGN); }

/* ---- units ---------------------------------------------------------------------------------------------------- */

static int run_serial(const sl_job *job, const sl_partition *p) {
    if (p->scratch <= STACK) {
        char stack[STACK + ALIGN];
        p->run(job, 0, p->units, aligned(stack));
        sl_unpoison(stack, sizeof stack);
        return 0;
    }
    char *memory = malloc(p->scratch + ALIGN);
    if (!memory) return -1;
    p->run(job, 0, p->units, aligned(memory));
    free(memory);
    return 0;
}

static int run_units(const sl_job *job, const sl_partition *p, int threads) {
    const ptrdiff_t groups = (p->units + p->units_per_group - 1) / p->units_per_group;
    if (threads == 1 || groups == 1 || p->units * p->unit_size < PARALLEL_FROM) return run_serial(job, p);
    ptrdiff_t per_chunk = CHUNK / (p->unit_size * p->units_per_group);
    if (per_chunk < 1 || p->blocks > 1) per_chunk = 1;
    const ptrdiff_t step = per_chunk * p->units_per_group, chunks = (p->units + step - 1) / step;
    const size_t each = round_up(p->scratch);
    char *memory = malloc((size_t)threads * each + ALIGN);
    if (!memory) return run_serial(job, p);
    char *scratch = aligned(memory);
    OMP(omp parallel for schedule(dynamic, 1) num_threads(threads))
    for (ptrdiff_t c = 0; c < chunks; c++)
        p->run(job, c * step, smaller((c + 1) * step, p->units), scratch + (size_t)thread_number() * each);
    free(memory);
    return 0;
}

/* ---- rows whose blocks are shared ------------------------------------------------------------------------------- */

/* One row by all threads of a team, each for its own blocks. Facts of the row change in single sections only, after a barrier that all
   threads reach, so none is in row_sum or row_map then. What belongs to a block is touched by one thread, the same for every row. */
static void share_row(const sl_job *job, const sl_partition *p, const sl_kernels *k, ptrdiff_t row, int *again, char *shared,
                      char *scratch) {
    const ptrdiff_t first = p->blocks * thread_number() / team_size(), last = p->blocks * (thread_number() + 1) / team_size();
    if (p->max_first) k->row_max(job, row, first, last, shared, scratch);
    else k->row_sum(job, row, first, last, shared, scratch);
    OMP(omp barrier)
    OMP(omp single)
    {
        *again = k->row_find_shift(job, row, shared, scratch) || p->max_first;
        if (!*again) k->row_finish(job, row, shared, scratch);
    }
    if (*again) {
        k->row_sum(job, row, first, last, shared, scratch);
        OMP(omp barrier)
        OMP(omp single)
        k->row_finish(job, row, shared, scratch);
    }
    k->row_map(job, row, first, last, shared, scratch);
    if (!p->stores_result) return;
    OMP(omp barrier)
    OMP(omp single)
    k->row_store_result(job, row, shared, scratch);
}

static int run_shared_rows(const sl_job *job, const sl_partition *p, const sl_kernels *k, int threads) {
    const size_t each = round_up(p->scratch), common = round_up(p->shared);
    char *memory = malloc((size_t)threads * each + common + ALIGN);
    if (!memory) return run_serial(job, p);
    char *shared = aligned(memory), *scratch = shared + common;
    int again = 0;
    memset(shared, 0, common);
    OMP(omp parallel num_threads(threads))
    for (ptrdiff_t row = 0; row < p->units; row++) share_row(job, p, k, row, &again, shared, scratch + (size_t)thread_number() * each);
    free(memory);
    return 0;
}

int sl_run(const sl_job *job, int threads) {
    const sl_kernels *k = job->y_dtype == SL_FLOAT64 ? sl_active()->f64 : sl_active()->f32;
    sl_partition p;
    k->plan(job, &p);
    threads = allowed(threads);
    const int shares = threads > 1 && p.blocks > 1 && p.units < 4 * (ptrdiff_t)threads && p.units * p.unit_size >= PARALLEL_FROM;
    return shares ? run_shared_rows(job, &p, k, threads) : run_units(job, &p, threads);
}

/* ---- elements ------------------------------------------------------------------------------------------------- */

void sl_run_elementwise(const sl_elementwise_job *job, int threads) {
    const sl_kernels *k = job->y_dtype == SL_FLOAT64 ? sl_active()->f64 : sl_active()->f32;
    const ptrdiff_t blocks = (job->n + SL_BLOCK - 1) / SL_BLOCK;
    threads = allowed(threads);
    if (threads == 1 || job->n < PARALLEL_FROM) {
        double scratch[SL_BLOCK + ALIGN / 8];
        k->elementwise(job, 0, blocks, aligned(scratch));
        return;
    }
    OMP(omp parallel for schedule(static) num_threads(threads))
    for (ptrdiff_t c = 0; c < blocks; c += CHUNK / SL_BLOCK) {
        double scratch[SL_BLOCK + ALIGN / 8];
        k->elementwise(job, c, smaller(c + CHUNK / SL_BLOCK, blocks), aligned(scratch));
    }
}
