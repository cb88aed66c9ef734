/* parallel.c: cuts a job into chunks and runs them, on several threads where that pays. The only place that knows how a job is cut, and the
   only OpenMP, which a build may choose instead of pool.c. It knows no operation and no layout: the plan of a kernel table says how a job
   can be cut. Which thread runs a chunk, and how large chunks are, never shows in the result. */
#include <limits.h>
#include <stdlib.h>
#ifdef SL_THREADS_OPENMP
#include <omp.h>
#if !defined(_WIN32)
#include <pthread.h>
#endif
#endif

#include "environment.h"
#include "sanitize.h"
#include "softlane.h"

enum {
    PARALLEL_FROM = 98304, /* elements: some 15 us of work, so that waking a thread, 10 us, costs no more than it gains */
    CHUNKS_PER_THREAD = 8, /* of units: the last one makes others wait for little */
    ROW_CHUNKS = 2,        /* of the blocks of a row, for each thread: a chunk of blocks is slow to begin, since nothing was read ahead */
    SMALLEST_CHUNK = 4096, /* elements: under 1 us of work, some ten times what taking a chunk costs */
    LARGEST_CHUNK = 32768, /* elements: a thread that is slow, or stopped, holds no more */
    STACK = 16384,         /* bytes of scratch that a serial call takes from the stack */
    ALIGN = 64             /* bytes of a vector */
};

static ptrdiff_t smaller(ptrdiff_t a, ptrdiff_t b) { return a < b ? a : b; }
static ptrdiff_t larger(ptrdiff_t a, ptrdiff_t b) { return a > b ? a : b; }
static size_t round_up(size_t bytes) { return (bytes + ALIGN - 1) / ALIGN * ALIGN; }
static void *aligned(void *p) { return (void *)(((uintptr_t)p + ALIGN - 1) / ALIGN * ALIGN); }

int sl_may_share(ptrdiff_t elements) { return elements >= PARALLEL_FROM; }

/* ---- threads -------------------------------------------------------------------------------------------------- */

#if defined(SL_THREADS_OPENMP)
/* Threads of libgomp do not survive fork(): a parallel region in the child would wait for them for ever, so it runs serially. */
static int forked;
#if defined(_WIN32)
static void watch_fork(void) {} /* there is none */
#else
static void in_child(void) { forked = 1; }
static void begin_to_watch(void) { pthread_atfork(NULL, NULL, in_child); }
static void watch_fork(void) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, begin_to_watch);
}
#endif
#endif

int sl_most_threads(void) {
#if defined(SL_THREADS_OPENMP)
    return omp_get_max_threads(); /* also what omp_set_num_threads has set, for this thread */
#else
    return INT_MAX;
#endif
}

/* Exported, so that the library can be told from others of its name. */
SL_EXPORT const char *sl_thread_engine(void) {
#if defined(SL_THREADS_OPENMP)
    return "openmp";
#elif defined(SL_THREADS_NONE)
    return "none";
#else
    return "pool";
#endif
}

/* Runs each chunk once, on at most so many threads; all are done on return. The calling thread is in the default environment. So are those
   of the pool, which begin with that of the thread that starts them. Threads of OpenMP are shared with other libraries: each chunk enters
   it and leaves it. */
static void run_chunks(sl_chunk_fn *run, const void *job, ptrdiff_t chunks, int threads) {
#if defined(SL_THREADS_OPENMP)
    watch_fork();
    threads = (int)smaller(threads, chunks);
#pragma omp parallel for schedule(dynamic, 1) num_threads(threads) if (threads > 1 && !forked)
    for (ptrdiff_t c = 0; c < chunks; c++) {
        const sl_environment before = sl_enter_default();
        run(job, c, omp_get_thread_num());
        sl_leave_default(before);
    }
#else
#if !defined(SL_THREADS_NONE)
    if (threads > 1 && chunks > 1 && sl_pool_run(run, job, chunks, threads)) return;
#endif
    for (ptrdiff_t c = 0; c < chunks; c++) run(job, c, 0);
    (void)threads;
#endif
}

/* ---- units ---------------------------------------------------------------------------------------------------- */

struct cut {
    const sl_job *job;
    const sl_partition *p;
    const sl_kernels *k;
    ptrdiff_t items, per_chunk; /* units of the job, or blocks of the row */
    char *scratch;              /* each thread has its own */
    size_t scratch_each;
    /* where blocks are shared */
    ptrdiff_t row;
    char *shared;
    sl_blocks_fn *step;
};

/* How many items of this size a chunk has, if some number of chunks is wanted: a multiple of `together` */
static ptrdiff_t items_per_chunk(ptrdiff_t items, ptrdiff_t size, ptrdiff_t together, int chunks) {
    const ptrdiff_t wanted = items * size / chunks;
    const ptrdiff_t elements = smaller(larger(wanted, SMALLEST_CHUNK), LARGEST_CHUNK);
    return larger(elements / (size * together), 1) * together;
}
static ptrdiff_t chunk_count(const struct cut *c) { return (c->items + c->per_chunk - 1) / c->per_chunk; }

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

static void run_unit_chunk(const void *context, ptrdiff_t chunk, int number) {
    const struct cut *c = context;
    const ptrdiff_t first = chunk * c->per_chunk;
    c->p->run(c->job, first, smaller(first + c->per_chunk, c->items), c->scratch + (size_t)number * c->scratch_each);
}

static int run_units(struct cut *c, int threads) {
    c->items = c->p->units;
    c->per_chunk = items_per_chunk(c->items, c->p->unit_size, c->p->units_per_group, threads * CHUNKS_PER_THREAD);
    const ptrdiff_t chunks = chunk_count(c);
    threads = (int)smaller(threads, chunks);
    char *memory = threads > 1 ? malloc((size_t)threads * c->scratch_each + ALIGN) : NULL;
    if (!memory) return run_serial(c->job, c->p);
    c->scratch = aligned(memory);
    run_chunks(run_unit_chunk, c, chunks, threads);
    free(memory);
    return 0;
}

/* ---- rows whose blocks are shared ------------------------------------------------------------------------------- */

static void run_block_chunk(const void *context, ptrdiff_t chunk, int number) {
    const struct cut *c = context;
    const ptrdiff_t first = chunk * c->per_chunk;
    c->step(c->job, c->row, first, smaller(first + c->per_chunk, c->items), c->shared, c->scratch + (size_t)number * c->scratch_each);
}
static void run_step(struct cut *c, sl_blocks_fn *step, int threads) {
    c->step = step;
    run_chunks(run_block_chunk, c, chunk_count(c), threads);
}

/* One row by all threads. What is known of the row changes in steps of the calling thread only, while no other one runs. */
static void share_row(struct cut *c, int threads) {
    const sl_job *job = c->job;
    const sl_kernels *k = c->k;
    k->row_start(job, c->row, c->shared, c->scratch);
    run_step(c, c->p->max_first ? k->row_max : k->row_sum, threads);
    const int again = k->row_find_shift(job, c->row, c->shared, c->scratch) || c->p->max_first;
    if (again) run_step(c, k->row_sum, threads);
    k->row_finish(job, c->row, c->shared, c->scratch);
    if (c->p->maps) run_step(c, k->row_map, threads);
    if (c->p->stores_result) k->row_store_result(job, c->row, c->shared, c->scratch);
}

static int run_shared_rows(struct cut *c, int threads) {
    const size_t common = round_up(c->p->shared);
    c->items = c->p->blocks;
    c->per_chunk = items_per_chunk(c->items, SL_BLOCK, 1, threads * ROW_CHUNKS);
    threads = (int)smaller(threads, chunk_count(c));
    char *memory = malloc((size_t)threads * c->scratch_each + common + ALIGN);
    if (!memory) return run_serial(c->job, c->p);
    c->shared = aligned(memory);
    c->scratch = c->shared + common;
    for (c->row = 0; c->row < c->p->units; c->row++) share_row(c, threads);
    free(memory);
    return 0;
}

static int run_job(const sl_job *job, int threads) {
    const sl_kernels *k = job->y_dtype == SL_FLOAT64 ? sl_active()->f64 : sl_active()->f32;
    sl_partition p;
    k->plan(job, &p);
    if (threads < 2 || !sl_may_share(p.units * p.unit_size)) return run_serial(job, &p);
    struct cut c = {.job = job, .p = &p, .k = k, .scratch_each = round_up(p.scratch)};
    const ptrdiff_t idle = (threads - p.units % threads) % threads; /* threads that the last round of units has no work for */
    return p.blocks > 1 && 4 * idle > p.units ? run_shared_rows(&c, threads) : run_units(&c, threads);
}
int sl_run(const sl_job *job, int threads) {
    const sl_environment before = sl_enter_default();
    const int status = run_job(job, threads);
    sl_leave_default(before);
    return status;
}

/* ---- elements ------------------------------------------------------------------------------------------------- */

struct elements_cut {
    const sl_elementwise_job *job;
    const sl_kernels *k;
    ptrdiff_t blocks, per_chunk;
};

static void run_elements_chunk(const void *context, ptrdiff_t chunk, int number) {
    const struct elements_cut *c = context;
    const ptrdiff_t first = chunk * c->per_chunk;
    double scratch[SL_BLOCK + ALIGN / 8];
    (void)number;
    c->k->elementwise(c->job, first, smaller(first + c->per_chunk, c->blocks), aligned(scratch));
}

void sl_run_elementwise(const sl_elementwise_job *job, int threads) {
    const ptrdiff_t blocks = (job->n + SL_BLOCK - 1) / SL_BLOCK;
    struct elements_cut c = {job, job->y_dtype == SL_FLOAT64 ? sl_active()->f64 : sl_active()->f32, blocks, larger(blocks, 1)};
    if (threads > 1 && sl_may_share(job->n)) c.per_chunk = items_per_chunk(blocks, SL_BLOCK, 1, threads * CHUNKS_PER_THREAD);
    const sl_environment before = sl_enter_default();
    run_chunks(run_elements_chunk, &c, (blocks + c.per_chunk - 1) / c.per_chunk, threads);
    sl_leave_default(before);
}

/* ---- summaries ------------------------------------------------------------------------------------------------ */

enum { ROWS_PER_CHUNK = 1024 }; /* of summaries: some 30 us of work, and a multiple of the rows that go together */

struct summaries_cut {
    const sl_summary_job *job;
    const sl_isa *isa;
};

static void run_summaries_chunk(const void *context, ptrdiff_t chunk, int number) {
    const struct summaries_cut *c = context;
    const ptrdiff_t first = chunk * ROWS_PER_CHUNK;
    (void)number;
    c->isa->summaries(c->job, first, smaller(first + ROWS_PER_CHUNK, c->job->rows));
}

void sl_run_summaries(const sl_summary_job *job, int threads) {
    const struct summaries_cut c = {job, sl_active()};
    const sl_environment before = sl_enter_default();
    run_chunks(run_summaries_chunk, &c, (job->rows + ROWS_PER_CHUNK - 1) / ROWS_PER_CHUNK, threads);
    sl_leave_default(before);
}
