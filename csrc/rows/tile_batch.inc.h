/* tile_batch.inc.h: a batch of up to TILE_VECTORS vectors of rows, one row per lane, whose classes lie in a tile [class][row]. It goes
   through these steps together:

     1. maximum -> range reduction -> collect targets -> sum of exponentials       sum_columns
     2. row statistics -> confident and nonfinite rows again -> finish            finish_groups
     3. what the operation makes of each class -> patch                           map_tile

   It knows no operation and no threads, and not where tiles come from. */
#ifndef SL_TILE_BATCH_INC
#define SL_TILE_BATCH_INC
#include "rows/blocks.inc.h"
#include "rows/finish.inc.h"
#include "rows/tile_loader.inc.h"
#include "rows/two_classes.inc.h"

/* Vectors of rows that go through all steps together. groups[j] has vector j: its rows, range reductions and statistics. */
struct tile_batch {
    const sl_job *job;
    const struct op *op;
    int count; /* vectors */
    int has_all_classes;
    real *tile; /* class k of the first vector at tile + k * stride; x, then e or results */
    ptrdiff_t stride;
    const real *x;                                 /* short rows, as they lie; or NULL */
    real *spare;                                   /* all classes of one vector of rows */
    const real *prefetched[2];                     /* what to prefetch meanwhile: n lines for each vector; or NULL */
    ptrdiff_t prefetched_vector, prefetched_class; /* from one vector, and from one class, to the next */
    struct tile_output to;
    struct row_group groups[TILE_VECTORS];
    struct row_stats stats[TILE_VECTORS];
    struct row_targets targets[TILE_VECTORS];
    struct temperature_params temperatures[TILE_VECTORS];
};

/* ---- batches --------------------------------------------------------------------------------------------------- */

/* Field by field: zeros for all of it would cost more than a small call. */
static void init_batch(struct tile_batch *b, const sl_job *job, real *spare, void *op_scratch) {
    b->job = job;
    b->op = op_of(job);
    b->spare = spare;
    b->x = NULL;
    b->prefetched[0] = b->prefetched[1] = NULL;
    for (int j = 0; j < TILE_VECTORS; j++) b->groups[j].op_scratch = op_scratch;
}

/* Rows first to first + columns. shared: the one temperature of all rows, or NULL */
static void start_batch(struct tile_batch *b, ptrdiff_t first, ptrdiff_t columns, const struct temperature_params *shared) {
    b->count = (int)((columns + LANES - 1) / LANES);
    for (int j = 0; j < b->count; j++) {
        struct row_group *g = &b->groups[j];
        const ptrdiff_t left = columns - j * LANES;
        g->job = b->job;
        g->first = first + j * LANES;
        g->rows = (int)(left < LANES ? left : LANES);
        g->stats = &b->stats[j];
        g->targets = &b->targets[j];
        g->part_maxima = NULL;
        g->x = g->results = NULL;
        g->tile = b->has_all_classes && !keeps_exp(b->op) ? b->tile + j * LANES : NULL;
        g->tile_stride = b->stride;
        g->params.temperature = shared ? shared : load_temperature(b->job, g->first, g->rows, &b->temperatures[j]);
    }
}

SL_INLINE struct block block_of_columns(const struct row_group *g, ptrdiff_t first_class, ptrdiff_t n, real *at, ptrdiff_t stride) {
    return (struct block){g->first, g->rows, first_class, n, at, 1, stride};
}

/* ---- 1. the sums ------------------------------------------------------------------------------------------------ */

/* max: of each column, or NULL */
static void reduce_ranges(struct tile_batch *b, const real *max) {
    for (int j = 0; j < b->count; j++) {
        struct exp_params *p = &b->groups[j].params;
        const vec lowest = v_set1(-INFINITY);
        const vec m = max ? v_load(max + j * LANES) : column_max(b->tile + j * LANES, b->stride, b->job->n, lowest);
        *p = exp_params_for_max(max_of_rows(b->job, b->op, b->groups[j].first, b->groups[j].rows, m), p->temperature);
    }
}

static void prefetch_next(const struct tile_batch *b, int j) {
    for (int i = 0; i < 2; i++)
        for (ptrdiff_t k = 0; b->prefetched[i] && k < b->job->n; k++)
            sl_prefetch(b->prefetched[i] + j * b->prefetched_vector + k * b->prefetched_class);
}

static void collect_columns(const struct tile_batch *b, int j) {
    const struct row_group *g = &b->groups[j];
    const struct block x = block_of_columns(g, 0, b->job->n, b->tile + j * LANES, b->stride);
    real max[LANES];
    v_store(max, g->params.max);
    clear_targets(g->targets);
    b->op->collect(b->job, &x, max, g->targets);
}

SL_INLINE struct pair sum_column(const struct op *op, real *x, ptrdiff_t stride, ptrdiff_t n, const struct exp_params *p,
                                 struct row_stats *s) {
    if (op->sums_deviation) return pair_renormalize(column_exp_sum_with_deviation(x, stride, n, p, s->deviation, s->deviation_low));
    return pair_renormalize(keeps_exp(op) ? column_exp_sum(x, stride, n, p, 1) : column_exp_sum(x, stride, n, p, 0));
}
static void sum_columns(struct tile_batch *b, struct pair *sum) {
    const ptrdiff_t n = b->job->n;
    for (int j = 0; j < b->count; j++) {
        const struct exp_params *p = &b->groups[j].params;
        real *column = b->tile + j * LANES, *to = column;
        ptrdiff_t stride = b->stride;
        prefetch_next(b, j);
        if (b->op->collect) collect_columns(b, j);
        if (p->shifted && !keeps_exp(b->op)) { /* the tile keeps x that is not to become e */
            to = b->spare;
            stride = LANES;
        }
        if (p->shifted) column_shift(column, b->stride, n, p->shift, to, stride);
        sum[j] = sum_column(b->op, to, stride, n, p, &b->stats[j]);
    }
}

/* ---- 2. from sums to statistics --------------------------------------------------------------------------------- */

/* x of one vector of rows, where e has taken its place in the tile */
SL_NOINLINE const real *reload_columns(const struct tile_batch *b, const struct row_group *g) {
    const sl_job *job = b->job;
    if (job->inner == 1) load_rows(b->x + (g->first - b->groups[0].first) * job->n, job->n, g->rows, b->spare, LANES);
    else {
        struct packed_tile t = {.job = job, .first = g->first, .columns = g->rows, .width = LANES, .tile = b->spare};
        pack_tile(&t, 0, job->n);
    }
    return b->spare;
}
static struct pair sum_confident_columns(void *context, int j) {
    const struct tile_batch *b = context;
    const struct row_group *g = &b->groups[j];
    const ptrdiff_t n = b->job->n;
    return pair_renormalize(keeps_exp(b->op) ? column_sum_without_max(reload_columns(b, g), LANES, n, &g->params)
                                             : column_sum_without_max(b->tile + j * LANES, b->stride, n, &g->params));
}

/* ---- 3. from statistics to results ------------------------------------------------------------------------------ */

static void fill_nonfinite_columns(const struct row_group *g, const struct op *op, const struct block *y) {
    const sl_job *job = g->job;
    for (int i = 0; g->stats->any_nonfinite && i < g->rows; i++) {
        if (!is_nonfinite(g->stats, i)) continue;
        const ptrdiff_t at = start_of_row(job, g->first + i) + y->first_class * job->inner;
        fill_nonfinite(job, op, at, job->inner, y->classes, y->at + i, y->class_step);
    }
}

/* What follows the map of n classes from first_class on, which begin at the first class of the tile, in one vector of rows */
static void patch_columns(const struct tile_batch *b, int j, ptrdiff_t first_class, ptrdiff_t n) {
    const struct row_group *g = &b->groups[j];
    const struct block y = block_of_columns(g, first_class, n, b->to.y + j * LANES, b->to.stride);
    fill_nonfinite_columns(g, b->op, &y);
    if (b->op->patch) b->op->patch(b->job, &y, g->targets);
}
static void map_tile(const struct tile_batch *b, ptrdiff_t first_class, ptrdiff_t n) {
    map_columns(b->op, b->groups, b->tile, b->stride, n, &b->to);
    for (int j = 0; j < b->count; j++) patch_columns(b, j, first_class, n);
}

/* MAP_EXPECT, from the sums of all classes */
static void store_expectations(const struct tile_batch *b, struct dot_sum *sums) {
    for (int j = 0; j < b->count; j++) {
        for (int i = 0; i < HALVES; i++) sums[j].high[i] = f64_add(sums[j].high[i], sums[j].low[i]);
        v_store(b->groups[j].stats->result, from_double(sums[j].high));
        store_results_of_group(b->op, &b->groups[j]);
    }
}
static void expect_tile(const struct tile_batch *b) {
    const int flushes = b->job->mask != NULL;
    struct valued_tile t = {b->tile, b->op->class_values(b->job), b->stride, b->job->n};
    struct dot_sum sums[TILE_VECTORS];
    int j = 0;
    for (int i = 0; i < b->count; i++) sums[i] = dot_zero();
    for (; j + UNROLL <= b->count; j += UNROLL, t.tile += UNROLL * LANES) expect_columns(UNROLL, flushes, b->stats + j, &t, sums + j);
    for (; j < b->count; j++, t.tile += LANES) expect_columns(1, flushes, b->stats + j, &t, sums + j);
    store_expectations(b, sums);
}

/* Results of two classes, for a hook that selects from them */
SL_INLINE void select_of_two(struct row_group *g, const struct two_classes *t, const int options, const struct op *op) {
    real results[2 * LANES];
    vec y[2];
    results_of_two(t, options, y);
    for (int k = 0; k < 2; k++) v_store(results + k * LANES, y[k]);
    g->results = results;
    op->finish(g);
    g->results = NULL;
}
SL_INLINE void map_of_two(const struct tile_batch *b, int j, const struct two_classes *t, const int options) {
    vec y[2];
    results_of_two(t, options, y);
    for (int k = 0; k < 2; k++) {
        real *to = b->to.y + k * b->to.stride + j * LANES;
        if (b->groups[j].rows == LANES) v_store(to, y[k]);
        else v_store_tail(to, b->groups[j].rows, y[k]);
    }
    patch_columns(b, j, 0, 2);
}
SL_INLINE void run_two_classes_as(const int options, struct tile_batch *b) {
    const struct exp_of_zero one = exp_of_zero_make();
    const real least = options & DEVIATES ? -EXP_CLAMP : SIGMOID_ZERO; /* where all other results are 0 or -|a - b| */
    for (int j = 0; j < b->count; j++) {
        struct row_group *g = &b->groups[j];
        const real *column = b->tile + j * LANES;
        prefetch_next(b, j);
        struct two_classes t = exp_of_two(v_load(column), v_load(column + b->stride), &one, least);
        stats_of_two(&t, &one, options, g);
        if (options & COLLECTS) {
            collect_columns(b, j);
            b->op->finish(g);
            t.scale = (struct pair){v_load(g->stats->scale), v_load(g->stats->scale_low)}; /* which the hook may have changed */
        }
        if (options & FINISHES) b->op->finish(g);
        if (options & SELECTS) select_of_two(g, &t, options, b->op);
        if (options & VISITS_CLASSES) map_of_two(b, j, &t, options);
        if (!(options & ~(NEEDS_LOG | DEVIATES | FINISHES))) store_results_of_group(b->op, g);
    }
}
static void run_two_classes(struct tile_batch *b) {
    const int options = options_of_two(b->op);
    switch (options) {
        case SCALES_EXP | VISITS_CLASSES: run_two_classes_as(SCALES_EXP | VISITS_CLASSES, b); return;
        case NEEDS_LOG | VISITS_CLASSES: run_two_classes_as(NEEDS_LOG | VISITS_CLASSES, b); return;
        case NEEDS_LOG: run_two_classes_as(NEEDS_LOG, b); return;
        default: run_two_classes_as(options, b);
    }
}

/* A batch whose tile has all classes; max: of each column, or NULL */
static void run_batch(struct tile_batch *b, const real *max) {
    struct pair sum[TILE_VECTORS];
    if (b->count < 1) return; /* it is at least 1, but compilers do not see it */
    if (is_of_two_classes(b->job, b->op)) {
        run_two_classes(b);
        return;
    }
    reduce_ranges(b, max);
    sum_columns(b, sum);
    finish_groups(b->op, b->groups, b->count, sum, sum_confident_columns, b);
    if (b->op->map == MAP_EXPECT) expect_tile(b);
    else if (b->op->visits_classes) map_tile(b, 0, b->job->n);
}

#endif
