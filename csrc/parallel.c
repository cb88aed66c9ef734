/* parallel.c: split. Cuts a job into units of work and runs them, on several threads where that pays.
   The only OpenMP of the project. It decides which form of the kernels runs, from the class count, the inner length and
   the type alone; how many units a thread gets never shows in the result. */
#include <stdlib.h>
#ifdef _OPENMP
#include <omp.h>
#define OMP(directive) _Pragma(#directive)
#else
#define OMP(directive)
#endif
#if !defined(_WIN32)
#include <pthread.h>
#endif

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

typedef struct {
    const sl_kernels *forms;
    sl_units_fn *run;    /* NULL for long rows */
    ptrdiff_t units;     /* rows or tiles */
    ptrdiff_t unit_size; /* elements */
    ptrdiff_t together;  /* units that one step of the kernel takes */
    size_t scratch;      /* bytes for each thread, */
    size_t memory;       /* of which the last are for a choice */
} split;

static ptrdiff_t smaller(ptrdiff_t a, ptrdiff_t b) { return a < b ? a : b; }

static split split_job(const sl_job *job) {
    const int wide = job->y_storage == SL_FLOAT64;
    const ptrdiff_t lanes = wide ? 8 : 16, n = job->n;
    split s = {.forms = wide ? sl_active()->f64 : sl_active()->f32, .units = job->outer, .unit_size = n, .together = 1};
    ptrdiff_t elements;
    if (job->output) {
        s.run = s.forms->vjp;
        s.units = job->outer * ((job->inner + SL_TILE_WIDTH - 1) / SL_TILE_WIDTH);
        s.unit_size = n * smaller(job->inner, SL_TILE_WIDTH);
        elements = 2 * SL_BLOCK;
    } else if (job->choice && !(job->choice->how == SL_GIVEN || (job->choice->how == SL_LARGEST && job->y))) {
        s.run = s.forms->select_kernel;
        if (job->inner > 1) {
            s.units = job->outer * ((job->inner + SL_TILE_WIDTH - 1) / SL_TILE_WIDTH);
            s.unit_size = n * smaller(job->inner, SL_TILE_WIDTH);
        }
        elements = 0;
    } else if (job->inner > 1 && job->inner < lanes && n > SL_SHORT) {
        s.run = s.forms->narrow_columns;
        s.unit_size = n * job->inner;
        elements = lanes * smaller(n, SL_BLOCK) + 2 * lanes + SL_BLOCK + lanes * sl_row_stride(smaller(n, SL_BLOCK), lanes);
        if (n <= SL_BLOCK) s.together = lanes / job->inner;
    } else if (job->inner != 1) {
        const ptrdiff_t width = sl_tile_width(n, job->inner, lanes);
        s.run = s.forms->by_tiles;
        s.units = sl_tile_count(job, lanes);
        s.unit_size = n * width;
        elements = smaller(n, SL_BLOCK) * (width + lanes);
    } else if (n <= SL_SHORT) {
        s.run = s.forms->short_rows;
        s.together = SL_GROUP * lanes;
        elements = (2 * s.together + lanes) * n;
    } else if (n <= SL_BLOCK) {
        s.run = s.forms->by_rows;
        s.together = smaller(sl_rows_together(job, lanes), job->outer);
        elements = sl_rows_scratch(job, lanes);
    } else elements = sl_long_scratch(job);
    s.memory = (sl_choice_bytes(job) + ALIGN - 1) / ALIGN * ALIGN;
    s.scratch = ((size_t)elements * (wide ? 8 : 4) + ALIGN - 1) / ALIGN * ALIGN + s.memory;
    return s;
}

/* A thread's own job, which knows its part of the scratch. */
static sl_job own_job(const sl_job *job, const split *s, char *scratch) {
    sl_job own = *job;
    own.memory = scratch + s->scratch - s->memory;
    return own;
}

static void run_some(const sl_job *job, const split *s, ptrdiff_t first, ptrdiff_t last, char *scratch) {
    const sl_job own = own_job(job, s, scratch);
    s->run(&own, first, last, scratch);
}

static void *aligned(void *p) { return (void *)(((uintptr_t)p + ALIGN - 1) / ALIGN * ALIGN); }

/* ---- rows and tiles ------------------------------------------------------------------------------------------- */

static int run_units(const sl_job *job, const split *s, int threads) {
    const ptrdiff_t steps = (s->units + s->together - 1) / s->together;
    if (threads > 1 && s->units * s->unit_size >= PARALLEL_FROM && steps > 1) {
        ptrdiff_t per_chunk = CHUNK / (s->unit_size * s->together);
        if (per_chunk < 1) per_chunk = 1;
        const ptrdiff_t take = per_chunk * s->together, chunks = (s->units + take - 1) / take;
        char *memory = malloc((size_t)threads * s->scratch + ALIGN);
        if (!memory) return run_units(job, s, 1);
        char *scratch = aligned(memory);
        OMP(omp parallel for schedule(dynamic, 1) num_threads(threads))
        for (ptrdiff_t c = 0; c < chunks; c++) {
            run_some(job, s, c * take, smaller((c + 1) * take, s->units), scratch + (size_t)thread_number() * s->scratch);
        }
        free(memory);
        return 0;
    }
    if (s->scratch <= STACK) {
        char stack[STACK + ALIGN];
        run_some(job, s, 0, s->units, aligned(stack));
        return 0;
    }
    char *memory = malloc(s->scratch + ALIGN);
    if (!memory) return -1;
    run_some(job, s, 0, s->units, aligned(memory));
    free(memory);
    return 0;
}

/* ---- long rows ------------------------------------------------------------------------------------------------ */

static int wants_maxima(const sl_job *job) { return job->choice && job->choice->how == SL_LARGEST; }

static sl_long lay_out(const sl_job *job, char *memory, ptrdiff_t blocks) {
    sl_long l;
    l.shift = 0;
    l.stats = memory;
    l.high = memory + SL_STATS;
    l.low = memory + SL_STATS + ALIGN * blocks;
    l.max = (double *)(memory + SL_STATS + 2 * ALIGN * blocks);
    l.q = l.max + blocks;
    l.spread = l.q + blocks;
    l.distance = l.spread + blocks;
    l.picked = 0;
    l.maxima = wants_maxima(job) ? l.distance + blocks : NULL;
    return l;
}
static size_t long_bytes(const sl_job *job, ptrdiff_t blocks) {
    const size_t maxima = wants_maxima(job) ? sizeof(double) * SL_BLOCK / SL_VECTORS_PER_MAXIMUM : 0;
    return (SL_STATS + (2 * ALIGN + 4 * sizeof(double) + maxima) * (size_t)blocks + ALIGN - 1) / ALIGN * ALIGN;
}

static void run_row(const sl_job *job, const sl_kernels *f, ptrdiff_t row, ptrdiff_t blocks, sl_long *l, void *scratch) {
    if (job->op == SL_SOFTMAX && job->x == job->y) {
        f->long_max(job, row, 0, blocks, l, scratch);
        f->long_shift(job, row, 0, blocks, l, scratch);
        f->long_sum(job, row, 0, blocks, l, scratch);
    } else {
        f->long_sum(job, row, 0, blocks, l, scratch);
        f->long_shift(job, row, 0, blocks, l, scratch);
        if (l->shift != 0) f->long_sum(job, row, 0, blocks, l, scratch);
    }
    f->long_finish(job, row, 0, blocks, l, scratch);
    if (sl_visits_classes(job)) f->long_write(job, row, 0, blocks, l, scratch);
    if (job->values) f->long_mean(job, row, 0, blocks, l, scratch);
}

/* The same by all threads of a team, each for its own blocks. What needs the whole row is done by one of them. Only
   long_finish changes what long_write and the next row's long_sum read, and no thread is in either of them then. */
static void run_row_in_team(const sl_job *job, const sl_kernels *f, ptrdiff_t row, ptrdiff_t blocks, sl_long *l, void *scratch) {
    const ptrdiff_t first = blocks * thread_number() / team_size(), last = blocks * (thread_number() + 1) / team_size();
    int far = 1;
    if (job->op == SL_SOFTMAX && job->x == job->y) {
        f->long_max(job, row, first, last, l, scratch);
        OMP(omp barrier)
        OMP(omp single)
        f->long_shift(job, row, 0, blocks, l, scratch);
    } else {
        f->long_sum(job, row, first, last, l, scratch);
        OMP(omp barrier)
        OMP(omp single)
        {
            f->long_shift(job, row, 0, blocks, l, scratch);
            if (l->shift == 0) f->long_finish(job, row, 0, blocks, l, scratch);
        }
        far = l->shift != 0;
    }
    if (far) {
        f->long_sum(job, row, first, last, l, scratch);
        OMP(omp barrier)
        OMP(omp single)
        f->long_finish(job, row, 0, blocks, l, scratch);
    }
    if (sl_visits_classes(job)) f->long_write(job, row, first, last, l, scratch);
    if (job->values) {
        OMP(omp barrier)
        OMP(omp single)
        f->long_mean(job, row, 0, blocks, l, scratch);
    }
}

static int run_long(const sl_job *job, const split *s, int threads) {
    const ptrdiff_t blocks = sl_block_count(job), rows = job->outer;
    const sl_kernels *f = s->forms;
    const size_t each = s->scratch + long_bytes(job, blocks);
    if (rows * job->n < PARALLEL_FROM) threads = 1;
    char *memory = malloc((size_t)threads * each + ALIGN);
    if (!memory) return threads > 1 ? run_long(job, s, 1) : -1;
    char *scratch = aligned(memory); /* thread t: scratch at t * each, then its sl_long */
    sl_long l = lay_out(job, scratch + s->scratch, blocks);
    if (threads == 1) {
        const sl_job own = own_job(job, s, scratch);
        for (ptrdiff_t row = 0; row < rows; row++) run_row(&own, f, row, blocks, &l, scratch);
    } else if (rows >= 4 * (ptrdiff_t)threads) { /* rows to threads */
        OMP(omp parallel for schedule(dynamic, 1) num_threads(threads))
        for (ptrdiff_t row = 0; row < rows; row++) {
            char *its = scratch + (size_t)thread_number() * each;
            const sl_job own = own_job(job, s, its);
            sl_long shared = lay_out(job, its + s->scratch, blocks);
            run_row(&own, f, row, blocks, &shared, its);
        }
    } else {
        OMP(omp parallel num_threads(threads))
        {
            char *its = scratch + (size_t)thread_number() * each;
            const sl_job own = own_job(job, s, its);
            for (ptrdiff_t row = 0; row < rows; row++) run_row_in_team(&own, f, row, blocks, &l, its);
        }
    }
    free(memory);
    return 0;
}

int sl_run(const sl_job *job, int threads) {
    const split s = split_job(job);
    threads = allowed(threads);
    return s.run ? run_units(job, &s, threads) : run_long(job, &s, threads);
}

/* ---- elements ------------------------------------------------------------------------------------------------- */

void sl_run_elements(const sl_elements *e, int threads) {
    sl_elements_fn *run = e->y_storage == SL_FLOAT64 ? sl_active()->f64->elementwise : sl_active()->f32->elementwise;
    const ptrdiff_t blocks = (e->n + SL_BLOCK - 1) / SL_BLOCK;
    threads = allowed(threads);
    if (threads == 1 || e->n < PARALLEL_FROM) {
        double scratch[SL_BLOCK + ALIGN / 8];
        run(e, 0, blocks, aligned(scratch));
        return;
    }
    OMP(omp parallel for schedule(static) num_threads(threads))
    for (ptrdiff_t c = 0; c < blocks; c += CHUNK / SL_BLOCK) {
        double scratch[SL_BLOCK + ALIGN / 8];
        run(e, c, smaller(c + CHUNK / SL_BLOCK, blocks), aligned(scratch));
    }
}
